"""Runs a command in a mount namespace of its own, where something is mounted or is not. It needs root."""

from __future__ import annotations


def where(script: str) -> list[str]:
    """The words before a command that run a shell script in a new mount namespace, and then the command."""
    return ["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh"]


NO_PROC = where("mount -t tmpfs none /proc")
"""The words before a command that has no /proc."""

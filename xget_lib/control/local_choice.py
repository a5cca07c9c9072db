"""Which processes of this machine a command means: `xget.py status WHAT...` and `xget.py stop WHAT...`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from xget_lib.config import absolute
from xget_lib.errors import printable
from xget_lib.process.local_processes import ROLES, LocalProcess

_CLIENTS = "client"
"""All roles but that of a master."""


def chosen(processes: Iterable[LocalProcess], words: Sequence[str]) -> list[LocalProcess]:
    """The processes that all of these words fit. A word is a role, a port, or else the path that is served or the
    destination. Raises UsageError for a path without a current directory."""
    paths = {word: printable(absolute(os.fsencode(word))) for word in words if not _is_short(word)}
    return [each for each in processes if all(_fits(each, word, paths.get(word, "")) for word in words)]


def described(process: LocalProcess) -> str:
    """A process in a message."""
    return f"{process.role} of {process.path}, process {process.pid}, port {process.port}"


def _is_short(word: str) -> bool:
    return word in (*ROLES, _CLIENTS) or word.isdecimal()


def _fits(process: LocalProcess, word: str, path: str) -> bool:
    if word == _CLIENTS:
        return process.role != ROLES[0]
    if word in ROLES:
        return process.role == word
    if word.isdecimal():
        return process.port == int(word)
    if process.path.startswith("…"):  # its note has only the end
        return path.endswith(process.path[1:])
    return process.path == path

"""The version of this program, and the commit that a package of it was made from.

`scripts/package` writes the commit into the file COMMIT beside this module, in the package only. A checkout does not
have the file: git itself says what is checked out there.
"""

from __future__ import annotations

import os
import re

from xget_lib import __version__

_DIRECTORY = os.path.dirname(os.path.abspath(__file__))


def full_version() -> str:
    """Such as `2.0.0 (commit 0123456789ab)`; without a commit if none is known."""
    return _with_commit(__version__, _read("COMMIT").strip())


def replaced_by() -> str | None:
    """The version that stands in the place of this one by now, as after an upgrade; None if it is still this one.

    What a process imports from then on is of another version than what it has imported before.
    """
    found = re.search(r'^__version__ = "(.*)"$', _read("__init__.py"), re.MULTILINE)
    installed = _with_commit(found[1], _read("COMMIT").strip()) if found else "none"
    return installed if installed != RUNNING else None


def _with_commit(version: str, commit: str) -> str:
    return f"{version} (commit {commit})" if commit else version


def _read(name: str) -> str:
    """The text of a file of this directory; empty if it cannot be read."""
    try:
        with open(os.path.join(_DIRECTORY, name), encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return ""


RUNNING = full_version()
"""As it was when this process started, or the process that it was forked from."""

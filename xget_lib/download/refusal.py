"""The one place where an error of the operating system becomes DestinationRefused, with the path and the reason."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from xget_lib.errors import DestinationRefused, PathRefused, printable

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
MOVE_OR_DELETE = "(move it away, or use --delete)"


@contextmanager
def refusing(dest: bytes, path: bytes = b"") -> Iterator[None]:
    """Turns OSError and PathRefused into DestinationRefused. `path` is relative to the destination `dest`."""
    try:
        yield
    except (OSError, PathRefused) as error:
        raise DestinationRefused(os.path.join(dest, path) if path else dest, _reason(error)) from error


@contextmanager
def refusing_dest(dest: bytes) -> Iterator[None]:
    """The same for the destination directory itself: what is missing is its parent, or what it leads to."""
    try:
        yield
    except FileNotFoundError as error:
        raise DestinationRefused(dest, _why_missing(dest)) from error
    except OSError as error:
        raise DestinationRefused(dest, error.strerror or str(error)) from error


def _why_missing(dest: bytes) -> str:
    """Why a directory could not be made, and is not there."""
    if os.path.islink(dest):
        target = printable(os.readlink(dest))
        return f"a symbolic link to {target}, which does not exist (create that directory, or remove the link)"
    if os.path.isdir(os.path.dirname(dest)):  # in /proc, for example
        return "no directory can be created here (choose another destination)"
    return "parent directory does not exist (create it first)"


def _reason(error: OSError | PathRefused) -> str:
    if isinstance(error, PathRefused):
        return "a symbolic link leads out of the destination (remove it)"
    why = error.strerror or str(error)
    if error.errno in _DISK_FULL:
        return f"disk full: {why} (free space and run again; verified data is kept)"
    if error.errno == errno.EISDIR:
        return f"is a directory, but the master has a file here {MOVE_OR_DELETE}"
    return why

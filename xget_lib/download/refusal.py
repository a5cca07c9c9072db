"""The one place where an error of the operating system becomes DestinationRefused, with the path and the reason."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from xget_lib.errors import DestinationRefused, PathRefused

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_WHAT_TO_DO = "(move it away, or use --delete)"


@contextmanager
def refusing(dest: bytes, path: bytes = b"") -> Iterator[None]:
    """Turns OSError and PathRefused into DestinationRefused. `path` is relative to the destination `dest`."""
    try:
        yield
    except (OSError, PathRefused) as error:
        raise DestinationRefused(os.path.join(dest, path) if path else dest, _reason(error)) from error


@contextmanager
def refusing_dest(dest: bytes) -> Iterator[None]:
    """The same for the destination directory itself: what is missing is its parent."""
    try:
        yield
    except FileNotFoundError as error:
        raise DestinationRefused(dest, "parent directory does not exist (create it first)") from error
    except OSError as error:
        raise DestinationRefused(dest, error.strerror or str(error)) from error


def not_a_directory() -> NotADirectoryError:
    """The error where something else is in the place of a directory and must not be removed."""
    return NotADirectoryError(errno.ENOTDIR, f"not a directory, but the master has a directory here {_WHAT_TO_DO}")


def is_a_directory() -> IsADirectoryError:
    """The error where a directory is in the place of something else and must not be removed."""
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _reason(error: OSError | PathRefused) -> str:
    if isinstance(error, PathRefused):
        return "a symbolic link leads out of the destination (remove it)"
    why = error.strerror or str(error)
    if error.errno in _DISK_FULL:
        return f"disk full: {why} (free space and run again; verified data is kept)"
    if error.errno == errno.EISDIR:
        return f"is a directory, but the master has a file here {_WHAT_TO_DO}"
    return why

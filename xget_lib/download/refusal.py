"""The one place where an error of the operating system becomes DestinationRefused, with the path and the reason.

What concerns one path costs that path, and the run goes on without it (`Refusals`), whatever the errno is. A full disk
ends the run, and so does what concerns the whole destination (`refusing`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock

from xget_lib.errors import DestinationRefused, PartlyRefused, PathRefused, printable
from xget_lib.fs.exposed import exposure

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
MOVE_OR_DELETE = "(move it away, or use --delete)"


@contextmanager
def refusing(dest: bytes, path: bytes = b"") -> Iterator[None]:
    """Turns OSError and PathRefused into DestinationRefused. `path` is relative to the destination `dest`."""
    try:
        yield
    except (OSError, PathRefused) as error:
        raise DestinationRefused(os.path.join(dest, path) if path else dest, _reason(error)) from error


class Refusals:
    """The paths that a destination refused in a run, each with the reason. Any thread may use it."""

    def __init__(self, dest: bytes) -> None:
        self._dest = dest
        self._reasons: dict[bytes, str] = {}
        self._directories: set[bytes] = set()
        self._lock = Lock()

    @contextmanager
    def at(self, path: bytes) -> Iterator[None]:
        """What the system refuses inside costs this path and ends the `with`. A full disk raises DestinationRefused."""
        try:
            yield
        except (OSError, PathRefused) as error:
            self.add(path, error)

    def add(self, path: bytes, error: OSError | PathRefused) -> None:
        """Notes that a path was refused. Raises DestinationRefused where the reason is a full disk."""
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise DestinationRefused(os.path.join(self._dest, path), _reason(error)) from error
        with self._lock:
            self._reasons.setdefault(path, _reason(error))

    def add_directory(self, path: bytes) -> None:
        """A directory that was refused: nothing can be put in place below it."""
        self._directories.add(path)

    def covers(self, path: bytes) -> bool:
        """Whether a path is, or is below, a directory that was refused."""
        if self._directories:
            at = path
            while at:
                if at in self._directories:
                    return True
                at = at.rpartition(b"/")[0]
        return False

    def __bool__(self) -> bool:
        """Whether anything was refused."""
        return bool(self._reasons)

    def __contains__(self, path: bytes) -> bool:
        """Whether a path itself was refused."""
        return path in self._reasons

    def error(self) -> PartlyRefused | None:
        """All of them, as one error."""
        with self._lock:
            refused = [
                (os.path.join(self._dest, path) if path else self._dest, why) for path, why in self._reasons.items()
            ]
        return PartlyRefused(refused) if refused else None


def refuse_exposed(dest: bytes) -> None:
    """Raises DestinationRefused where root would write in a directory that others may change, or below one.

    They could replace what is there at any moment, before it is used and after. For other users it is their own affair.
    """
    found = None
    if os.geteuid() == 0:
        with suppress(OSError):  # whoever opens it next says what is wrong
            found = exposure(dest)
    if found is not None:
        raise DestinationRefused(
            dest, f"others can change it: {printable(found[0])} {found[1]} (change that, or use --insecure-dest)"
        )


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
    if error.errno in DISK_FULL:
        return f"disk full: {why} (free space and run again; verified data is kept)"
    if error.errno == errno.EISDIR:
        return f"is a directory, but the master has a file here {MOVE_OR_DELETE}"
    return why

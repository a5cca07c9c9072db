"""A lock between processes: a file that only its owner can open, locked with flock(2), which the kernel unlocks when
the process ends.

A directory, or a file that others can read, is no lock: whoever can open it can lock it, and hold it for ever.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PAUSE = 0.01
"""Seconds before the next try."""


@contextmanager
def locked(path: bytes, seconds: float) -> Iterator[None]:
    """Locks the file, which is made for this and removed at the end.

    Blocks while another process, or another thread, has it. Raises TimeoutError after so many seconds, PermissionError
    where the file belongs to another user, and OSError.
    """
    deadline = time.monotonic() + seconds
    while (descriptor := lock_now(path, check=_check_owner)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, "locked by another process")
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        try:
            os.unlink(path)  # while it is locked, so that no new file of another process is removed
        finally:
            os.close(descriptor)


def lock_now(path: bytes | str, mode: int = 0o600, *, check: Callable[[int], None] | None = None) -> int | None:
    """Locks the file, which is made with this mode if it is not there. Returns a descriptor that holds the lock; None
    where another process has it. `check` is called with the descriptor before it is locked. Raises what that raises,
    and OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        descriptor = os.open(path, flags, mode)
        try:
            if check is not None:
                check(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # who had it before has removed it meanwhile; there may be a new one


def is_at(descriptor: int, path: bytes | str) -> bool:
    """Whether an open file still has this name. Raises OSError."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _check_owner(descriptor: int) -> None:
    """Where others can make files, they can make this one first."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, "the lock file belongs to another user, or is not a regular file")

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
from collections.abc import Iterator
from contextlib import contextmanager

_PAUSE = 0.01
"""Seconds before the next try."""


@contextmanager
def locked(path: bytes, seconds: float) -> Iterator[None]:
    """Locks the file, which is made for this and removed at the end.

    Blocks while another process, or another thread, has it. Raises TimeoutError after so many seconds, PermissionError
    where the file belongs to another user, and OSError.
    """
    descriptor = _lock(path, time.monotonic() + seconds)
    try:
        yield
    finally:
        try:
            os.unlink(path)  # while it is locked, so that no new file of another process is removed
        finally:
            os.close(descriptor)


def _lock(path: bytes, deadline: float) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            _check_owner(descriptor)
            if _try(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, "locked by another process")
        time.sleep(_PAUSE)


def _check_owner(descriptor: int) -> None:
    """Where others can make files, they can make this one first."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, "the lock file belongs to another user, or is not a regular file")


def _try(descriptor: int, path: bytes) -> bool:
    """Whether the file is locked now, and still has this name: who had it before may have removed it meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        return False

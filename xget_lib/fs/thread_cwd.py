"""A current directory for a thread of its own.

Calls for extended attributes take no descriptor of a directory. Through /proc/self/fd a name is reached all the same,
but that takes three times as long as a name in the current directory, and a scan asks it of half a million names. A
thread (not a process's first one) can have a current directory that is not the others': unshare(2), CLONE_FS.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xget_lib.fs.rooted import in_directory

_CLONE_FS = 0x200  # linux/sched.h

_unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
_thread = threading.local()


@contextmanager
def inside(directory: int) -> Iterator[Callable[[bytes], bytes]]:
    """Gives what makes of a name in an open directory a path for this thread; good inside the `with`."""
    if not _has_its_own():
        yield lambda name: in_directory(directory, name)
        return
    os.fchdir(directory)
    try:
        yield _itself
    finally:
        os.chdir("/")  # it must not keep a file system from being unmounted


def _itself(name: bytes) -> bytes:
    return name


def _has_its_own() -> bool:
    """Whether this thread has a current directory of its own. It gets one where it may."""
    own: bool | None = getattr(_thread, "own", None)
    if own is None:
        first = threading.get_native_id() == os.getpid()
        own = _thread.own = not first and _unshare is not None and _unshare(_CLONE_FS) == 0
    return own

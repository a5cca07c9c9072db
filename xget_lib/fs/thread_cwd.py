"""A current directory for one thread, so that extended attributes can be read by name alone.

The calls for extended attributes take no descriptor of a directory. A path through /proc/self/fd works too, but takes
three times as long as a name in the current directory, and a scan asks for half a million names.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xget_lib.fs.rooted import in_directory
from xget_lib.fs.syscalls import unshare_cwd

_thread = threading.local()


@contextmanager
def inside(directory: int) -> Iterator[Callable[[bytes], bytes]]:
    """Yields a function that turns a name in an open directory into a path for this thread; valid inside the `with`.

    If the thread can have a current directory of its own, the path is the name, and "/" is current afterwards.
    """
    if not _has_own_cwd():
        yield lambda name: in_directory(directory, name)
        return
    os.fchdir(directory)
    try:
        yield _same
    finally:
        os.chdir("/")  # a current directory keeps its file system from being unmounted


def _same(name: bytes) -> bytes:
    return name


def _has_own_cwd() -> bool:
    """Whether this thread has a current directory of its own; tries once to give it one.

    The first thread of a process never gets one: its current directory is the one that the process shows.
    """
    own: bool | None = getattr(_thread, "own", None)
    if own is None:
        is_first = threading.get_native_id() == os.getpid()
        own = _thread.own = not is_first and unshare_cwd()
    return own

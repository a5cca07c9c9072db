"""A current directory for one thread, so that calls without `dir_fd` can be given a name in an open directory.

The calls for extended attributes and inotify take no descriptor of a directory. A path through /proc/self/fd works too,
but takes three times as long as a name in the current directory, and a scan asks for half a million names. And early in
a boot, or in a chroot, there may be no /proc.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xget_lib.fs.syscalls import unshare_cwd

_thread = threading.local()
_shared_cwd = threading.RLock()
"""Held by a thread that changes the current directory of others too."""


@contextmanager
def inside(directory: int) -> Iterator[Callable[[bytes], bytes]]:
    """Yields a function that turns a name in an open directory into a path for this thread; valid inside the `with`.

    `directory` may be an O_PATH descriptor. Nothing before the name follows a link. May be nested.
    """
    if _has_own_cwd():
        outer: int | None = getattr(_thread, "directory", None)
        os.fchdir(directory)
        _thread.directory = directory
        try:
            yield _same
        finally:
            _thread.directory = outer
            if outer is None:
                os.chdir("/")  # a current directory keeps its file system from being unmounted
            else:
                os.fchdir(outer)
    elif os.path.exists("/proc/self/fd"):
        yield lambda name: b"/proc/self/fd/%d/%b" % (directory, name)
    else:
        with _shared_cwd, _changed_cwd(directory):
            yield _same


@contextmanager
def _changed_cwd(directory: int) -> Iterator[None]:
    """For the moment, all threads without an own one have this current directory; they use absolute paths."""
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(directory)
        try:
            yield
        finally:
            os.fchdir(before)
    finally:
        os.close(before)


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

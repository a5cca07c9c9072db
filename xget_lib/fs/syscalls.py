"""Linux system calls that Python does not offer, through the C library. All ctypes calls of the program are here.

A C library may lack some of them (old versions, musl). Each function says what it does then.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., int] | None:
    """A function of the C library, or None if it has none with this name."""
    function: Any = getattr(_libc, name, None)
    if function is not None:
        function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]  # a ctypes function pointer


_fallocate = _function("fallocate64", ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_getdents64 = _function("getdents64", ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
_name_to_handle_at = _function(
    "name_to_handle_at", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int
)
_prctl = _function("prctl", ctypes.c_int, ctypes.c_int, ctypes.c_ulong)
_sync_file_range = _function(
    "sync_file_range", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint
)
_syncfs = _function("syncfs", ctypes.c_int, ctypes.c_int)
_unshare = _function("unshare", ctypes.c_int, ctypes.c_int)

_AT_EMPTY_PATH = 0x1000  # linux/fcntl.h
_CLONE_FS = 0x200  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01  # linux/falloc.h
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h: start writing, do not wait

_CANNOT_PUNCH = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def _call(function: Callable[..., int] | None, *arguments: Any) -> int:
    """The result of a call. Raises OSError with the errno of the call, or ENOSYS if the function is missing."""
    result = -1 if function is None else function(*arguments)
    if result < 0:
        number = errno.ENOSYS if function is None else ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def getdents64(fd: int, size: int) -> bytes:
    """The next records (struct linux_dirent64) of an open directory, at most `size` bytes; b"" at its end.

    Raises OSError: ENOSYS if the C library lacks it (glibc before 2.30).
    """
    buffer = ctypes.create_string_buffer(size)
    count = _call(_getdents64, fd, buffer, size)
    return buffer.raw[:count]


def mount_id(fd: int) -> int | None:
    """The number of the mount that an open file is on; None where the C library or the file system does not tell.

    name_to_handle_at(2) is asked for a handle of 0 bytes: it refuses with EOVERFLOW, and tells the mount all the same.
    """
    handle = ctypes.create_string_buffer(8)  # struct file_handle: the size of what follows, and a type
    number = ctypes.c_int(-1)
    try:
        _call(_name_to_handle_at, fd, b"", handle, ctypes.byref(number), _AT_EMPTY_PATH)
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            return None
    return number.value


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Makes a range of a file that is open for writing a hole; the size of the file stays. Raises OSError.

    Returns False if the C library or the file system cannot do that.
    """
    try:
        _call(_fallocate, fd, _PUNCH_HOLE_KEEP_SIZE, offset, length)
    except OSError as error:
        if error.errno in _CANNOT_PUNCH:
            return False
        raise
    return True


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Asks the kernel to begin writing these bytes of a file to disk, so that a later fsync has less to do.

    Does not wait and reports nothing: the next fsync or syncfs reports an error in the writing. Does nothing if
    the C library lacks sync_file_range(2).
    """
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE)


def sync_filesystem(fd: int) -> None:
    """Returns when everything that was written to the file system of `fd` is on disk. Raises OSError on failure.

    From Linux 5.8 on, syncfs(2) reports a failed write of any file that came after `fd` was opened. If the C library
    lacks it, sync(2) is called instead, which does more than is needed.
    """
    if _syncfs is None:
        os.sync()
    else:
        _call(_syncfs, fd)


def unshare_cwd() -> bool:
    """Gives the calling thread a current directory of its own: unshare(2) with CLONE_FS. Returns whether it has one.

    Containers may forbid it. Never call it in the first thread of a process.
    """
    return _unshare is not None and _unshare(_CLONE_FS) == 0


def set_parent_death_signal(number: int) -> None:
    """The kernel sends this process a signal when its parent ends; 0: it sends none. See prctl(2). Raises OSError."""
    _call(_prctl, _PR_SET_PDEATHSIG, number)

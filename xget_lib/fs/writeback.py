"""Getting written bytes onto the disk: early, so that the last fsync has little left to do, and all at once.

Two Linux calls that Python does not offer. Where the C library lacks one of them, the first is left out (it only
saves time) and the second becomes sync(2), which does more than is needed.
"""

from __future__ import annotations

import ctypes
import os

_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h: start writing, do not wait

_libc = ctypes.CDLL(None, use_errno=True)
_sync_file_range = getattr(_libc, "sync_file_range", None)
_syncfs = getattr(_libc, "syncfs", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    _sync_file_range.restype = ctypes.c_int
if _syncfs is not None:
    _syncfs.argtypes = (ctypes.c_int,)
    _syncfs.restype = ctypes.c_int


def start(fd: int, offset: int, length: int) -> None:
    """Asks the kernel to begin writing these bytes out. Does not wait, promises nothing and so reports nothing.

    An error in the writing itself is not lost: the next fsync or syncfs reports it.
    """
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE)


def sync_filesystem(fd: int) -> None:
    """Returns when all that was written to the file system of `fd` is on disk. Raises OSError where that failed.

    From Linux 5.8 on a failed write of any file is reported here, if it came after `fd` was opened.
    """
    if _syncfs is None:
        os.sync()
    elif _syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

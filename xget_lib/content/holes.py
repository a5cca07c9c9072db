"""Holes in files that are on disk here: whether there is nothing where nothing belongs, and making it so.

A hole reads as zeros. Whether the file system has blocks for them is no part of the content; but what is made new gets
its holes, and what an earlier run left is made to have them.
"""

from __future__ import annotations

import ctypes
import errno
import os

_STEP = 1 << 20
_PUNCH = 0x02 | 0x01  # linux/falloc.h: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_NOT_HERE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    _fallocate.restype = ctypes.c_int


def next_data(fd: int, offset: int) -> int:
    """Where at or behind `offset` the file has data; beyond every file where it has none. Raises OSError."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return 1 << 63
        if error.errno == errno.EINVAL:
            return offset  # a file system without holes
        raise


def are_zeros(fd: int, offset: int, length: int) -> bool:
    """Whether a range of a file reads as zeros, as far as the file goes. Raises OSError."""
    end = offset + length
    while (offset := next_data(fd, offset)) < end:
        data = os.pread(fd, min(_STEP, end - offset), offset)
        if data != bytes(len(data)):
            return False
        if not data:
            break
        offset += len(data)
    return True


def clear(fd: int, offset: int, length: int) -> None:
    """Makes a range of a file that is open for writing a hole, or zeros where that cannot be. Raises OSError."""
    end = offset + length
    offset = next_data(fd, offset)
    if offset >= end or _punched(fd, offset, end - offset):
        return
    while offset < end:
        offset += os.pwrite(fd, bytes(min(_STEP, end - offset)), offset)


def _punched(fd: int, offset: int, length: int) -> bool:
    """fallocate(2)."""
    if _fallocate is None:
        return False
    if _fallocate(fd, _PUNCH, offset, length) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number))

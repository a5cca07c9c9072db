"""Holes in files that are on disk here: whether there is nothing where nothing belongs, and making it so.

A hole reads as zeros. Whether the file system has blocks for them is no part of the content; but what is made new gets
its holes, and what an earlier run left is made to have them.
"""

from __future__ import annotations

import ctypes
import errno
import os
from array import array
from collections.abc import Iterable, Iterator

from xget_lib.manifest.extents import BLOCK, EXTENTS_LIMIT

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


def find_extents(fd: int, size: int) -> array[int] | None:
    """Where an open file of `size` bytes has data; None where it has no holes that matter. Raises OSError.

    SEEK_DATA and SEEK_HOLE of lseek(2). On a file system that knows no holes they say that all is data.
    """
    extents = _within_limit(list(_look(fd, size)), size)
    return None if sum(extents[1::2]) == size else extents


def _look(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where data begins and ends, to whole blocks."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # no data behind `end`
            if error.errno == errno.EINVAL:
                start, end = end, size  # a file system without holes
            else:
                raise
        start -= start % BLOCK
        end = min(end + -end % BLOCK, size)
        if start < end:  # not: in a file that grew meanwhile
            yield start, end


def _within_limit(runs: list[tuple[int, int]], size: int) -> array[int]:
    """Joins what touches, and what only small holes part until there are few enough."""
    least = 1
    extents = _join(runs, least)
    while len(extents) > 2 * EXTENTS_LIMIT:
        least = max(BLOCK, least) * 2
        extents = _join(runs, least)
    return extents


def _join(runs: Iterable[tuple[int, int]], least: int) -> array[int]:
    """The extents that are left when holes of less than `least` bytes count as data."""
    extents = array("Q")
    last = -least
    for start, end in runs:
        if start - last < least:
            extents[-1] += end - last
        else:
            extents.extend((start, end - start))
        last = end
    return extents


def read_ranges(fd: int, view: memoryview, ranges: Iterable[tuple[int, int]]) -> bool:
    """Fills the view from ranges of a file, (offset, length) each; False where it ends before. Raises OSError."""
    for offset, length in ranges:
        while length:
            count = os.preadv(fd, [view[:length]], offset)
            if count == 0:
                return False
            view = view[count:]
            offset += count
            length -= count
    return True

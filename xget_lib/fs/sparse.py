"""Holes in files on disk: finds where a file has data, and makes holes.

A hole reads as zeros. Whether the file system has blocks for these zeros is not part of the content of a file, but
copies get the holes of the original.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator

from xget_lib.fs.syscalls import punch_hole

_STEP = 1 << 20
_BEYOND_ALL_FILES = 1 << 63


def next_data(fd: int, offset: int) -> int:
    """The first offset with data at or after `offset`; a number beyond every file if there is none. Raises OSError.

    On a file system without holes everything is data (lseek(2), SEEK_DATA).
    """
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return _BEYOND_ALL_FILES
        if error.errno == errno.EINVAL:
            return offset
        raise


def data_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each range of the first `size` bytes in which the file has data, rising. Raises OSError."""
    end = 0
    while (start := next_data(fd, end)) < size:
        try:
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # the file became shorter meanwhile
            if error.errno != errno.EINVAL:
                raise
            end = size
        end = min(end, size)
        if start < end:  # else somebody made a hole here meanwhile
            yield start, end


def are_zeros(fd: int, offset: int, length: int) -> bool:
    """Whether a range of a file, as far as the file goes, reads as zeros. Raises OSError."""
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
    """Makes a range of a file that is open for writing a hole, or zeros if holes cannot be made. Raises OSError."""
    end = offset + length
    offset = next_data(fd, offset)
    if offset >= end or punch_hole(fd, offset, end - offset):
        return
    while offset < end:
        offset += os.pwrite(fd, bytes(min(_STEP, end - offset)), offset)


def read_ranges(fd: int, view: memoryview, ranges: Iterable[tuple[int, int]]) -> bool:
    """Fills the view from ranges of a file, (offset, length) each; False if the file ends early. Raises OSError."""
    for offset, length in ranges:
        while length:
            count = os.preadv(fd, [view[:length]], offset)
            if count == 0:
                return False
            view = view[count:]
            offset += count
            length -= count
    return True

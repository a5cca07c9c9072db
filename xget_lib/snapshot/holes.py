"""Finds the holes of files in a scan, and sizes that cannot be true."""

from __future__ import annotations

import errno
import os
from array import array
from functools import partial

from xget_lib.fs.leases import LeasePatience
from xget_lib.fs.sparse import data_ranges
from xget_lib.manifest.extents import BLOCK as SMALLEST_HOLE
from xget_lib.manifest.extents import extents_of

_COMPRESSION_LIMIT = 1024
"""Bytes of data for each byte that a file occupies: no file system compresses better."""
_NOT_ON_DISK_LIMIT = 1 << 40
"""Bytes of data of a file that occupies nothing: some file systems do not say what a file occupies."""
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def find_extents(directory: int, name: bytes, status: os.stat_result, patience: LeasePatience) -> array[int] | None:
    """The extents of a file in an open directory; None if it has no holes. Raises OSError.

    Only a file that occupies fewer bytes than its size can have holes, and only such a file is opened. None too if
    another program does not give up its lease: such a file cannot be hashed either. A size that cannot be true raises
    OSError, before anything is done so many times: /proc/kcore is 128 TiB long.
    """
    if not SMALLEST_HOLE <= status.st_size > status.st_blocks * 512:
        return None
    try:
        descriptor = patience.open(partial(os.open, name, _FLAGS, dir_fd=directory))
    except BlockingIOError:
        return None
    try:
        extents = extents_of(data_ranges(descriptor, status.st_size), status.st_size)
    finally:
        os.close(descriptor)
    occupied = status.st_blocks * 512
    if (status.st_size if extents is None else sum(extents[1::2])) > occupied * _COMPRESSION_LIMIT + _NOT_ON_DISK_LIMIT:
        raise OSError(errno.EFBIG, f"its size of {status.st_size} bytes cannot be true (it occupies {occupied} bytes)")
    return extents

"""Stamps: five numbers from the stat of a file that change when its content changes.

The stamps of many files are in one array of signed 64-bit numbers. Inode numbers and times (from the year 2262 on) may
be larger, so all are taken modulo 2**64: a stamp is only compared with another stamp.
"""

from __future__ import annotations

import os
from array import array

STAMP_WORDS = 5
MTIME_WORD, CTIME_WORD, INODE_WORD = 1, 2, 3

_BOUND = 1 << 63

Stamp = tuple[int, int, int, int, int]

NO_STAMP = -1
"""Stands for the size if the stamp is not known."""


def stamp_of(status: os.stat_result) -> Stamp:
    """(size in bytes, mtime in ns, ctime in ns, inode number, device), each modulo 2**64 as a signed number."""
    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    if max(stamp) < _BOUND and min(stamp) >= -_BOUND:
        return stamp
    size, mtime, ctime, inode, device = ((number + _BOUND) % (2 * _BOUND) - _BOUND for number in stamp)
    return size, mtime, ctime, inode, device


def no_stamps(files: int) -> array[int]:
    """An array for the stamps of this many files. None of them is known yet."""
    return array("q", [NO_STAMP]) * (files * STAMP_WORDS)


def put_stamp(stamps: array[int], file: int, status: os.stat_result) -> None:
    """Stores the stamp of a file, by file number."""
    first = file * STAMP_WORDS
    stamps[first : first + STAMP_WORDS] = array("q", stamp_of(status))

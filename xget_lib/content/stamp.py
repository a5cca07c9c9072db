"""Whether a file is still the one that was looked at: five numbers of its stat that change when its content does.

A stamp fits an array of signed 64-bit numbers, five a file. File systems know inode numbers and times beyond that
(the year 2262), so the numbers are taken modulo 2**64: a stamp is only ever compared with another stamp.
"""

from __future__ import annotations

import os

STAMP_WORDS = 5
MTIME_WORD, CTIME_WORD = 1, 2

Stamp = tuple[int, int, int, int, int]


def stamp_of(status: os.stat_result) -> Stamp:
    """(size in bytes, mtime in ns, ctime in ns, inode number, device), each modulo 2**64 as a signed number."""
    return (
        _signed(status.st_size),
        _signed(status.st_mtime_ns),
        _signed(status.st_ctime_ns),
        _signed(status.st_ino),
        _signed(status.st_dev),
    )


def _signed(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)

"""Stamps: they differ after every change of a file, and any number of a file system fits in an array."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

from xget_lib.fs.stamp import STAMP_WORDS, stamp_of


def test_a_stamp_differs_after_a_change_that_keeps_size_and_mtime(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    os.utime(path, ns=(5, 5))
    before = stamp_of(path.stat())
    assert stamp_of(path.stat()) == before
    other = tmp_path / "g"
    other.write_bytes(b"two")
    os.utime(other, ns=(5, 5))
    other.rename(path)
    assert stamp_of(path.stat()) != before


def test_numbers_beyond_63_bits_fit_an_array_and_stay_different() -> None:
    stamps = []
    for inode in (1, (1 << 64) - 1, (1 << 63)):
        status = os.stat_result(
            (0o100644, inode, 0, 1, 0, 0, 10, 0, 0, 0), {"st_mtime_ns": 1 << 65, "st_ctime_ns": -(1 << 64)}
        )
        stamps.append(stamp_of(status))
        assert len(array("q", stamps[-1])) == STAMP_WORDS
    assert len(set(stamps)) == 3

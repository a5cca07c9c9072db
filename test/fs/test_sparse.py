"""Holes: where data is, what reads as zeros, and making them, also on a file system that has none."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from xget_lib.fs import sparse
from xget_lib.fs.sparse import are_zeros, clear, data_ranges, next_data, read_ranges

SIZE = 1 << 20
DATA = 256 * 1024


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """1 MiB with data at 256 KiB, 64 KiB long, the rest a hole."""
    fd = os.open(tmp_path / "sparse", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, SIZE)
    os.pwrite(fd, b"x" * 65536, DATA)
    yield fd
    os.close(fd)


def no_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that knows neither SEEK_DATA nor punching."""
    lseek = os.lseek

    def refuse(fd: int, offset: int, whence: int) -> int:
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return lseek(fd, offset, whence)

    monkeypatch.setattr(os, "lseek", refuse)
    monkeypatch.setattr(sparse, "punch_hole", lambda fd, offset, length: False)


def test_data_is_found_behind_holes(fd: int) -> None:
    assert list(data_ranges(fd, SIZE)) == [(DATA, DATA + 65536)]
    assert list(data_ranges(fd, DATA + 5)) == [(DATA, DATA + 5)]
    assert next_data(fd, 0) == next_data(fd, DATA) == DATA
    assert next_data(fd, DATA + 65536) > SIZE
    os.ftruncate(fd, 0)
    assert list(data_ranges(fd, SIZE)) == []


def test_without_holes_everything_is_data(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    no_holes(monkeypatch)
    assert list(data_ranges(fd, SIZE)) == [(0, SIZE)]
    assert list(data_ranges(fd, 0)) == []
    assert next_data(fd, 5) == 5


@pytest.mark.parametrize("holes", [True, False])
def test_a_range_of_zeros_is_told_from_one_with_data(fd: int, holes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not holes:
        no_holes(monkeypatch)
    assert are_zeros(fd, 0, DATA)
    assert not are_zeros(fd, 0, DATA + 1)
    assert are_zeros(fd, DATA + 65536, 2 * SIZE)  # as far as the file goes


@pytest.mark.parametrize("holes", [True, False])
def test_what_is_cleared_reads_as_zeros(fd: int, holes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not holes:
        no_holes(monkeypatch)
    clear(fd, DATA + 4096, 4096)
    assert os.pread(fd, 16384, DATA) == b"x" * 4096 + bytes(4096) + b"x" * 8192
    clear(fd, 0, SIZE)
    assert are_zeros(fd, 0, SIZE)
    assert os.fstat(fd).st_size == SIZE
    if holes:
        assert list(data_ranges(fd, SIZE)) == []


def test_ranges_are_read_in_order_until_the_file_ends(fd: int) -> None:
    os.pwrite(fd, b"end", SIZE - 3)
    buffer = bytearray(7)
    assert read_ranges(fd, memoryview(buffer), [(SIZE - 3, 3), (DATA - 2, 4)])
    assert buffer == b"end\0\0xx"
    assert not read_ranges(fd, memoryview(buffer), [(SIZE - 3, 4)])

"""System calls through the C library: what they do, their errors, and what happens where one is missing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from xget_lib.fs import syscalls


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 200_000)
    yield fd
    os.close(fd)


def closed_descriptor(tmp_path: Path) -> int:
    fd = os.open(tmp_path, os.O_RDONLY)
    os.close(fd)
    return fd


def test_errors_are_those_of_the_call(fd: int, tmp_path: Path) -> None:
    syscalls.sync_filesystem(fd)
    closed = closed_descriptor(tmp_path)
    for call in (lambda: syscalls.sync_filesystem(closed), lambda: syscalls.punch_hole(closed, 0, 1)):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    with pytest.raises(NotADirectoryError):
        syscalls.getdents64(fd, 4096)
    with pytest.raises(OSError) as caught:
        syscalls.set_parent_death_signal(4096)
    assert caught.value.errno == errno.EINVAL


def test_starting_to_write_reports_nothing(fd: int, tmp_path: Path) -> None:
    syscalls.start_writeback(fd, 0, 1)
    syscalls.start_writeback(closed_descriptor(tmp_path), 0, 1)


def test_a_hole_reads_as_zeros_and_keeps_the_size(fd: int) -> None:
    if not syscalls.punch_hole(fd, 65536, 65536):
        pytest.skip("the file system has no holes")
    assert os.fstat(fd).st_size == 200_000
    assert os.pread(fd, 65536, 65536) == bytes(65536)
    assert os.pread(fd, 1, 65535) == os.pread(fd, 1, 131072) == b"x"


def test_a_c_library_without_them_costs_only_what_they_do(
    fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_fallocate", "_getdents64", "_sync_file_range", "_syncfs", "_unshare"):
        monkeypatch.setattr(syscalls, name, None)
    synced: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    syscalls.sync_filesystem(fd)
    assert synced
    assert not syscalls.punch_hole(fd, 0, 4096)
    assert not syscalls.unshare_cwd()
    syscalls.start_writeback(fd, 0, 1)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        syscalls.getdents64(fd, 4096)

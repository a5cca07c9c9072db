"""System calls through the C library: what they do, their errors, and what happens where one is missing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.mounted import Mounts, do, needs
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


# statx


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(b"")
    descriptor = os.open(tmp_path, os.O_PATH)
    yield descriptor
    os.close(descriptor)


@pytest.mark.root
def test_statx_tells_mounts_from_subvolumes(directory: int, tmp_path: Path, mounts: Mounts) -> None:
    (tmp_path / "same").mkdir()
    mounts.bind(tmp_path / "same", tmp_path / "bound")
    mounts.image(tmp_path / "btrfs", "mkfs.btrfs", "-q", megabytes=128)
    do("btrfs", "subvolume", "create", tmp_path / "btrfs/sub")
    here, same, bound, other = (syscalls.statx(directory, name) for name in (b".", b"same", b"bound", b"btrfs"))
    sub = syscalls.statx(directory, b"btrfs/sub")
    assert here.device == same.device == bound.device != other.device == os.stat(tmp_path / "btrfs").st_dev
    assert here.mount == same.mount and len({same.mount, bound.mount, other.mount}) == 3
    assert (sub.mount, sub.is_mount_root) == (other.mount, False) and sub.device != other.device
    assert (same.is_mount_root, bound.is_mount_root, other.is_mount_root) == (False, True, True)


@pytest.mark.root
@pytest.mark.parametrize("attribute", ["i", "a"])
def test_statx_tells_what_cannot_be_replaced(directory: int, tmp_path: Path, attribute: str) -> None:
    needs("chattr")
    assert not syscalls.statx(directory, b"file").is_fixed
    do("chattr", f"+{attribute}", tmp_path / "file")
    try:
        assert syscalls.statx(directory, b"file").is_fixed
    finally:
        do("chattr", f"-{attribute}", tmp_path / "file")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_without_statx_it_says_what_stat_says(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    known = syscalls.statx(directory, b"file")
    monkeypatch.setattr(syscalls, "_call", refuse)
    status = (tmp_path / "file").stat()
    assert syscalls.statx(directory, b"file") == (
        *(status.st_mode, status.st_dev, 0, False, False, False),
        *(status.st_ino, 0),
    )
    assert known[:2] == (status.st_mode, status.st_dev)


def test_statx_of_nothing_is_an_error_and_a_link_is_not_followed(directory: int, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        syscalls.statx(directory, b"nothing")
    (tmp_path / "link").symlink_to("nothing")
    assert stat.S_ISLNK(syscalls.statx(directory, b"link").mode)

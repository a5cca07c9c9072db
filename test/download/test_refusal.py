"""A destination that is refused: the message, and that nothing is lost or written elsewhere."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.downloads import (
    Served,
    fetch,
    finish,
    inspect,
    is_same,
    missing,
    present,
    refuse,
    run_download,
    write_piece,
)
from test.support.dry_and_real import run_both
from xget_lib.download.refusal import MOVE_OR_DELETE, refusing, refusing_dest
from xget_lib.errors import DestinationRefused, PathRefused
from xget_lib.fs.rooted import Root

SECOND = 1_000_000_000  # in ns


def test_a_destination_without_a_parent_is_refused(served: Served, dest: Path) -> None:
    refuse(served, dest / "below", "parent directory does not exist")
    assert not dest.exists()


def test_a_destination_that_is_a_file_is_refused(served: Served, dest: Path) -> None:
    dest.write_bytes(b"")
    refuse(served, dest, "Not a directory")


def test_a_second_run_at_the_same_time_is_refused(served: Served, dest: Path) -> None:
    with served.download(dest) as download:
        refuse(served, dest, "in use by another xget")
        inspect(download)
        fetch(download, served)
        finish(download)
        run_download(served, dest)


def test_a_directory_where_a_file_must_be_costs_that_file_and_is_kept(served: Served, dest: Path) -> None:
    (dest / "small/mine").mkdir(parents=True)
    ran = run_both(served, dest)
    assert ran.lines == [f"{dest}/small: is a directory, but the master has a file here {MOVE_OR_DELETE}"]
    assert (dest / "small/mine").is_dir()
    (dest / "small/mine").rmdir()
    (dest / "small").rmdir()
    assert run_both(served, dest).lines == []
    assert is_same(served, dest)


def test_a_directory_where_a_link_must_be_costs_that_name_and_is_kept(served: Served, dest: Path) -> None:
    run_download(served, dest)
    for name in ("a/link", "b"):
        (dest / name).unlink()
        (dest / name).mkdir()
        ran = run_both(served, dest)
        assert ran.lines == [f"{dest}/{name}: is a directory, but the master has a file here {MOVE_OR_DELETE}"]
        assert (dest / name).is_dir()
        (dest / name).rmdir()
        run_download(served, dest)
    assert is_same(served, dest)


def test_a_file_where_a_directory_must_be_costs_that_directory_and_is_kept(served: Served, dest: Path) -> None:
    dest.mkdir()
    (dest / "a").write_bytes(b"mine")
    ran = run_both(served, dest)
    assert ran.lines == [f"{dest}/a: not a directory, but the master has a directory here {MOVE_OR_DELETE}"]
    assert (dest / "a").read_bytes() == b"mine"
    assert (dest / "small").read_bytes() == (served.directory / "small").read_bytes()
    assert (dest / "empty directory").is_dir()
    (dest / "a").unlink()
    run_download(served, dest)
    assert is_same(served, dest)


def test_anything_else_under_a_files_name_is_replaced(served: Served, dest: Path) -> None:
    dest.mkdir()
    (dest / "outside").write_bytes(b"outside")
    (dest / "small").symlink_to("outside")
    os.mkfifo(dest / ".hidden")
    run_download(served, dest)
    assert (dest / "outside").read_bytes() == b"outside"
    (dest / "outside").unlink()
    os.utime(dest, ns=(0, 77 * SECOND))
    assert is_same(served, dest)


def test_no_write_follows_a_link_out_of_the_destination(served: Served, dest: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    dest.mkdir()
    (dest / "a").symlink_to(outside)
    assert "not a directory, but the master has a directory here" in run_both(served, dest).lines[0]
    (dest / "a").unlink()
    (dest / ".xget").symlink_to(outside)
    refuse(served, dest, "not a directory")
    assert os.listdir(outside) == []


def test_what_lies_in_the_place_of_a_part_is_not_written_to(one_large: Served, dest: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    with one_large.download(dest) as download:
        part = dest / os.fsdecode(download.path_of(0))
    part.parent.mkdir(parents=True)
    (dest / ".xget").chmod(0o700)
    part.symlink_to(precious)
    run_download(one_large, dest)
    part.parent.mkdir(parents=True)
    (dest / "large").unlink()
    os.link(precious, part)
    run_download(one_large, dest)
    assert precious.read_bytes() == b"precious"
    os.utime(dest, ns=(0, one_large.manifest.entries[0].mtime_ns))
    assert is_same(one_large, dest)


def test_a_full_disk_is_reported_before_the_download(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Root.statvfs

    def with_room_for(blocks: int) -> Callable[[Root, bytes], os.statvfs_result]:
        def statvfs(root: Root, path: bytes) -> os.statvfs_result:
            fields = list(real(root))
            fields[1], fields[4], fields[5], fields[7] = 4096, blocks, 100, 0  # f_frsize, f_bavail, f_files, f_favail
            return os.statvfs_result(fields)

        return statvfs

    with one_large.download(dest) as download:
        inspect(download)
        monkeypatch.setattr(Root, "statvfs", with_room_for(1000))
        with pytest.raises(DestinationRefused, match="needs 2 files, has room for 0"):
            download.check_free_space()
        monkeypatch.setattr(Root, "statvfs", with_room_for(64))
        with pytest.raises(DestinationRefused, match="disk full: needs 260 KiB, has 256 KiB free"):
            download.check_free_space()
        fetch(download, one_large, [0, 4])
        monkeypatch.setattr(Root, "statvfs", with_room_for(47))
        with pytest.raises(DestinationRefused, match="disk full: needs 192 KiB, has 188 KiB free"):
            download.check_free_space()
        monkeypatch.setattr(Root, "statvfs", real)
        download.check_free_space()


def test_a_write_on_a_full_disk_is_refused_and_can_be_tried_again(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with one_large.download(dest) as download:
        inspect(download)
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", failing(errno.ENOSPC))
            with pytest.raises(DestinationRefused, match="large: disk full"):
                write_piece(download, 0, one_large.piece(0))
        assert 0 in missing(download, one_large.layout)
        write_piece(download, 0, one_large.piece(0))
        assert 0 in present(download, one_large.layout)


@pytest.mark.parametrize("number", [errno.EIO, errno.EFBIG, errno.EPERM, errno.ENOTRECOVERABLE])
def test_a_write_that_fails_costs_one_file_whatever_the_errno(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with one_large.download(dest) as download:
        inspect(download)
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", failing(number))
            write_piece(download, 0, one_large.piece(0))
        assert missing(download, one_large.layout) == [4], "nothing more is fetched of it"
        fetch(download, one_large)
        finish(download)
    assert [line for failure in download.failures for line in failure.lines] == [f"{dest}/large: {os.strerror(number)}"]
    assert sorted(os.listdir(dest)) == ["small"]


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk full: Disk quota exceeded (free space and run again"),
        (OSError(errno.EISDIR, "Is a directory"), "is a directory, but the master has a file here (move it away"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (PathRefused(b"a/b", "leads out"), "a symbolic link leads out of the destination (remove it)"),
    ],
)
def test_an_error_names_the_path_and_what_to_do(error: Exception, why: str) -> None:
    with pytest.raises(DestinationRefused) as refused, refusing(b"/dest", b"a/b"):
        raise error
    assert str(refused.value).startswith(f"/dest/a/b: {why}")
    assert refused.value.__cause__ is error


def test_what_is_missing_of_the_destination_itself_is_its_parent() -> None:
    missing_parent = pytest.raises(DestinationRefused, match=r"^/no/dest: parent directory does not exist")
    with missing_parent, refusing_dest(b"/no/dest"):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")


def test_an_error_of_the_program_is_not_one_of_the_destination() -> None:
    with pytest.raises(ValueError), refusing(b"/dest"):
        raise ValueError

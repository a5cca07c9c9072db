"""Whole downloads: what they copy, what they leave alone, and what they leave behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.downloads import Served, fetch, finish, inspect, is_same, missing, refuse, run_download, write_piece
from xget_lib.download import read_back

PIECE = 65536
SECOND = 1_000_000_000  # in ns


def only_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no content may be read."""

    def read(*_: object) -> bool:
        raise AssertionError("content was read")

    monkeypatch.setattr(read_back, "read_ranges", read)


def test_a_download_is_the_same_tree(served: Served, dest: Path) -> None:
    assert run_download(served, dest) == served.layout.size
    assert is_same(served, dest)
    assert not (dest / ".xget").exists()
    assert (dest / "b").stat().st_ino == (dest / "a/z").stat().st_ino


def test_a_second_run_reads_and_changes_nothing(served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_download(served, dest)
    before = {path: path.lstat().st_ctime_ns for path in dest.rglob("*")}
    only_metadata(monkeypatch)
    with served.download(dest) as download:
        inspect(download)
        assert missing(download, served.layout) == []
        assert (download.reused, download.unverified) == (served.layout.size, set(download.files))
        finish(download)
        assert download.notes == []
    assert {path: path.lstat().st_ctime_ns for path in dest.rglob("*")} == before
    assert is_same(served, dest)


def test_one_file_of_many_leaves_the_rest_of_the_destination_alone(served: Served, dest: Path) -> None:
    dest.mkdir(mode=0o755)
    (dest / "other").write_bytes(b"mine")
    run_download(served, dest, b"a/large", b"a/deep/er")
    assert sorted(os.listdir(dest)) == ["er", "large", "other"]
    assert (dest / "large").read_bytes() == (served.directory / "a/large").read_bytes()
    assert dest.stat().st_mode & 0o777 == 0o755


def test_a_further_name_alone_takes_the_content(served: Served, dest: Path) -> None:
    assert run_download(served, dest, b"b") == 5 * PIECE + 1
    assert (dest / "b").read_bytes() == (served.directory / "b").read_bytes()


def test_a_link_that_is_missing_is_made_without_fetching(served: Served, dest: Path) -> None:
    run_download(served, dest)
    (dest / "b").unlink()
    (dest / "b").write_bytes(b"something else")
    assert run_download(served, dest) == 0
    assert is_same(served, dest)


def test_two_files_that_were_one_become_two(tmp_path: Path, dest: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / "served" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "served" / name).write_bytes(b"the same")
        os.utime(tmp_path / "served" / name, ns=(0, SECOND))
    served = Served(tmp_path / "served")
    run_download(served, dest)
    (dest / "second").unlink()
    os.link(dest / "first", dest / "second")
    assert run_download(served, dest) == 0
    assert (dest / "first").stat().st_ino != (dest / "second").stat().st_ino
    assert is_same(served, dest)


def test_attributes_that_differ_are_corrected_in_place(
    served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_download(served, dest)
    inode = (dest / "small").stat().st_ino
    (dest / "small").chmod(0o4600)
    (dest / "a").chmod(0o700)
    os.utime(dest / "a/link", ns=(0, 1), follow_symlinks=False)
    only_metadata(monkeypatch)
    assert run_download(served, dest) == 0
    assert is_same(served, dest)
    assert (dest / "small").stat().st_ino == inode


def test_a_touched_file_is_read_and_stays(served: Served, dest: Path) -> None:
    run_download(served, dest)
    inode = (dest / "a/large").stat().st_ino
    os.utime(dest / "a/large", ns=(0, 1))
    assert run_download(served, dest) == 0
    assert is_same(served, dest)
    assert (dest / "a/large").stat().st_ino == inode


def test_without_trust_in_times_a_damaged_file_is_found(served: Served, dest: Path) -> None:
    run_download(served, dest)
    status = (dest / "small").stat()
    (dest / "small").write_bytes(b"?" * 100)
    os.utime(dest / "small", ns=(0, status.st_mtime_ns))
    (dest / "small").chmod(0o4751)
    file = served.file_named(b"small")
    with served.download(dest) as download:
        inspect(download)
        assert missing(download, served.layout) == []
    with served.download(dest) as download:
        inspect(download, trust_times=False)
        assert missing(download, served.layout) == list(served.layout.file_pieces(file))


def test_a_run_that_did_nothing_leaves_no_staging_directory(one_large: Served, dest: Path) -> None:
    with one_large.download(dest) as download:
        inspect(download)
    assert os.listdir(dest) == []
    with one_large.download(dest) as download:
        inspect(download)
        write_piece(download, 0, one_large.piece(0))
    assert os.listdir(dest) == [".xget"]


def test_finishing_before_every_file_is_in_place_is_a_bug(one_large: Served, dest: Path) -> None:
    with one_large.download(dest) as download:
        inspect(download)
        fetch(download, one_large)
        with pytest.raises(ValueError):
            download.finish()


def test_a_run_leaves_no_descriptor_open(served: Served, dest: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with served.download(dest) as download:
        inspect(download)
        fetch(download, served)
    run_download(served, dest)
    refuse(served, dest / "small", "Not a directory")
    assert os.listdir("/proc/self/fd") == before

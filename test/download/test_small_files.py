"""Small files in bulk: written, installed and inspected with the same result as one by one."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from test.support.downloads import Served, finish, inspect, missing, run_download
from test.support.trees import MOMENT, differences, write
from xget_lib.download.download import Download
from xget_lib.download.small_files import SmallFiles
from xget_lib.errors import DestinationRefused, PieceMismatch
from xget_lib.fs import syscalls
from xget_lib.fs.stamp import STAMP_WORDS, stamp_of
from xget_lib.manifest.selection import Siblings

FILES = 120


@pytest.fixture
def served(tmp_path: Path) -> Served:
    source = tmp_path / "served"
    for number in range(FILES):
        directory = source / f"d{number // 50}"
        directory.mkdir(parents=True, exist_ok=True)
        write(directory / f"{number:03}", os.urandom(50 + number), mtime=MOMENT + number)
    write(source / "d1/read only", b"r", mode=0o400)
    write(source / "d1/nothing", b"")
    write(source / "d1/set-uid", b"s", mode=0o4755)
    write(source / "d0/large", os.urandom(200_000))
    os.setxattr(source / "d1/051", "user.x", b"1")
    os.link(source / "d0/001", source / "d2 again")
    for path in (source / "d0", source / "d1", source / "d2", source):
        os.utime(path, ns=(MOMENT, MOMENT))
    return Served(source)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


def content(served: Served) -> memoryview:
    return memoryview(b"".join(served.piece(number) for number in range(served.layout.piece_count)))


def fetch(download: Download, served: Served) -> None:
    """All of the content, as one run of pieces."""
    download.writer.write_run(range(served.layout.piece_count), content(served), "peer")


def get(served: Served, dest: Path, **options: Any) -> int:
    """A run in which only what is lacking is written; how many pieces that are."""
    with served.download(dest, **options) as download:
        inspect(download)
        to_fetch = len(missing(download, served.layout))
        fetch(download, served)
        finish(download)
    return to_fetch


def test_a_download_is_the_same_tree(served: Served, dest: Path) -> None:
    get(served, dest)
    assert differences(served.directory, dest) == []
    assert os.getxattr(dest / "d1/051", "user.x") == b"1"


def test_small_files_are_written_in_bulk(served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_bulk: set[bytes] = set()
    write = SmallFiles.write

    def spy(self: SmallFiles, siblings: Siblings, contents: Sequence[memoryview]) -> None:
        in_bulk.update(map(siblings.dest_path, range(len(siblings.files))))
        write(self, siblings, contents)

    monkeypatch.setattr(SmallFiles, "write", spy)
    get(served, dest)
    everything = {bytes(path.relative_to(dest)) for path in dest.rglob("*") if path.is_file()}
    assert everything - in_bulk == {b"d0/large", b"d0/001", b"d2 again", b"d1/nothing"}


def test_a_second_run_inspects_and_does_nothing(served: Served, dest: Path) -> None:
    get(served, dest)
    before = {path: path.lstat() for path in dest.rglob("*") if path.is_file()}
    with served.download(dest) as download:
        inspect(download)
        assert download.reused == served.layout.size
        assert download.unverified == set(download.files)
        finish(download)
        for file in download.files:
            status = before[dest / os.fsdecode(download.path_of(file))]
            assert tuple(download.stamps[file * STAMP_WORDS : (file + 1) * STAMP_WORDS]) == stamp_of(status)
    assert {path: path.lstat() for path in before} == before  # the time of a change of inode among it


@pytest.mark.parametrize(
    ("name", "change", "moved"),
    [
        ("d0/010", lambda path: path.write_bytes(b"other"), 1),
        ("d0/010", lambda path: path.unlink(), 1),
        ("d0/010", os.utime, 0),
        ("d0/010", lambda path: path.chmod(0o777), 0),
        ("d0/010", lambda path: os.setxattr(path, "user.y", b"2"), 0),
        ("d1/051", lambda path: os.removexattr(path, "user.x"), 0),
        ("d0/010", lambda path: os.link(path, path.parent.parent / "mine"), 0),
        ("d1/set-uid", lambda path: path.chmod(0o755), 0),
    ],
)
def test_what_differs_is_corrected_and_nothing_else_moves(
    served: Served, dest: Path, name: str, change: Callable[[Path], object], moved: int
) -> None:
    get(served, dest)
    change(dest / name)
    assert get(served, dest, delete=True) == moved
    assert differences(served.directory, dest) == []
    assert os.listxattr(dest / "d0/010") == []
    assert os.getxattr(dest / "d1/051", "user.x") == b"1"


def test_files_of_which_times_are_not_trusted_are_read(served: Served, dest: Path) -> None:
    get(served, dest)
    bad = served.file_named(b"d0/010")
    path = dest / "d0/010"
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(MOMENT, MOMENT + 10))
    with served.download(dest) as download:
        inspect(download)
        assert missing(download, served.layout) == []
    with served.download(dest) as download:
        download.inspect_files(download.files, lambda file: file != bad)
        assert missing(download, served.layout) == list(served.layout.file_pieces(bad))
        assert bad not in download.unverified


def test_an_interrupted_run_is_continued(served: Served, dest: Path) -> None:
    with served.download(dest) as download:
        inspect(download)
        fetch(download, served)
    with served.download(dest) as download:
        inspect(download)
        assert missing(download, served.layout) == []
        finish(download)
    assert differences(served.directory, dest) == []


def test_wrong_content_is_refused_before_it_is_written(served: Served, dest: Path) -> None:
    wrong = bytearray(content(served))
    wrong[-1] ^= 1
    with served.download(dest) as download:
        inspect(download)
        with pytest.raises(PieceMismatch, match="wrong content from peer"):
            download.writer.write_run(range(served.layout.piece_count), memoryview(wrong), "peer")
        fetch(download, served)
        finish(download)
    assert differences(served.directory, dest) == []


def test_a_directory_in_the_place_of_a_file(served: Served, dest: Path) -> None:
    (dest / "d0/010/full").mkdir(parents=True)
    with served.download(dest) as download:
        inspect(download)
        assert download.refused == {served.file_named(b"d0/010")}
    assert "d0/010: is a directory, but" in str(download.failures[0])
    get(served, dest, delete=True)
    assert differences(served.directory, dest) == []


def test_a_directory_made_during_the_download_is_kept(served: Served, dest: Path) -> None:
    with served.download(dest) as download:
        inspect(download)
        fetch(download, served)
        (dest / "d0/010").mkdir()
        download.install_files(download.take_complete())
        assert "d0/010: is a directory, but" in str(download.failures[0])
        assert (dest / "d0/009").is_file()
        assert download.path_of(served.file_named(b"d0/010")).startswith(b".xget/parts/")


def test_many_threads_may_write_the_same(served: Served, dest: Path) -> None:
    with served.download(dest) as download:
        inspect(download)
        threads = [threading.Thread(target=fetch, args=(download, served)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        finish(download)
    assert differences(served.directory, dest) == []


def test_a_write_on_a_full_disk_is_refused_and_can_be_tried_again(
    served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served.download(dest) as download:
        inspect(download)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", _full)
            with pytest.raises(DestinationRefused, match="disk full"):
                fetch(download, served)
        fetch(download, served)
        finish(download)
    assert differences(served.directory, dest) == []


def _full(fd: int, data: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_short_writes_are_continued(served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: really(fd, data[:7]))
    get(served, dest)
    assert differences(served.directory, dest) == []


def test_their_content_is_on_disk_before_they_have_their_names(
    served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def noted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def noting(*arguments: object, **options: object) -> object:
            order.append(name)
            return call(*arguments, **options)

        return noting

    with served.download(dest) as download:
        inspect(download)
        fetch(download, served)
        monkeypatch.setattr(syscalls, "sync_filesystem", noted("sync", syscalls.sync_filesystem))
        monkeypatch.setattr(os, "rename", noted("rename", os.rename))
        download.install_files(download.take_complete())
    assert order[0] == "sync"
    assert order.count("rename") == len(served.manifest.entries.files) + 1  # and one for a second name


def test_the_same_as_one_by_one(served: Served, dest: Path, tmp_path: Path) -> None:
    get(served, dest)
    run_download(served, tmp_path / "other")
    assert differences(tmp_path / "other", dest) == []

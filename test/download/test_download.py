"""A download, step by step: what arrives, what was there, and what a final name may be at any moment."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.downloads import Served, fetch, finish, inspect, manifest_of, missing, present, run_download
from xget_lib.download import verify
from xget_lib.download.directories import SYNC_EACH
from xget_lib.download.write import write_all
from xget_lib.errors import DestinationRefused, PieceMismatch
from xget_lib.fs import writeback
from xget_lib.fs.rooted import Root
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.serve.store import OpenExtent, Store, close_extents

PIECE = 65536
SECOND = 1_000_000_000  # in ns


def fill(directory: Path) -> Path:
    """A tree with one of everything that is preserved."""
    (directory / "empty directory").mkdir(parents=True)
    (directory / "a/deep/er").mkdir(parents=True)
    for name, size in (
        ("small", 100),
        (".hidden", 5),
        ("empty", 0),
        ("a/large", 5 * PIECE + 1),
        ("a/deep/even", 2 * PIECE),
        (os.fsdecode(b"a/deep/er/\xff\n name"), 1000),
    ):
        (directory / name).write_bytes(os.urandom(size))
    (directory / "a/link").symlink_to("../small")
    (directory / "a/dangling").symlink_to("/nowhere")
    os.link(directory / "a/large", directory / "b")
    os.link(directory / "a/large", directory / "a/z")
    (directory / "small").chmod(0o4751)
    (directory / ".hidden").chmod(0o400)
    (directory / "a/deep").chmod(0o2750)
    for number, path in enumerate(sorted(directory.rglob("*"))):
        os.utime(path, ns=(0, SECOND * number * 1000 + 123_456_789), follow_symlinks=False)
    os.utime(directory, ns=(0, 77 * SECOND))
    return directory


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(fill(tmp_path / "served"))


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


@pytest.fixture
def one_large(tmp_path: Path) -> Served:
    """One file of four pieces, and a small one."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served/large").write_bytes(os.urandom(4 * PIECE))
    (tmp_path / "served/small").write_bytes(b"small")
    return Served(tmp_path / "served")


def same(served: Served, dest: Path) -> bool:
    """Whether the destination is what was served: it would itself be served as the same generation."""
    return manifest_of(dest).generation == served.manifest.generation


def only_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no content may be read."""

    def read(*_: object) -> bool:
        raise AssertionError("content was read")

    monkeypatch.setattr(verify, "read_ranges", read)


# A whole run.


def test_a_download_is_the_same_tree(served: Served, dest: Path) -> None:
    assert run_download(served, dest) == served.layout.size
    assert same(served, dest)
    assert not (dest / ".xget").exists()
    assert (dest / "b").stat().st_ino == (dest / "a/z").stat().st_ino


def test_a_second_run_reads_and_changes_nothing(served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_download(served, dest)
    before = {path: path.lstat().st_ctime_ns for path in dest.rglob("*")}
    only_metadata(monkeypatch)
    with served.download(dest) as download:
        inspect(download)
        assert missing(download, served.layout) == []
        assert (download.reused, download.unchanged) == (served.layout.size, len(download.files))
        finish(download)
        assert download.notes == []
    assert {path: path.lstat().st_ctime_ns for path in dest.rglob("*")} == before
    assert same(served, dest)


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
    assert same(served, dest)


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
    assert same(served, dest)


def test_attributes_that_differ_are_corrected_in_place(
    served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_download(served, dest)
    inode = (dest / "small").stat().st_ino
    (dest / "small").chmod(0o600)
    (dest / "a").chmod(0o700)
    os.utime(dest / "a/link", ns=(0, 1), follow_symlinks=False)
    only_metadata(monkeypatch)
    assert run_download(served, dest) == 0
    assert same(served, dest)
    assert (dest / "small").stat().st_ino == inode


def test_a_touched_file_is_read_and_stays(served: Served, dest: Path) -> None:
    run_download(served, dest)
    inode = (dest / "a/large").stat().st_ino
    os.utime(dest / "a/large", ns=(0, 1))
    assert run_download(served, dest) == 0
    assert same(served, dest)
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


# Pieces as they arrive.


def test_wrong_content_is_refused_before_it_touches_the_disk(one_large: Served, dest: Path) -> None:
    with one_large.download(dest) as download:
        inspect(download)
        right = one_large.piece(1)
        for wrong in (bytes(PIECE), right[:-1], right + b"x", one_large.piece(2), b""):
            with pytest.raises(PieceMismatch, match="large at byte 65536: wrong content from liar"):
                download.write_piece(1, wrong, "liar")
        assert os.listdir(dest / ".xget/parts") == []
        download.write_piece(1, right, "peer")
        assert present(download, one_large.layout) == [1]


def test_a_file_is_whole_with_its_last_piece_and_given_out_once(one_large: Served, dest: Path) -> None:
    with one_large.download(dest) as download:
        inspect(download)
        large, small = one_large.file_named(b"large"), one_large.file_named(b"small")
        assert [download.write_piece(number, one_large.piece(number), "") for number in (3, 0, 2)] == [False] * 3
        with pytest.raises(ValueError):
            download.install_files([large])
        assert download.take_complete() == []
        assert download.write_piece(1, one_large.piece(1), "")
        assert not download.write_piece(1, one_large.piece(1), "")
        assert download.write_piece(4, one_large.piece(4), "")
        assert download.take_complete() == [large, small]
        assert download.take_complete() == []


def test_chunks_are_whole_when_all_their_pieces_are(served: Served, dest: Path) -> None:
    with served.download(dest, b"a") as download:  # of chunks with pieces of other files, none becomes whole
        inspect(download)
        fetch(download, served)
        asked = {piece for file in download.files for piece in served.layout.file_pieces(file)}
        chunks = range(served.layout.chunk_count)
        whole = [chunk for chunk in chunks if set(served.layout.chunk_pieces(chunk)) <= asked]
        assert whole
        assert [chunk for chunk in chunks if download.chunk_complete(chunk)] == whole
        assert len(whole) < len(chunks)


def test_a_run_of_pieces_is_written_without_those_not_asked_for(served: Served, dest: Path) -> None:
    with served.download(dest, b"small", b"a/large") as download:
        inspect(download)
        run = range(served.layout.piece_count)
        data = b"".join(map(served.piece, run))
        download.write_run(run, memoryview(data), "peer")
        finish(download)
    assert sorted(os.listdir(dest)) == ["large", "small"]
    assert (dest / "large").read_bytes() == (served.directory / "a/large").read_bytes()


def test_a_piece_that_arrives_twice_at_once_is_written_once(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(fd: int, data: memoryview, offset: int) -> None:
        inside.set()
        assert go_on.wait(30)
        write_all(fd, data, offset)

    monkeypatch.setattr("xget_lib.download.write.write_all", slow)
    with one_large.download(dest) as download:
        inspect(download)
        first = threading.Thread(target=download.write_piece, args=(4, one_large.piece(4), "slow"))
        first.start()
        assert inside.wait(30)
        assert not download.write_piece(4, one_large.piece(4), "fast")  # returns at once, and writes nothing
        assert download.take_complete() == []
        assert 4 in missing(download, one_large.layout)
        go_on.set()
        first.join()
        assert len(download.take_complete()) == 1


def test_many_threads_may_write(served: Served, dest: Path) -> None:
    with served.download(dest) as download:
        inspect(download)
        numbers = [*range(served.layout.piece_count)] * 2
        threads = [threading.Thread(target=fetch, args=(download, served, numbers[i::6])) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert missing(download, served.layout) == []
        finish(download)
    assert same(served, dest)


def test_short_writes_are_continued(one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:1000], offset))
    run_download(one_large, dest)
    assert same(one_large, dest)


# Durability: in which order things happen.


def trace(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes fsync, syncfs and rename as they happen."""
    happened: list[str] = []

    def note(module: object, name: str, what: Callable[..., str]) -> None:
        real = getattr(module, name)

        def noting(*arguments: object, **options: object) -> object:
            happened.append(what(*arguments))
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, noting)

    note(os, "fsync", lambda fd: "fsync " + os.readlink(f"/proc/self/fd/{fd}"))
    note(os, "rename", lambda old, new: "rename " + os.fsdecode(old))
    note(writeback, "sync_filesystem", lambda fd: "syncfs")
    return happened


def test_a_file_is_on_disk_before_it_has_its_name(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = trace(monkeypatch)
    run_download(one_large, dest)
    renamed = [line.split()[1] for line in happened if line.startswith("rename")]
    assert len(renamed) == 2
    for name in renamed:
        assert happened.index(f"fsync {dest}/.xget/parts/{name}") < happened.index(f"rename {name}")
    assert happened[-1] == f"fsync {dest}"


def test_names_are_on_disk_before_it_is_said(served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = trace(monkeypatch)
    run_download(served, dest)
    last_name = max(number for number, line in enumerate(happened) if line.startswith("rename"))
    for directory in ("/a", "/a/deep", "/a/deep/er", ""):
        assert f"fsync {dest}{directory}" in happened[last_name:]
    assert "syncfs" not in happened


def test_corrected_attributes_and_an_interrupted_runs_names_are_synced_too(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_download(one_large, dest)
    (dest / "small").chmod(0o600)
    with monkeypatch.context() as tracing:
        happened = trace(tracing)
        run_download(one_large, dest)
        assert "syncfs" in happened
    with monkeypatch.context() as tracing:
        happened = trace(tracing)
        run_download(one_large, dest)
        assert "syncfs" not in happened
    with one_large.download(dest) as download:
        inspect(download)
        download.install_files(download.take_complete())
    with monkeypatch.context() as tracing:
        happened = trace(tracing)
        run_download(one_large, dest)
        assert "syncfs" in happened


def test_many_files_are_synced_at_once(tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "served").mkdir()
    for number in range(SYNC_EACH + 1):
        (tmp_path / "served" / str(number)).write_bytes(b"%d" % number)
    happened = trace(monkeypatch)
    run_download(Served(tmp_path / "served"), dest)
    assert [line.split()[0] for line in happened] == ["syncfs", *["rename"] * (SYNC_EACH + 1), "fsync"]


# While it downloads, it serves.


def test_what_is_verified_is_served_from_part_and_from_place(one_large: Served, dest: Path) -> None:
    def first_piece(store: Store) -> bytes:
        (extent,) = store.open_extents(0, PIECE)
        assert isinstance(extent, OpenExtent)
        data = os.pread(extent.fd, extent.length, extent.offset)
        close_extents([extent])
        return data

    with one_large.download(dest) as download:
        inspect(download)
        held = Bitmap(one_large.layout.chunk_count)
        store = Store(Root(bytes(dest)), one_large.manifest, held, stamps=download.stamps, locate=download.path_of)
        download.write_piece(0, one_large.piece(0), "")
        assert download.chunk_complete(0)
        store.hold(0)
        assert first_piece(store) == one_large.piece(0)
        fetch(download, one_large)
        before = download.path_of(0)
        file, _ = whole = download.take_complete()
        download.install_files(whole)
        assert before != download.path_of(file) == b"large"
        assert first_piece(store) == one_large.piece(0)
        assert store.is_stamped(file, os.stat(dest / "large"))
        download.finish()
        assert first_piece(store) == one_large.piece(0)


def test_while_a_file_is_moved_nobody_is_told_a_place_where_it_is_not(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks just before, or just after the part is gone, waits for the rename to be over, or finds the part."""
    told: list[bool] = []
    real = os.rename

    def ask() -> threading.Thread:
        thread = threading.Thread(target=lambda: told.append((dest / os.fsdecode(download.path_of(0))).exists()))
        thread.start()
        thread.join(0.1)  # ends at once, with the wrong answer, if it does not wait
        return thread

    def rename(old: bytes, new: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        threads.append(ask())
        real(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        threads.append(ask())

    threads: list[threading.Thread] = []
    with one_large.download(dest) as download:
        inspect(download)
        fetch(download, one_large)
        monkeypatch.setattr(os, "rename", rename)
        download.install_files([0])
        for thread in threads:
            thread.join(30)
    assert told == [True, True]


# A destination that refuses.


def refused(served: Served, dest: Path, why: str, *sources: bytes) -> None:
    """Refused before anything is fetched."""
    with pytest.raises(DestinationRefused, match=why), served.download(dest, *sources) as download:
        inspect(download)


def test_a_destination_without_a_parent_is_refused(served: Served, dest: Path) -> None:
    refused(served, dest / "below", "parent directory does not exist")
    assert not dest.exists()


def test_a_destination_that_is_a_file_is_refused(served: Served, dest: Path) -> None:
    dest.write_bytes(b"")
    refused(served, dest, "Not a directory")


def test_a_second_run_at_the_same_time_is_refused(served: Served, dest: Path) -> None:
    with served.download(dest) as download:
        refused(served, dest, "another xget is writing here")
        inspect(download)
        fetch(download, served)
        finish(download)
        run_download(served, dest)


def test_a_directory_where_a_file_must_be_is_refused_and_kept(served: Served, dest: Path) -> None:
    (dest / "small/mine").mkdir(parents=True)
    refused(served, dest, "small: a directory is where a file must be")
    assert (dest / "small/mine").is_dir()


def test_a_directory_where_a_link_must_be_is_refused_and_kept(served: Served, dest: Path) -> None:
    run_download(served, dest)
    for name in ("a/link", "b"):
        (dest / name).unlink()
        (dest / name).mkdir()
        refused(served, dest, f"{name}: a directory is where a file must be")
        (dest / name).rmdir()
        run_download(served, dest)
    assert same(served, dest)


def test_a_file_where_a_directory_must_be_is_refused_and_kept(served: Served, dest: Path) -> None:
    dest.mkdir()
    (dest / "a").write_bytes(b"mine")
    refused(served, dest, "a: not a directory, where one must be")
    assert (dest / "a").read_bytes() == b"mine"


def test_anything_else_under_a_files_name_is_replaced(served: Served, dest: Path) -> None:
    dest.mkdir()
    (dest / "outside").write_bytes(b"outside")
    (dest / "small").symlink_to("outside")
    os.mkfifo(dest / ".hidden")
    run_download(served, dest)
    assert (dest / "outside").read_bytes() == b"outside"
    (dest / "outside").unlink()
    os.utime(dest, ns=(0, 77 * SECOND))
    assert same(served, dest)


def test_no_write_follows_a_link_out_of_the_destination(served: Served, dest: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    dest.mkdir()
    (dest / "a").symlink_to(outside)
    refused(served, dest, "not a directory, where one must be")
    (dest / "a").unlink()
    (dest / ".xget").symlink_to(outside)
    refused(served, dest, "not a directory")
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
    assert same(one_large, dest)


def test_a_full_disk_is_said_before_the_download(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Root.statvfs

    def with_room_for(blocks: int) -> Callable[[Root], os.statvfs_result]:
        def statvfs(root: Root) -> os.statvfs_result:
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
        monkeypatch.setattr(Root, "statvfs", lambda root: real(root))
        download.check_free_space()


@pytest.mark.parametrize(("number", "why"), [(errno.ENOSPC, "disk full"), (errno.EIO, "Input/output error")])
def test_a_write_that_fails_is_refused_and_can_be_tried_again(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with one_large.download(dest) as download:
        inspect(download)
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", fail)
            with pytest.raises(DestinationRefused, match=f"large: {why}"):
                download.write_piece(0, one_large.piece(0), "")
        assert 0 in missing(download, one_large.layout)
        download.write_piece(0, one_large.piece(0), "")
        assert 0 in present(download, one_large.layout)


def test_a_run_that_did_nothing_leaves_no_workplace(one_large: Served, dest: Path) -> None:
    with one_large.download(dest) as download:
        inspect(download)
    assert os.listdir(dest) == []
    with one_large.download(dest) as download:
        inspect(download)
        download.write_piece(0, one_large.piece(0), "")
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
    refused(served, dest / "small", "Not a directory")
    assert os.listdir("/proc/self/fd") == before

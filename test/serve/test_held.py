"""What a node holds of a generation, and what that says about the next one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from test.support.downloads import Served, inspect, manifest_of, run_download, write_piece
from test.support.trees import write
from xget_lib.download.download import Download
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import no_stamps, put_stamp
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import select
from xget_lib.serve.held import HeldContent, compare, still_matches
from xget_lib.serve.store import Store

NAMES = (b"changed", b"empty", b"same", b"spoilt")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / os.fsdecode(name)).write_bytes(b"" if name == b"empty" else name * 20_000)
    return tmp_path


def store_of(tree: Path, *, held: bool = True) -> Store:
    """A store in which every file was verified just now."""
    manifest = manifest_of(tree)
    chunks = manifest.layout.chunk_count
    stamps = no_stamps(manifest.layout.file_count)
    for file in range(manifest.layout.file_count):
        put_stamp(stamps, file, os.stat(os.path.join(bytes(tree), manifest.file(file).path)))
    return Store(Root(bytes(tree)), manifest, Bitmap.filled(chunks) if held else Bitmap(chunks), stamps=stamps)


# What one generation says about another.


def compared(store: Store, manifest: Manifest) -> tuple[set[bytes], set[bytes]]:
    """The names of what was verified, and of what has changed."""
    paths = {file: manifest.file(file).path for file in range(manifest.layout.file_count)}
    found = compare(store, range(store.layout.file_count), manifest, paths.items())
    return {paths[file] for file in found.verified}, {paths[file] for file in found.changed}


def test_a_verified_file_with_the_same_content_and_stamp_is_known(tree: Path) -> None:
    store = store_of(tree)
    (tree / "changed").write_bytes(b"other content")
    (tree / "new").write_bytes(b"new")
    status = os.stat(tree / "spoilt")
    with open(tree / "spoilt", "r+b") as file:
        file.write(b"x")
    os.utime(tree / "spoilt", ns=(status.st_atime_ns, status.st_mtime_ns))
    manifest = store.manifest  # the next generation promises for `spoilt` what this one did
    assert compared(store, manifest) == ({b"empty", b"same"}, set())
    assert compared(store, manifest_of(tree)) == ({b"empty", b"same"}, {b"changed", b"spoilt"})


def test_a_file_with_another_path_is_not_known(tree: Path) -> None:
    store = store_of(tree)
    (tree / "same").rename(tree / "renamed")
    (tree / "changed").unlink()
    assert compared(store, manifest_of(tree)) == ({b"empty", b"spoilt"}, set())


def test_nothing_with_content_is_known_of_a_store_that_holds_nothing(tree: Path) -> None:
    assert compared(store_of(tree, held=False), manifest_of(tree)) == ({b"empty"}, set())


def test_a_file_without_a_stamp_is_not_known(tree: Path) -> None:
    manifest = manifest_of(tree)
    store = Store(Root(bytes(tree)), manifest, Bitmap.filled(manifest.layout.chunk_count))
    assert compared(store, manifest) == (set(), set())


# What a download holds.


@pytest.fixture
def source(tmp_path: Path) -> Served:
    (tmp_path / "served").mkdir()
    for name in NAMES:
        write(tmp_path / "served" / os.fsdecode(name), b"" if name == b"empty" else name * 20_000)
    return Served(tmp_path / "served")


@contextmanager
def held(source: Served, dest: Path) -> Iterator[tuple[HeldContent, Download]]:
    with source.download(dest) as download:
        inspect(download)
        yield HeldContent(source.manifest, download), download


def test_nothing_is_held_of_an_empty_destination_until_whole_chunks_are_written(source: Served, tmp_path: Path) -> None:
    with held(source, tmp_path / "dest") as (content, download):
        assert content.store.held.count == 0 and content.store.more_may_come
        (chunk, *_) = source.layout.file_chunks(source.file_named(b"same"))
        assert not content.chunk_written(chunk)
        for number in source.layout.chunk_pieces(chunk):
            write_piece(download, number, source.piece(number))
        assert content.chunk_written(chunk)
        assert not content.chunk_written(chunk), "it is held already"
        assert list(content.store.held) == [chunk]


def test_a_file_with_the_right_size_and_time_is_held_when_it_was_read(source: Served, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    shutil.copytree(source.directory, dest)
    with held(source, dest) as (content, _), Root(bytes(dest)) as root:
        assert content.store.held.count == 0
        files = sorted(content.unverified)
        assert all(content.file_is_right(root, file) for file in files)
        *others, last = files
        for file in others:
            content.file_verified(file)
        certain = set(content.store.held)
        assert certain.isdisjoint(source.layout.file_chunks(last)), "a part of them was not read"
        assert content.file_verified(last)
        assert content.store.held.full and not content.unverified


def test_a_file_with_the_right_size_and_time_and_other_content_is_not_right(source: Served, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    shutil.copytree(source.directory, dest)
    status = os.stat(dest / "spoilt")
    with open(dest / "spoilt", "r+b") as file:
        file.write(b"x")
    os.utime(dest / "spoilt", ns=(status.st_atime_ns, status.st_mtime_ns))
    with held(source, dest) as (content, _), Root(bytes(dest)) as root:
        assert not content.file_is_right(root, source.file_named(b"spoilt"))
        assert content.file_is_right(root, source.file_named(b"same"))
        (dest / "same").unlink()
        assert not content.file_is_right(root, source.file_named(b"same"))


def test_chunks_with_the_same_files_are_carried_over_to_a_new_generation(source: Served, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    run_download(source, dest)
    with held(source, dest) as (content, download):
        download.install_files(download.take_complete())
        for file in sorted(content.unverified):
            content.file_verified(file)
        write(source.directory / "changed", b"other content")
        newer = Served(source.directory)
        store = content.rebased(newer.manifest, select(newer.manifest, [b"."]))
    chunks = set(range(newer.layout.chunk_count)) - set(newer.layout.file_chunks(newer.file_named(b"changed")))
    assert set(store.held) == chunks and chunks


def test_only_what_was_verified_and_has_not_changed_matches(source: Served, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    shutil.copytree(source.directory, dest)
    selection = select(source.manifest, [b"."])
    with held(source, dest) as (content, download):
        matches = still_matches(content.store, selection)

        def found(name: str) -> bool:
            return matches(os.fsencode(name), (dest / name).lstat())

        assert matches(b"", dest.lstat())
        assert not found("same"), "nobody has read it"
        download.install_files(download.take_complete())
        content.file_verified(source.file_named(b"same"))
        assert found("same") and not found("changed")
        content.file_verified(source.file_named(b"changed"))
        assert found("changed")
        (dest / "changed").chmod(0o600)
        assert not found("changed"), "somebody has changed it"
        (dest / "other").write_bytes(b"other")
        assert not found("other"), "not in the manifest"
        (dest / "same").rename(dest / "aside")
        (dest / "same").symlink_to("aside")
        assert not found("same"), "of another kind"


def test_links_and_devices_match_with_what_they_lead_to(tmp_path: Path) -> None:
    directory, dest = tmp_path / "served", tmp_path / "dest"
    (directory / "d").mkdir(parents=True)
    (directory / "link").symlink_to("d")
    os.mkfifo(directory / "fifo")
    source = Served(directory)
    run_download(source, dest)
    with held(source, dest) as (content, _):
        matches = still_matches(content.store, select(source.manifest, [b"."]))
        for name in ("d", "link", "fifo"):
            assert matches(os.fsencode(name), (dest / name).lstat()), name
        (dest / "link").unlink()
        (dest / "link").symlink_to("/etc/passwd")
        (dest / "fifo").unlink()
        (dest / "fifo").mkdir()
        for name in ("link", "fifo"):
            assert not matches(os.fsencode(name), (dest / name).lstat()), name

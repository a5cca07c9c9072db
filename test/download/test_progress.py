"""Where a file is while a download serves it (in its part, moving, or in place), and what a piece completes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from test.support.downloads import Served, fetch, inspect, write_piece
from test.support.manifests import file as file_of
from test.support.manifests import manifest as manifest_of
from test.support.manifests import root
from xget_lib.download.progress import Progress
from xget_lib.download.workplaces import Workplaces
from xget_lib.fs.rooted import Root
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import select
from xget_lib.ninep.file import OpenExtent
from xget_lib.serve.store import Store, close_extents

PIECE = 65536
MANIFEST = manifest_of(root(), file_of(b"a", 200_000), file_of(b"b", 1), file_of(b"c", 0))


def progress_of(manifest: Manifest) -> Progress:
    return Progress(select(manifest, [b"."]), manifest.layout, Workplaces())


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
        write_piece(download, 0, one_large.piece(0))
        assert download.chunk_complete(0)
        store.hold(0)
        assert first_piece(store) == one_large.piece(0)
        fetch(download, one_large)
        before = download.path_of(0)
        file, _ = complete = download.take_complete()
        download.install_files(complete)
        assert before != download.path_of(file) == b"large"
        assert first_piece(store) == one_large.piece(0)
        assert store.is_stamped(file, os.stat(dest / "large"))
        download.finish()
        assert first_piece(store) == one_large.piece(0)


def test_while_a_file_is_renamed_its_path_is_not_given(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that asks just before or just after the rename waits until it is over, or still finds the part."""
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


def test_a_file_that_could_not_be_renamed_is_in_its_part_still(one_large: Served) -> None:
    progress = progress_of(one_large.manifest)
    progress.add_ready([0, 1])
    with pytest.raises(OSError, match="no room"), progress.moving([0, 1]):
        progress.set_in_place(0)
        raise OSError("no room")
    assert (progress.is_in_place(0), progress.is_in_place(1), progress.is_ready(1)) == (True, False, False)
    assert (progress.path_of(0), progress.path_of(1)) == (b"large", Workplaces().part_path(b"small"))


def test_files_to_install_are_given_out_once(one_large: Served) -> None:
    progress = progress_of(one_large.manifest)
    progress.add_ready([1])
    progress.add(0, range(4))
    assert progress.take_complete() == [1, 0]
    assert progress.take_complete() == []


def test_a_piece_is_claimed_once_until_it_is_released() -> None:
    progress = progress_of(MANIFEST)
    assert progress.claim([0]) == {0}
    assert progress.claim([0, 1]) == {1}
    progress.release([0])
    assert progress.claim([0]) == {0}
    progress.add(0, [0])
    assert not progress.claim([0])
    assert (0 in progress, 1 in progress) == (True, False)


def test_files_and_chunks_become_complete_with_their_last_piece() -> None:
    progress = progress_of(MANIFEST)
    progress.add(0, [3, 0, 1])
    assert progress.missing(0) == 1
    assert progress.take_complete() == []
    progress.add(0, [2])
    progress.add(0, [2])  # said once
    progress.add(1, [4])
    progress.add(2, [])
    assert progress.take_complete() == [0, 1, 2]
    assert all(progress.chunk_complete(chunk) for chunk in range(MANIFEST.layout.chunk_count))
    assert all(number in progress for number in range(MANIFEST.layout.piece_count))

"""Where a file is while a download serves it: in its part, moving, or in place."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from test.support.downloads import Served, fetch, inspect, write_piece
from xget_lib.download.file_states import FileStates
from xget_lib.download.staging import part_path
from xget_lib.fs.rooted import Root
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.selection import select
from xget_lib.ninep.file import OpenExtent
from xget_lib.serve.store import Store, close_extents

PIECE = 65536


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
    states = FileStates(select(one_large.manifest, [b"."]), 2)
    states.set_ready([0, 1])
    with pytest.raises(OSError, match="no room"), states.moving([0, 1]):
        states.set_in_place(0)
        raise OSError("no room")
    assert (states.is_in_place(0), states.is_in_place(1), states.is_ready(1)) == (True, False, False)
    assert (states.path_of(0), states.path_of(1)) == (b"large", part_path(b"small"))


def test_complete_files_are_given_out_once(one_large: Served) -> None:
    states = FileStates(select(one_large.manifest, [b"."]), 2)
    states.add_complete([1])
    states.add_complete([0])
    assert states.take_complete() == [1, 0]
    assert states.take_complete() == []

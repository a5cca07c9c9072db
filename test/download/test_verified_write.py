"""Pieces as they arrive: verified, written once, and what they complete."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from test.support.downloads import Served, fetch, finish, inspect, is_same, missing, present, run_download, write_piece
from xget_lib.download.verified_write import write_ranges
from xget_lib.errors import PieceMismatch

PIECE = 65536


def test_wrong_content_is_refused_before_it_touches_the_disk(one_large: Served, dest: Path) -> None:
    with one_large.download(dest) as download:
        inspect(download)
        right = one_large.piece(1)
        for wrong in (bytes(PIECE), right[:-1], one_large.piece(2), b""):
            with pytest.raises(PieceMismatch, match="large at byte 65536: wrong content from liar"):
                write_piece(download, 1, wrong, "liar")
        assert os.listdir(dest / ".xget/parts") == []
        write_piece(download, 1, right)
        assert present(download, one_large.layout) == [1]


def test_a_file_is_complete_with_its_last_piece_and_given_out_once(one_large: Served, dest: Path) -> None:
    with one_large.download(dest) as download:
        inspect(download)
        large, small = one_large.file_named(b"large"), one_large.file_named(b"small")
        for number in (3, 0, 2):
            write_piece(download, number, one_large.piece(number))
        with pytest.raises(ValueError):
            download.install_files([large])
        assert download.take_complete() == []
        for number in (1, 1, 4):
            write_piece(download, number, one_large.piece(number))
        assert download.take_complete() == [large, small]
        assert download.take_complete() == []


def test_a_chunk_is_complete_when_all_its_pieces_are_present(served: Served, dest: Path) -> None:
    with served.download(dest, b"a") as download:  # a chunk with pieces of other files never becomes complete
        inspect(download)
        fetch(download, served)
        asked = {piece for file in download.files for piece in served.layout.file_pieces(file)}
        chunks = range(served.layout.chunk_count)
        complete = [chunk for chunk in chunks if set(served.layout.chunk_pieces(chunk)) <= asked]
        assert complete
        assert [chunk for chunk in chunks if download.chunk_complete(chunk)] == complete
        assert len(complete) < len(chunks)


def test_a_run_of_pieces_is_written_without_those_not_asked_for(served: Served, dest: Path) -> None:
    with served.download(dest, b"small", b"a/large") as download:
        inspect(download)
        run = range(served.layout.piece_count)
        data = b"".join(map(served.piece, run))
        download.writer.write_run(run, memoryview(data), "peer")
        finish(download)
    assert sorted(os.listdir(dest)) == ["large", "small"]
    assert (dest / "large").read_bytes() == (served.directory / "a/large").read_bytes()


def test_a_piece_that_arrives_twice_at_once_is_written_once(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(fd: int, data: memoryview, ranges: Iterable[tuple[int, int]]) -> None:
        inside.set()
        assert go_on.wait(30)
        write_ranges(fd, data, ranges)

    monkeypatch.setattr("xget_lib.download.verified_write.write_ranges", slow)
    with one_large.download(dest) as download:
        inspect(download)
        first = threading.Thread(target=write_piece, args=(download, 4, one_large.piece(4), "slow"))
        first.start()
        assert inside.wait(30)
        write_piece(download, 4, one_large.piece(4), "fast")  # returns at once, and writes nothing
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
    assert is_same(served, dest)


def test_short_writes_are_continued(one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:1000], offset))
    run_download(one_large, dest)
    assert is_same(one_large, dest)

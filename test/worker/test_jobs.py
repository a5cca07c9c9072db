"""The jobs of a snapshot as workers do them: what one passes to the next in memfds, and what a change costs."""

from __future__ import annotations

import os
import shutil
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import pytest

from test.support.downloads import manifest_of
from test.support.trees import noise, write
from xget_lib import ipc
from xget_lib.ipc.jobs import (
    Assembled,
    AssembleManifest,
    DigestCacheLoaded,
    DigestCacheMade,
    FindUnknown,
    Hashed,
    HashPieces,
    LoadDigestCache,
    MakeDigestCache,
    Request,
    Result,
    Saved,
    SaveDigestCache,
    Scanned,
    ScanTree,
    Unknown,
    encode_left_out,
)
from xget_lib.manifest.decoding import decode
from xget_lib.process.channel import MAX_PACKET
from xget_lib.process.memfd import memfd, read_all
from xget_lib.worker import jobs

LATER = 1 << 62  # ns; everything was changed long before

R = TypeVar("R", bound=Result)


class Bench:
    """Does jobs and owns the descriptors of their results."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def do(self, request: Request, expected: type[R], *descriptors: int) -> tuple[R, list[int]]:
        done, made = jobs.perform(ipc.Job(1, request), descriptors)
        self.descriptors += made
        assert isinstance(done, ipc.Done)
        assert ipc.unpack(as_received(done)) == done
        assert isinstance(done.result, expected)
        return done.result, made

    def scan(self, root: Path) -> tuple[int, int]:
        """The descriptor of a scan, and how many pieces there are."""
        scanned, (scan,) = self.do(ScanTree(bytes(root), False, True, False), Scanned)
        return scan, scanned.pieces

    def find_unknown(self, scan: int, cache: int) -> tuple[int, array[int]]:
        _, (digests, runs) = self.do(FindUnknown(()), Unknown, scan, cache)
        return digests, array("Q", read_all(runs))

    def left_out(self, *files: int) -> int:
        descriptor = memfd("left-out", encode_left_out({"why": files} if files else {}))
        self.descriptors.append(descriptor)
        return descriptor

    def hash(self, scan: int, first: int, end: int) -> Hashed:
        return self.do(HashPieces(first, end), Hashed, scan)[0]


def as_received(message: ipc.Message) -> Sequence[Any]:
    """What comes out of a channel: arrays are tuples."""
    unpacked: Sequence[Any] = msgpack.unpackb(msgpack.packb(ipc.pack(message)), use_list=False)
    return unpacked


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    for descriptor in bench.descriptors:
        os.close(descriptor)
    jobs.forget()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "served"
    root.mkdir()
    for number in range(5):
        write(root / f"file{number}", noise(100_000, number))
    return root


def test_a_file_that_changed_since_it_was_scanned_costs_a_second_scan_but_not_the_other_digests(
    bench: Bench, tree: Path
) -> None:
    scan, pieces = bench.scan(tree)
    assert pieces == 10
    _, (nothing,) = bench.do(LoadDigestCache(b"/nowhere", True), DigestCacheLoaded)
    digests, runs = bench.find_unknown(scan, nothing)
    assert list(runs) == [0, 10]
    write(tree / "file2", noise(100_000, 22))
    (tree / "file4").unlink()
    for first, end in ((0, 5), (5, 10)):
        hashed = bench.hash(scan, first, end)
        assert (hashed.changed, hashed.changed_path) == ((2,) if first == 0 else (2, 4), b"file2")
        assert hashed.changed_end == (6 if first == 0 else 10)
        os.pwrite(digests, hashed.digests, first * 32)
    _, (cache,) = bench.do(MakeDigestCache(LATER), DigestCacheMade, scan, digests, bench.left_out(2, 4))

    scan, pieces = bench.scan(tree)
    digests, runs = bench.find_unknown(scan, cache)
    assert (pieces, list(runs)) == (8, [4, 6])
    hashed = bench.hash(scan, 4, 6)
    assert hashed.changed == ()
    os.pwrite(digests, hashed.digests, 4 * 32)
    assembled, (manifest, _, base) = bench.do(AssembleManifest(), Assembled, scan, digests, bench.left_out())
    assert os.path.samestat(os.fstat(base), os.stat(tree))
    assert assembled.generation == decode(read_all(manifest)).generation == manifest_of(tree).generation


def test_a_file_that_seemed_gone_has_no_digest_when_it_is_back_as_it_was(bench: Bench, tree: Path) -> None:
    """A directory was moved away while its files were hashed, and back: their stamps are what they were."""
    (tree / "below").mkdir()
    (tree / "file0").rename(tree / "below" / "file")
    scan, pieces = bench.scan(tree)
    (tree / "below").rename(tree / "elsewhere")
    hashed = bench.hash(scan, 0, pieces)
    assert (hashed.changed, hashed.changed_path) == ((4,), b"below/file")
    (tree / "elsewhere").rename(tree / "below")
    digests = os.memfd_create("digests")
    bench.descriptors.append(digests)
    os.pwrite(digests, hashed.digests, 0)
    _, (cache,) = bench.do(MakeDigestCache(LATER), DigestCacheMade, scan, digests, bench.left_out(4))
    again, _ = bench.scan(tree)
    assert list(bench.find_unknown(again, cache)[1]) == [8, 10]


def test_the_same_directory_is_scanned_to_the_same_digest_and_another_is_not(bench: Bench, tree: Path) -> None:
    digests = []
    for change in (None, None, lambda: os.utime(tree / "file1")):
        if change is not None:
            change()
        scanned, _ = bench.do(ScanTree(bytes(tree), False, True, False), Scanned)
        digests.append(scanned.digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_directory_that_cannot_be_read_is_a_job_that_failed(tmp_path: Path) -> None:
    answer, descriptors = jobs.perform(ipc.Job(7, ScanTree(bytes(tmp_path / "nowhere"), False, True, False)), [])
    assert isinstance(answer, ipc.JobFailed)
    assert (answer.number, descriptors) == (7, [])
    assert "No such file or directory" in answer.error


def test_a_digest_cache_is_saved_and_loaded(bench: Bench, tree: Path, tmp_path: Path) -> None:
    path = bytes(tmp_path / "cache")
    scan, pieces = bench.scan(tree)
    digests = os.memfd_create("digests")
    bench.descriptors.append(digests)
    os.pwrite(digests, bench.hash(scan, 0, pieces).digests, 0)
    _, (cache,) = bench.do(MakeDigestCache(LATER), DigestCacheMade, scan, digests, bench.left_out())
    bench.do(SaveDigestCache(path), Saved, cache)
    _, (loaded,) = bench.do(LoadDigestCache(path, True), DigestCacheLoaded)
    assert list(bench.find_unknown(scan, loaded)[1]) == []


def test_more_files_can_be_left_out_than_fit_in_a_message(bench: Bench, tree: Path) -> None:
    """And the log names as many as fit."""
    for number in range(3000):
        write(tree / ("x" * 200 + str(number)), b"x")
    scan, pieces = bench.scan(tree)
    digests = os.memfd_create("digests")
    bench.descriptors.append(digests)
    os.ftruncate(digests, pieces * 32)
    left_out = bench.left_out(*range(5, 3005))
    assembled, _ = bench.do(AssembleManifest(), Assembled, scan, digests, left_out)
    assert assembled.files == 5
    assert assembled.omitted[0].endswith(": why")
    assert assembled.omitted[-1] == f"and {3000 - len(assembled.omitted) + 1} more"
    assert as_received(ipc.Done(1, assembled))


def test_a_thousand_files_that_are_gone_fit_in_one_result(bench: Bench, tree: Path) -> None:
    for number in range(1024):
        write(tree / ("x" * 200 + str(number)), b"x")
    scan, pieces = bench.scan(tree)
    shutil.rmtree(tree)
    tree.mkdir()
    hashed = bench.hash(scan, pieces - 1024, pieces)
    assert len(hashed.changed) == 1024
    assert len(msgpack.packb(ipc.pack(ipc.Done(1, hashed)))) <= MAX_PACKET


def test_a_manifest_that_no_client_takes_is_not_made(bench: Bench, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MANIFEST_LIMIT", 100)
    scan, pieces = bench.scan(tree)
    digests = memfd("digests", bytes(32 * pieces))
    bench.descriptors.append(digests)
    failed, _ = jobs.perform(ipc.Job(1, AssembleManifest()), [scan, digests, bench.left_out()])
    assert isinstance(failed, ipc.JobFailed)
    assert "its manifest has " in failed.error
    assert "more than 100 B" in failed.error

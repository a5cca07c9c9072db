"""The steps of a snapshot as workers do them: what one hands to the next in memfds, and what a change costs."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from test.support.downloads import manifest_of
from test.support.trees import noise, write
from xget_lib import ipc
from xget_lib.manifest.decoding import decode
from xget_lib.process.memfd import read_all
from xget_lib.worker import jobs

LATER = 1 << 62  # ns; everything was changed long before


class Bench:
    """Does jobs and owns the descriptors of their results."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def do(self, kind: str, arguments: Sequence[Any], *descriptors: int) -> tuple[Sequence[Any], list[int]]:
        done, made = jobs.perform(ipc.Job(1, kind, arguments), descriptors)
        self.descriptors += made
        assert done.error == ""
        return done.result, made

    def scan(self, root: Path) -> tuple[int, int]:
        """The descriptor of a scan, and how many pieces there are."""
        (pieces, _, _), (scan,) = self.do("scan", [bytes(root), False, True])
        return scan, pieces

    def compare(self, scan: int, kept: int) -> tuple[int, array[int]]:
        _, (digests, runs) = self.do("compare", [], scan, kept)
        return digests, array("Q", read_all(runs))


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


def test_a_file_that_changed_since_it_was_scanned_costs_a_second_look_but_not_the_others_digests(
    bench: Bench, tree: Path
) -> None:
    scan, pieces = bench.scan(tree)
    assert pieces == 10
    _, (nothing,) = bench.do("recall", [b""])
    digests, runs = bench.compare(scan, nothing)
    assert list(runs) == [0, 10]
    write(tree / "file2", noise(100_000, 22))
    (tree / "file4").unlink()
    for first, end in ((0, 5), (5, 10)):
        (made, stale, *_), _ = bench.do("hash", [first, end], scan)
        assert stale == ([(2, b"file2")] if first == 0 else [(2, b"file2"), (4, b"file4")])
        os.pwrite(digests, made, first * 32)
    _, (kept,) = bench.do("retain", [LATER, [2, 4]], scan, digests)

    scan, pieces = bench.scan(tree)
    digests, runs = bench.compare(scan, kept)
    assert (pieces, list(runs)) == (8, [4, 6])
    (made, stale, *_), _ = bench.do("hash", [4, 6], scan)
    assert stale == []
    os.pwrite(digests, made, 4 * 32)
    facts, (manifest, _) = bench.do("assemble", [[]], scan, digests)
    assert facts[0] == decode(read_all(manifest)).generation == manifest_of(tree).generation


def test_a_file_that_seemed_gone_has_no_digest_when_it_is_back_as_it_was(bench: Bench, tree: Path) -> None:
    """A directory was moved away while its files were hashed, and back: their stamps are what they were."""
    (tree / "below").mkdir()
    (tree / "file0").rename(tree / "below" / "file")
    scan, pieces = bench.scan(tree)
    (tree / "below").rename(tree / "elsewhere")
    (made, stale, *_), _ = bench.do("hash", [0, pieces], scan)
    assert stale == [(4, b"below/file")]
    (tree / "elsewhere").rename(tree / "below")
    digests = os.memfd_create("digests")
    bench.descriptors.append(digests)
    os.pwrite(digests, made, 0)
    _, (kept,) = bench.do("retain", [LATER, [4]], scan, digests)
    again, _ = bench.scan(tree)
    assert list(bench.compare(again, kept)[1]) == [8, 10]


def test_the_same_directory_is_scanned_to_the_same_digest_and_another_is_not(bench: Bench, tree: Path) -> None:
    looks = []
    for change in (None, None, lambda: os.utime(tree / "file1")):
        if change is not None:
            change()
        (*_, digest), _ = bench.do("scan", [bytes(tree), False, True])
        looks.append(digest)
    assert looks[0] == looks[1] != looks[2]

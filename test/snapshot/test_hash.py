"""Hashing: the digests of the bytes, in any parts, and every change since the scan is noticed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.leases import leased
from test.support.snapshots import digests, hashed, scanned
from xget_lib.errors import XGetError
from xget_lib.manifest.manifest import DIGEST_SIZE
from xget_lib.snapshot.hash import UNKNOWN_DIGEST


def test_pieces_can_be_hashed_in_any_parts(tree: Path) -> None:
    found = scanned(tree)
    whole = digests(found)
    assert len(whole) == found.layout.piece_count * DIGEST_SIZE > 5 * DIGEST_SIZE
    for cut in range(found.layout.piece_count + 1):
        assert digests(found, 0, cut) + digests(found, cut) == whole


def rewrite(path: Path) -> None:
    path.write_bytes(b"SMALL")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replace_by_other(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"SMALL")
    os.utime(other, ns=(status.st_mtime_ns, status.st_mtime_ns))
    other.rename(path)


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("a/large")


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: list[Callable[[Path], object]] = [
    rewrite,
    touch,
    Path.unlink,
    replace_by_other,
    replace_by_link,
    replace_by_fifo,
    replace_by_directory,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_the_scan_is_noticed(tree: Path, change: Callable[[Path], object]) -> None:
    found = scanned(tree)
    before = digests(found)
    change(tree / "a.txt")
    result = hashed(found)
    (file,) = result.changed
    assert (found.path_of(file), result.unreadable) == (b"a.txt", {})
    piece = found.layout.file_pieces(file).start
    expected = before[: piece * DIGEST_SIZE] + UNKNOWN_DIGEST + before[(piece + 1) * DIGEST_SIZE :]
    assert result.digests == expected  # of all other files they are known


def test_a_directory_that_became_a_link_is_noticed_and_not_followed(tree: Path) -> None:
    (tree / "a" / "own").write_bytes(b"own")
    found = scanned(tree)
    (tree / "a").rename(tree / "b")
    (tree / "a").symlink_to("b")
    assert list(map(found.path_of, hashed(found).changed)) == [b"a/own"]


def shrink(path: Path) -> None:
    os.truncate(path, 100_000)


@pytest.mark.parametrize("change", [rewrite, touch, shrink])
def test_a_file_that_changes_while_it_is_read_is_noticed(
    tree: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    found = scanned(tree)
    read = os.preadv
    reads: list[int] = []

    def read_and_change(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        count = read(descriptor, buffers, offset)
        if os.fstat(descriptor).st_size >= 100_000:
            reads.append(offset)
            if len(reads) == 3:  # in the midst of the large file
                change(tree / "a" / "large")
        return count

    monkeypatch.setattr(os, "preadv", read_and_change)
    assert list(map(found.path_of, hashed(found).changed)) == [b"z"]


def test_an_error_of_the_machine_is_not_that_of_a_file(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scanned(tree)

    def broken(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        raise OSError(errno.ENFILE, "Too many open files in system")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(XGetError, match=r"\.hidden: Too many open files"):
        digests(found)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODATA, errno.ENXIO, errno.EUCLEAN, errno.EREMOTEIO, 4711])
def test_an_error_of_a_file_costs_this_file_whatever_error_it_is(
    tree: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    found = scanned(tree)
    broken = (tree / "a.txt").stat().st_ino
    read = os.preadv

    def read_or_fail(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(number, "broken")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", read_or_fail)
    result = hashed(found)
    assert ({found.path_of(file): why for file, why in result.unreadable.items()}, result.changed) == (
        {b"a.txt": "broken"},
        set(),
    )


def test_a_file_that_is_shorter_than_its_size_is_unreadable(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of /sys say 4096 bytes, and have fewer."""
    found = scanned(tree)
    short = (tree / "a.txt").stat().st_ino
    read = os.preadv

    def read_less(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if os.fstat(descriptor).st_ino == short:
            return read(descriptor, [buffers[0][:1]], offset) if offset == 0 else 0
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", read_less)
    result = hashed(found)
    assert {found.path_of(file): why for file, why in result.unreadable.items()} == {
        b"a.txt": "shorter than its size says"
    }


def test_short_reads_are_continued(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scanned(tree)
    whole = digests(found)
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda descriptor, buffers, offset: read(descriptor, [buffers[0][:1000]], offset))
    assert digests(found) == whole


@pytest.mark.parametrize("gives_up", [True, False])
def test_a_file_whose_lease_is_kept_counts_as_changed(
    tree: Path, monkeypatch: pytest.MonkeyPatch, gives_up: bool
) -> None:
    monkeypatch.setattr("xget_lib.snapshot.hash.LEASE_WAIT", 60.0 if gives_up else 0.0)
    found = scanned(tree)
    wanted = digests(found)
    with leased(tree / "a.txt", gives_up=gives_up):
        result = hashed(found)
    assert result.unreadable == {}
    assert {found.path_of(file) for file in result.changed} == (set() if gives_up else {b"a.txt"})
    assert (result.digests == wanted) == gives_up

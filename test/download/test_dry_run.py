"""`--dry-run`: it prints what a run would do, and changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from test.support.downloads import Served, inspect, run_download, write_piece
from test.support.trees import MOMENT, differences, noise, small_tree, write
from xget_lib.download.dry_run import dry_run_steps
from xget_lib.errors import DestinationRefused
from xget_lib.manifest.selection import select

PIECE = 65536


@pytest.fixture
def served(tmp_path: Path) -> Served:
    source = small_tree(tmp_path / "served")
    write(source / "large", noise(5 * PIECE + 7, 3))
    os.link(source / "large", source / "a/large too")
    (source / "a/link").symlink_to("../top")
    os.mkfifo(source / "a/fifo")
    for path in (source / "a/b", source / "a", source):
        os.utime(path, ns=(MOMENT, MOMENT))
    return Served(source)


@pytest.fixture
def dest(tmp_path: Path, served: Served) -> Path:
    """A copy, complete."""
    run_download(served, tmp_path / "dest")
    return tmp_path / "dest"


Steps = list[tuple[str, bytes, int]]
"""(action, path, bytes to fetch) of each."""


def dry_run(served: Served, dest: Path, *sources: bytes, **options: Any) -> Steps:
    """The steps of a dry run; fails if it changed anything."""
    before = statuses(dest)
    steps = list(dry_run_steps(bytes(dest), served.manifest, select(served.manifest, sources or (b".",)), **options))
    assert statuses(dest) == before
    return [(step.action, step.path, step.size) for step in steps]


def statuses(dest: Path) -> list[tuple[Path, int, int, int]]:
    """Of all that is there."""
    paths = sorted(dest.rglob("*")) + [dest] * dest.exists()
    return [(path, status.st_ino, status.st_ctime_ns, status.st_size) for path in paths for status in [path.lstat()]]


def test_nothing_is_there(served: Served, tmp_path: Path) -> None:
    steps = dry_run(served, tmp_path / "new", delete=True)
    assert {path for action, path, _ in steps if action == "make"} == {b"a", b"a/b", b"a/link", b"a/fifo"}
    assert [step for step in steps if step[0] == "link"] == [("link", b"a/large too", 0)]
    assert sum(size for _, _, size in steps) == served.layout.size == run_download(served, tmp_path / "new")
    assert not dry_run(served, tmp_path / "new", delete=True)


def test_all_is_in_place(served: Served, dest: Path) -> None:
    for options in ({}, {"delete": True}, {"checksum": True}):
        assert dry_run(served, dest, **options) == []


def _damage(path: Path) -> None:
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(2 * PIECE)
        file.write(b"other")
    os.utime(path, ns=(MOMENT, status.st_mtime_ns))


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")


def _point_elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def _grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


CHANGES: dict[str, tuple[Callable[[Path], object], Steps]] = {
    "a file gone": (lambda d: (d / "a/other").unlink(), [("fetch", b"a/other", 6), ("correct", b"a", 0)]),
    "a file longer": (lambda d: _grow(d / "large"), [("fetch", b"large", 0), ("link", b"a/large too", 0)]),
    "a file touched": (lambda d: os.utime(d / "top"), [("correct", b"top", 0)]),
    "a file's mode": (lambda d: (d / "top").chmod(0o600), [("correct", b"top", 0)]),
    "one of two names": (lambda d: (d / "large").unlink(), [("link", b"large", 0), ("correct", b".", 0)]),
    "the first of two": (lambda d: (d / "a/large too").unlink(), [("link", b"a/large too", 0), ("correct", b"a", 0)]),
    "a link elsewhere": (
        lambda d: _point_elsewhere(d / "a/link"),
        [("make", b"a/link", 0), ("correct", b"a", 0)],
    ),
    "something more": (lambda d: (d / "extra").mkdir(), [("remove", b"extra", 0), ("correct", b".", 0)]),
    "a directory in the way": (
        lambda d: _replace_by_directory(d / "top"),
        [("remove", b"top", 0), ("fetch", b"top", 11), ("correct", b".", 0)],
    ),
    "a directory for a link": (
        lambda d: _replace_by_directory(d / "a/link"),
        [("remove", b"a/link", 0), ("make", b"a/link", 0), ("correct", b"a", 0)],
    ),
    "a file for a directory": (
        lambda d: _replace_by_file(d / "a/b"),
        [
            ("remove", b"a/b", 0),
            ("make", b"a/b", 0),
            ("fetch", b"a/b/file1", 200_000),
            ("fetch", b"a/b/file2", 4),
            ("correct", b"a", 0),
        ],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_steps_are_what_a_run_then_does(served: Served, dest: Path, change: str) -> None:
    make, expected = CHANGES[change]
    make(dest)
    steps = dry_run(served, dest, delete=True)
    assert sorted(steps) == sorted(expected)
    assert sum(size for _, _, size in steps) == run_download(served, dest, delete=True)
    assert differences(served.directory, dest) == []
    assert dry_run(served, dest, delete=True) == []


def test_damage_of_the_same_size_and_time_needs_checksum(served: Served, dest: Path) -> None:
    _damage(dest / "large")
    assert dry_run(served, dest) == []
    assert dry_run(served, dest, checksum=True) == [
        ("fetch", b"large", PIECE),
        ("link", b"a/large too", 0),
    ]


def test_pieces_of_an_interrupted_run_count(served: Served, dest: Path) -> None:
    (dest / "large").unlink()
    (dest / "a/large too").unlink()
    with served.download(dest) as download:
        inspect(download)
        file = served.file_named(b"large")
        first = served.layout.file_pieces(file).start
        write_piece(download, first + 1, served.piece(first + 1))
    assert ("fetch", b"large", 4 * PIECE + 7) in dry_run(served, dest)


def test_only_what_was_asked_for(served: Served, tmp_path: Path) -> None:
    dest = tmp_path / "other"
    dest.mkdir()
    (dest / "mine").write_bytes(b"")
    assert dry_run(served, dest, b"a/b", b"top", delete=True) == [
        ("make", b"b", 0),
        ("fetch", b"top", 11),
        ("fetch", b"b/file1", 200_000),
        ("fetch", b"b/file2", 4),
    ]


def test_what_would_be_refused_in_a_run_is_refused(served: Served, dest: Path, tmp_path: Path) -> None:
    _replace_by_directory(dest / "top")
    with pytest.raises(DestinationRefused, match="top: is a directory, but the master has a file here"):
        dry_run(served, dest)
    _replace_by_file(dest / "a")
    with pytest.raises(DestinationRefused, match="a: not a directory, but the master has a directory here"):
        dry_run(served, dest)
    with pytest.raises(DestinationRefused, match="parent directory does not exist"):
        dry_run(served, tmp_path / "no" / "where")
    with pytest.raises(DestinationRefused, match="top: Not a directory"):
        dry_run(served, served.directory / "top")

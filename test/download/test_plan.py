"""`--dry-run`: it says what a run then does, and changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.downloads import Served, download
from test.support.trees import MOMENT, differences, noise, small_tree, write
from xget_lib.download.plan import DryRun, Step
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
    download(served, tmp_path / "dest")
    return tmp_path / "dest"


def rehearse(served: Served, dest: Path, *sources: bytes, **options: bool) -> list[Step]:
    """The steps; fails if anything changed by asking for them."""
    before = looks(dest)
    rehearsal = DryRun(bytes(dest), served.manifest, select(served.manifest, sources or (b".",)), **options)
    steps = list(rehearsal)
    assert looks(dest) == before
    return steps


def looks(dest: Path) -> list[tuple[Path, int, int, int]]:
    """Of all that is there."""
    paths = sorted(dest.rglob("*")) + [dest] * dest.exists()
    return [(path, status.st_ino, status.st_ctime_ns, status.st_size) for path in paths for status in [path.lstat()]]


def test_nothing_is_there(served: Served, tmp_path: Path) -> None:
    steps = rehearse(served, tmp_path / "new", delete=True)
    assert {step.path for step in steps if step.action == "make"} == {b"a", b"a/b", b"a/link", b"a/fifo"}
    assert [step for step in steps if step.action == "link"] == [("link", b"a/large too", 0)]
    assert sum(step.size for step in steps) == served.layout.size == download(served, tmp_path / "new")
    assert not rehearse(served, tmp_path / "new", delete=True)


def test_all_is_in_place(served: Served, dest: Path) -> None:
    for options in ({}, {"delete": True}, {"checksum": True}):
        assert rehearse(served, dest, **options) == []


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


Steps = list[tuple[str, bytes, int]]
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
def test_it_says_what_is_then_done(served: Served, dest: Path, change: str) -> None:
    make, expected = CHANGES[change]
    make(dest)
    steps = rehearse(served, dest, delete=True)
    assert sorted(steps) == sorted(expected)
    assert sum(step.size for step in steps) == download(served, dest, delete=True)
    assert differences(served.directory, dest) == []
    assert rehearse(served, dest, delete=True) == []


def test_damage_of_the_same_size_and_time_needs_checksum(served: Served, dest: Path) -> None:
    _damage(dest / "large")
    assert rehearse(served, dest) == []
    assert rehearse(served, dest, checksum=True) == [
        ("fetch", b"large", PIECE),
        ("link", b"a/large too", 0),
    ]


def test_what_an_interrupted_run_left_counts(served: Served, dest: Path) -> None:
    (dest / "large").unlink()
    (dest / "a/large too").unlink()
    with served.partial(dest) as partial:
        for file in partial.files:
            partial.survey_file(file)
        file = served.file_named(b"large")
        first = served.layout.file_pieces(file).start
        partial.write(first + 1, served.piece(first + 1), "peer")
    assert ("fetch", b"large", 4 * PIECE + 7) in rehearse(served, dest)


def test_only_what_was_asked_for(served: Served, tmp_path: Path) -> None:
    dest = tmp_path / "other"
    dest.mkdir()
    (dest / "mine").write_bytes(b"")
    assert rehearse(served, dest, b"a/b", b"top", delete=True) == [
        ("make", b"b", 0),
        ("fetch", b"top", 11),
        ("fetch", b"b/file1", 200_000),
        ("fetch", b"b/file2", 4),
    ]


def test_what_would_end_the_run_ends_this_too(served: Served, dest: Path, tmp_path: Path) -> None:
    _replace_by_directory(dest / "top")
    with pytest.raises(DestinationRefused, match="top: a directory is where a file must be"):
        rehearse(served, dest)
    _replace_by_file(dest / "a")
    with pytest.raises(DestinationRefused, match="a: not a directory, where one must be"):
        rehearse(served, dest)
    with pytest.raises(DestinationRefused, match="its parent directory does not exist"):
        rehearse(served, tmp_path / "no" / "where")
    with pytest.raises(DestinationRefused, match="top: Not a directory"):
        rehearse(served, served.directory / "top")

"""`--max-delete`: what would be removed is counted before anything is, and too much of it is not removed at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.downloads import Served, run_download
from test.support.dry_and_real import run_both
from test.support.mounted import Mounts
from test.support.trees import differences, write
from xget_lib.config import NO_LIMIT, DeleteLimit
from xget_lib.download.removals import forbidden
from xget_lib.errors import TooManyRemovals

HALF = DeleteLimit(50, is_percentage=True)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    (tmp_path / "served/d").mkdir(parents=True)
    for number in range(19):
        write(tmp_path / f"served/d/{number}", b"%d" % number)
    return Served(tmp_path / "served")


@pytest.fixture
def dest(tmp_path: Path, served: Served) -> Path:
    """A copy: 20 names."""
    run_download(served, tmp_path / "dest")
    return tmp_path / "dest"


def strangers(dest: Path, count: int) -> None:
    """So many names that the master does not have."""
    (dest / "extra/deep").mkdir(parents=True)
    for number in range(count - 2):
        (dest / f"extra/deep/{number}").write_bytes(b"x")


@pytest.mark.parametrize(
    ("limit", "names", "there", "wanted", "allowed"),
    [
        (HALF, 50, 100, 0, True),
        (HALF, 51, 100, 0, False),
        (HALF, 9, 9, 9, True),  # a handful, which others replace
        (HALF, 10, 10, 10, False),
        (HALF, 3, 3, 0, False),  # a handful, and the master has nothing
        (HALF, 3, 4, 2, False),
        (HALF, 2, 3, 2, True),
        (HALF, 1, 2, 0, True),
        (HALF, 1, 1, 0, False),
        (HALF, 0, 0, 0, True),
        (DeleteLimit(0, is_percentage=True), 9, 1000, 991, True),
        (DeleteLimit(0, is_percentage=True), 10, 1000, 991, False),
        (DeleteLimit(0, is_percentage=False), 1, 1000, 999, False),
        (DeleteLimit(7, is_percentage=False), 7, 7, 0, True),
        (DeleteLimit(7, is_percentage=False), 8, 1000, 999, False),
        (NO_LIMIT, 1000, 1000, 0, True),
    ],
)
def test_a_number_or_a_percentage_of_what_is_there(
    limit: DeleteLimit, names: int, there: int, wanted: int, allowed: bool
) -> None:
    assert limit.allows(names, there, wanted) == allowed


@pytest.mark.parametrize("left", [(), ("README",), ("boot/",)])
def test_a_few_images_stay_if_the_master_has_none(tmp_path: Path, left: tuple[str, ...]) -> None:
    images, dest, empty = tmp_path / "images", tmp_path / "dest", tmp_path / "empty"
    images.mkdir()
    for name in ("vmlinuz", "initrd", "root.img"):
        write(images / name, name.encode())
    run_download(Served(images), dest)
    empty.mkdir()
    for name in left:
        if name.endswith("/"):
            (empty / name).mkdir()
        else:
            write(empty / name, b"not mounted")
    ran = run_both(Served(empty), dest, delete=True, max_delete=HALF)
    assert "3 of 3 names would be removed, but --max-delete is 50%: nothing was removed" in ran.lines[0]
    assert (dest / "root.img").exists()


def test_a_kernel_and_its_initrd_make_way_for_another_version(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    for version in ("6.1", "6.2"):
        for name in ("vmlinuz", "initrd"):
            (tmp_path / version).mkdir(exist_ok=True)
            write(tmp_path / version / f"{name}-{version}", version.encode())
        assert run_both(Served(tmp_path / version), dest, delete=True, max_delete=HALF).lines == []
    assert sorted(os.listdir(dest)) == ["initrd-6.2", "vmlinuz-6.2"]


def test_half_of_what_is_there_is_removed(served: Served, dest: Path) -> None:
    strangers(dest, 20)
    ran = run_both(served, dest, delete=True, max_delete=HALF)
    assert (ran.lines, ran.removed) == ([], 20)
    assert differences(served.directory, dest) == []


def test_more_than_that_is_not_removed_but_all_else_is_done(served: Served, dest: Path) -> None:
    strangers(dest, 21)
    (dest / "d/5").write_bytes(b"wrong")
    (dest / "d/6").unlink()
    ran = run_both(served, dest, delete=True, max_delete=HALF)
    (error,) = ran.failures
    assert isinstance(error, TooManyRemovals) and error.exit_status == 8
    assert str(error) == (
        f"{dest}: 21 of 40 names would be removed, but --max-delete is 50%: nothing was removed"
        " (check the master's directory; raise --max-delete if this is right)"
    )
    assert ran.removed == 0 and (dest / "extra/deep/18").exists()
    assert ran.actions() == [
        ("correct", b"."),
        ("correct", b"d"),
        ("fetch", b"d/5"),
        ("fetch", b"d/6"),
    ]
    assert (dest / "d/5").read_bytes() == b"5" and (dest / "d/6").read_bytes() == b"6"
    assert not (dest / ".xget").exists()


def test_an_empty_directory_at_the_master_removes_nothing(tmp_path: Path, dest: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = run_both(Served(tmp_path / "empty"), dest, delete=True, max_delete=HALF)
    assert "20 of 20 names would be removed" in ran.lines[0]
    assert len(list(dest.rglob("*"))) == 20


def test_what_a_new_file_replaces_counts(tmp_path: Path, served: Served, dest: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other / "d", b"a file where the node has a directory")
    write(other / "new", b"new")
    ran = run_both(Served(other), dest, delete=True, max_delete=HALF)
    assert isinstance(ran.failures[0], TooManyRemovals)
    assert f"{dest}/d: {forbidden(HALF)}" in ran.lines
    assert "--max-delete is 50%" in forbidden(HALF)
    assert len(list((dest / "d").iterdir())) == 19 and (dest / "new").exists()
    assert run_both(Served(other), dest, delete=True).lines == []
    assert (dest / "d").is_file()


def test_files_that_replace_others_do_not_make_it_less(tmp_path: Path, dest: Path) -> None:
    """What counts is what was there before the run."""
    other = tmp_path / "other"
    other.mkdir()
    for number in range(100):
        write(other / f"new{number}", b"x")
    ran = run_both(Served(other), dest, delete=True, max_delete=HALF)
    assert "20 of 20 names would be removed" in ran.lines[0]


def test_directories_that_the_run_makes_do_not_make_it_less(tmp_path: Path, dest: Path) -> None:
    other = tmp_path / "other"
    for number in range(100):
        (other / f"new{number}").mkdir(parents=True)
    ran = run_both(Served(other), dest, delete=True, max_delete=HALF)
    assert "20 of 20 names would be removed" in ran.lines[0]


@pytest.mark.root
def test_what_stays_anyway_does_not_count(served: Served, dest: Path, mounts: Mounts) -> None:
    strangers(dest, 9)
    mounts.memory(dest / "extra/mounted")
    for number in range(50):
        (dest / f"extra/mounted/{number}").write_bytes(b"mine")
    ran = run_both(served, dest, delete=True, max_delete=DeleteLimit(8, is_percentage=False))
    assert (ran.lines, ran.removed) == ([], 8), "extra itself stays"
    assert len(list((dest / "extra/mounted").iterdir())) == 50
    assert ran.notes == ["extra/mounted was not removed: a file system is mounted there"]

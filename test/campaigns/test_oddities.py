"""A short campaign, and whether it finds what is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from test.campaigns.oddities.__main__ import run_all
from test.campaigns.oddities.case import draw
from test.campaigns.oddities.judge import Excuses, differences
from test.campaigns.oddities.tree import contents, foretold, torn, tree
from test.support.installed import lacking
from test.support.trees import small_tree

SEEDS = range(1, 13)
PROGRAMS = ("unshare", "mke2fs", "mkfs.btrfs", "btrfs", "mkfs.exfat", "mount.exfat-fuse", "chattr", "setpriv", "rsync")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return small_tree(tmp_path / "original")


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    subprocess.run(["rsync", "-aHAX", "--modify-window=-1", f"{original}/", f"{tmp_path / 'copy'}/"], check=True)
    return tmp_path / "copy"


def left(original: Path, copy: Path, *, notes: list[str] | None = None, errors: list[str] | None = None) -> list[str]:
    """What rsync finds and the client did not say."""
    excuses = Excuses(notes or [], errors or [], [], copy, {})
    assert excuses.unknown == []
    return [each.partition(" of ")[0] for each in excuses.remaining(differences(original, copy, ["."], ["--delete"]))]


@pytest.mark.root
def test_combinations_of_oddities_are_copied_as_rsync_would_or_the_client_says_what_it_could_not_do() -> None:
    for program in PROGRAMS:
        if not shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin"):
            lacking(f"needs {program}")
    assert [str(result) for result in run_all(SEEDS, processes=2) if result.problems] == []


def test_a_seed_is_always_the_same_case() -> None:
    assert [draw(seed) for seed in SEEDS] == [draw(seed) for seed in SEEDS]
    assert len({str(draw(seed)) for seed in SEEDS}) == len(SEEDS)


def test_every_difference_from_a_right_copy_is_found(original: Path, copy: Path) -> None:
    assert left(original, copy) == []
    (copy / "top").write_bytes(b"not at top\n")
    os.utime(copy / "a" / "other", ns=(0, 1_500_000_000_123_456_788))
    (copy / "a" / "b" / "file2").chmod(0o666)
    (copy / "a" / "b" / "file1").unlink()
    (copy / "surplus").touch()
    (copy / "new\nline").symlink_to("x")
    assert {"content", "time", "mode", "missing", "extra"} == set(left(original, copy))


def test_a_name_of_the_same_file_that_is_a_copy_is_found(original: Path, copy: Path) -> None:
    os.link(original / "top", original / "too")
    shutil.copy2(copy / "top", copy / "too")
    os.utime(copy, ns=(0, original.stat().st_mtime_ns))
    assert left(original, copy) == ["link"]
    assert left(original, copy, notes=["some hard links were created as copies: Operation not permitted"]) == []


def test_a_note_excuses_what_it_says_and_nothing_else(original: Path, copy: Path) -> None:
    (copy / "top").chmod(0o4644)
    set_id = "set-user-ID and set-group-ID bits were not preserved (the owner could not be set)"
    assert left(original, copy, notes=[set_id]) == []
    (copy / "top").chmod(0o4666)
    assert left(original, copy, notes=[set_id]) == ["mode"]


def test_an_error_excuses_the_path_that_it_names_and_those_below(original: Path, copy: Path) -> None:
    (copy / "a" / "other").chmod(0o666)
    (copy / "top").chmod(0o666)
    error = f"{copy}/a: Operation not permitted"
    assert left(original, copy, errors=[error]) == ["mode"]
    assert left(original, copy, errors=[error, "1 more path was refused"]) == []


def test_a_file_that_is_neither_old_nor_new_is_found(original: Path, copy: Path) -> None:
    (copy / "top").write_bytes(b"old")
    before, source = contents(copy), contents(original)
    assert torn(copy, before, source, {}) == []
    (copy / "top").write_bytes(b"at the")
    assert torn(copy, before, source, {}) == ["torn: top"]


def test_what_a_dry_run_did_not_tell_is_found(copy: Path) -> None:
    before = tree(copy)
    (copy / "new").touch()
    (copy / "top").unlink()
    assert foretold(before, tree(copy), [("make", "new"), ("remove", "top")], limited=False) == []
    assert foretold(before, tree(copy), [("remove", "top")], limited=False) == ["not foretold: new is new"]
    assert foretold(before, tree(copy), [("make", "new")], limited=False) == ["not foretold: top is gone"]

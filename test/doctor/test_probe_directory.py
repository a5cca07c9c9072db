"""The directory in which a destination is tried out leaves nothing, whatever happens meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xget_lib.doctor.probe_directory import ProbeDirectory

LONG_AGO = 1_000_000_000_000_000_000


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "file").write_text("here before")
    os.utime(dest, ns=(LONG_AGO, LONG_AGO))
    return dest


def probe_of(dest: Path, *, exists: bool = True) -> ProbeDirectory:
    return ProbeDirectory(bytes(dest), exists=exists)


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_is_left_and_the_time_of_the_destination_is_as_before(dest: Path, exists: bool) -> None:
    probe = probe_of(dest, exists=exists)
    probe.make()
    made = Path(os.fsdecode(probe.path))
    assert made.stat().st_mode & 0o777 == 0o700
    assert made.parent == (dest / ".xget" if exists else dest)
    (made / "deep").mkdir()
    (made / "deep/file").write_text("x")
    probe.remove()
    assert os.listdir(dest) == ["file"]
    assert dest.stat().st_mtime_ns == LONG_AGO
    probe.remove()


def test_what_others_have_there_stays(dest: Path) -> None:
    (dest / ".xget/parts").mkdir(parents=True)
    probe = probe_of(dest)
    probe.make()
    (dest / "new").write_text("of somebody else")
    probe.remove()
    assert sorted(os.listdir(dest)) == [".xget", "file", "new"]
    assert os.listdir(dest / ".xget") == ["parts"]
    assert dest.stat().st_mtime_ns != LONG_AGO


def test_a_download_that_begins_meanwhile_keeps_its_directory(dest: Path) -> None:
    probe = probe_of(dest)
    probe.make()
    (dest / ".xget/parts").mkdir()
    probe.remove()
    assert os.listdir(dest / ".xget") == ["parts"]


def test_what_a_killed_command_has_left_is_removed_and_what_a_living_one_has_stays(dest: Path) -> None:
    living = probe_of(dest)
    living.path = living.path.rpartition(b"-")[0] + b"-1"
    living.make()
    left = dest / ".xget/doctor-2"
    left.mkdir()
    (left / "file").write_text("x")
    new = dest / ".xget/doctor-3"  # of a command that has not locked it yet
    new.mkdir()
    for path in (left, os.fsdecode(living.path)):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    probe = probe_of(dest)
    probe.make()
    new.rmdir()
    assert sorted(os.listdir(dest / ".xget")) == sorted(["doctor-1", f"doctor-{os.getpid()}"])
    living.remove()
    assert os.listdir(dest / ".xget") == [f"doctor-{os.getpid()}"]
    probe.remove()  # the last one removes what the first one has made
    assert os.listdir(dest) == ["file"]


def test_an_empty_directory_that_was_there_stays(dest: Path) -> None:
    (dest / ".xget").mkdir()
    probe = probe_of(dest)
    probe.make()
    probe.remove()
    assert os.listdir(dest / ".xget") == []


def test_a_download_that_ends_while_the_directory_is_made(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It removes `.xget` at the worst moment, once."""
    mkdir, removed = os.mkdir, list[bytes]()

    def removes_before(path: bytes, mode: int) -> None:
        if not removed and os.path.basename(path).startswith(b"doctor-"):
            removed.append(path)
            os.rmdir(dest / ".xget")
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", removes_before)
    probe = probe_of(dest)
    probe.make()
    assert removed == [probe.path]
    probe.remove()
    assert os.listdir(dest) == ["file"]


def test_one_that_is_over_before_it_was_made_makes_nothing_that_stays(dest: Path) -> None:
    probe = probe_of(dest)
    probe.remove()
    with pytest.raises(InterruptedError):
        probe.make()
    probe.remove()
    assert os.listdir(dest) == ["file"]

"""A destination: what a run would refuse is said in the same words, and nothing stays in it."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from test.support.configured import configured
from test.support.mounted import Mounts
from test.support.network import quiet_hub
from xget_lib.doctor import destination
from xget_lib.doctor.destination import Content, examine
from xget_lib.doctor.findings import Finding
from xget_lib.errors import Exit
from xget_lib.fs.places import marks_of
from xget_lib.process.local_processes import LocalProcess
from xget_lib.process.runtime_directory import Place


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_hub():
        yield


def examined(
    dest: Path, content: Content | None = None, processes: Sequence[LocalProcess] = (), **options: object
) -> list[Finding]:
    return list(examine(configured(**options), bytes(dest), content, processes))


def the_problem(found: list[Finding]) -> Finding:
    (problem,) = (each for each in found if each.result == "problem")
    assert problem.exit == Exit.DESTINATION
    return problem


def texts(found: list[Finding]) -> str:
    return "\n".join(each.line for each in found)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    dest = tmp_path / "dest"
    dest.mkdir()
    return dest


@pytest.mark.root
def test_one_that_is_well_and_stays_as_it_is(dest: Path) -> None:
    before = dest.stat()
    found = examined(dest)
    assert [each.check for each in found] == ["destination", "space", "abilities"]
    assert {each.result for each in found} == {"ok"}
    assert os.listdir(dest) == []
    assert dest.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.root
def test_one_that_is_to_be_made_is_not_made(dest: Path) -> None:
    found = examined(dest / "new", Content(1000, 1))
    assert "which is to be made, is on" in found[0].what
    assert {each.result for each in found} == {"ok"}
    assert os.listdir(dest) == []


def test_what_a_run_would_refuse(dest: Path) -> None:
    (dest / "file").write_text("x")
    (dest / "link").symlink_to("nowhere")
    assert the_problem(examined(dest / "no/dest")).advice == "create it first"
    assert "Not a directory" in the_problem(examined(dest / "file")).what
    assert "a symbolic link to nowhere, which does not exist" in the_problem(examined(dest / "link")).what
    assert "no directory can be created here" in the_problem(examined(Path("/proc/new"))).what
    (dest / ".xget").write_text("x")
    assert the_problem(examined(dest)).advice == "remove it: XGet stores temporary data there"


@pytest.mark.root
def test_root_does_not_write_where_others_may_change_it(dest: Path) -> None:
    dest.chmod(0o777)
    assert "others can change it" in the_problem(examined(dest)).what
    assert not [each for each in examined(dest, insecure_dest=True) if each.result == "problem"]


def test_a_destination_in_what_the_master_serves(dest: Path) -> None:
    served = Content(1, 1, frozenset(marks_of(bytes(dest))))
    found = the_problem(examined(dest / "below", served))
    assert found.advice == "choose another destination"
    assert "is in the directory that this master serves" in found.what


def test_a_content_that_has_no_room(dest: Path) -> None:
    huge = Content(1 << 60, 1)
    assert "disk full: needs 1.049e+06 TiB" in the_problem(examined(dest, huge)).what
    (dest / "file").write_text("x")
    (found,) = (each for each in examined(dest, huge) if each.check == "space")
    assert (found.result, "if nothing of it is in place" in found.what) == ("note", True)


@pytest.mark.root
def test_a_file_system_without_inodes_for_all_files(mounts: Mounts, dest: Path) -> None:
    point = mounts.memory(dest / "small", options="mode=755,nr_inodes=50")
    found = examined(point, Content(1, 10_000))
    assert "disk full: needs" in the_problem(found).what
    assert "in memory, and gone when the machine stops" in texts(found)


@pytest.mark.root
def test_a_full_disk_is_found_by_trying(mounts: Mounts, dest: Path) -> None:
    point = mounts.memory(dest / "full", options="mode=755,size=64k")
    (point / "file").write_bytes(bytes(60_000))
    assert "disk full" in the_problem(examined(point)).what
    assert os.listdir(point) == ["file"]


@pytest.mark.root
def test_a_read_only_one_and_one_that_is_mounted_below(mounts: Mounts, dest: Path) -> None:
    mounts.memory(dest / "inside")
    assert f"{dest / 'inside'} is mounted below it, and was not examined" in texts(examined(dest))
    point = mounts.memory(dest / "ro", options="ro,mode=755")
    assert "Read-only file system" in the_problem(examined(point)).what
    point = mounts.memory(dest / "sync", options="sync,nosuid,mode=755")
    assert "with nosuid, sync: each write waits for the disk" in texts(examined(point))


@pytest.mark.root
def test_what_is_not_asked_for_is_not_tried(dest: Path) -> None:
    found = examined(dest, no_permissions=True, no_owners=True, no_devices=True)
    assert "devices were not created (--no-devices, -s or -o)" in texts(found)


def test_another_run_and_what_one_has_left(dest: Path) -> None:
    parts = dest / ".xget/parts"
    parts.mkdir(parents=True, mode=0o700)
    (parts / "0123").touch(0o600)
    assert "an earlier run left 1 verified parts in .xget" in texts(examined(dest))
    running = LocalProcess(cast(Place, None), "download", 77, 1, str(dest), "head")
    assert "process 77 downloads into it" in texts(examined(dest, None, [running]))
    assert os.listdir(parts) == ["0123"]


def test_a_limit_of_the_size_of_files(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit
    monkeypatch.setattr(
        resource, "getrlimit", lambda which: (1 << 20, 1 << 20) if which == resource.RLIMIT_FSIZE else limits(which)
    )
    assert "a file may have 1 MiB at most (RLIMIT_FSIZE)" in texts(examined(dest))


def test_one_that_does_not_answer_is_given_up(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(destination, "_exists", lambda path: released.wait())
    monkeypatch.setattr(destination, "_SECONDS", 0.01)
    try:
        assert "does not answer in 0.01 s" in the_problem(examined(dest)).what
    finally:
        released.set()

"""Marks of directories: the same for one directory of one machine, whatever its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from xget_lib.fs import mounts, places
from xget_lib.fs.places import MARK_SIZE, MARKS_LIMIT, is_marked, marks_of

MOUNTINFO = """\
1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 0:30 / /srv/images rw - tmpfs none rw
3 1 254:0 /srv/data /mnt/with\\040space rw - ext4 /dev/vda rw
4 1 0:31 / /home rw - nfs head:/home rw
5 1 0:32 /sub /home rw - btrfs /dev/vdb rw
6 1 0:33 / /srv/images/scratch rw - tmpfs none rw
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No path below is a link on this machine, or is there at all."""
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    (tmp_path / "boot_id").write_text("0f6a\n")
    monkeypatch.setattr(mounts, "MOUNTS", str(tmp_path / "mountinfo"))
    monkeypatch.setattr(places, "_BOOT_ID", str(tmp_path / "boot_id"))
    monkeypatch.setattr("os.path.realpath", lambda path: path)
    return tmp_path


@pytest.mark.parametrize(
    ("served", "dest", "inside"),
    [
        (b"/srv", b"/srv", True),
        (b"/srv", b"/srv/a/b", True),
        (b"/srv", b"/srv2", False),
        (b"/srv/a", b"/srv", False),
        (b"/", b"/opt", True),
        (b"/srv", b"/mnt/with space/x", True),  # a bind mount of /srv/data
        (b"/mnt/with space", b"/srv/data/x", True),
        (b"/mnt/with space", b"/srv/other", False),
        (b"/srv", b"/srv/images/x", True),  # another file system, mounted below
        (b"/srv/images", b"/x", False),  # the roots of two file systems are not the same
        (b"/home/a", b"/home/a/x", True),  # the last of two mounts at one point hides the first
    ],
)
def test_what_is_in_a_directory(served: bytes, dest: bytes, inside: bool) -> None:
    assert is_marked(dest, marks_of(served)) == inside


@pytest.mark.parametrize(("left_out", "inside"), [(b"images", False), (b"images/scratch", True), (b"im", True)])
def test_what_is_left_out_does_not_count(left_out: bytes, inside: bool) -> None:
    marks = marks_of(b"/srv", [left_out])
    assert is_marked(b"/srv/images/x", marks) == inside
    assert is_marked(b"/srv/images/scratch/x", marks) == (left_out == b"im")


def test_on_another_machine_all_marks_are_others(machine: Path) -> None:
    marks = marks_of(b"/srv")
    assert {len(mark) for mark in marks} == {MARK_SIZE}
    (machine / "boot_id").write_text("another\n")
    assert not is_marked(b"/srv", marks) and not set(marks) & set(marks_of(b"/srv"))


@pytest.mark.parametrize("missing", ["boot_id", "mountinfo"])
def test_without_proc_nothing_is_known(machine: Path, missing: str) -> None:
    marks = marks_of(b"/srv")
    (machine / missing).unlink()
    assert marks_of(b"/srv") == [] and not is_marked(b"/srv", marks)


def test_there_is_a_limit(machine: Path) -> None:
    lines = [f"{n} 1 0:{n} / /srv/{n} rw - tmpfs none rw\n" for n in range(2, MARKS_LIMIT + 10)]
    (machine / "mountinfo").write_text("1 0 254:0 / / rw - ext4 /dev/vda rw\n" + "".join(lines))
    assert len(marks_of(b"/srv")) == MARKS_LIMIT and is_marked(b"/srv/x", marks_of(b"/srv"))

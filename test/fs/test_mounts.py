"""Whether other machines can change what is on a file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xget_lib.errors import CannotWatch
from xget_lib.fs import mounts
from xget_lib.snapshot.watch import InotifyTree

MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:45 / /home rw shared:2 master:3 - nfs4 head:/home rw,vers=4.2
41 27 0:46 / /scratch\\040 rw - lustre 10.0.0.1@tcp:/scratch rw
42 27 0:47 / /far rw - fuse.sshfs there: rw
43 27 0:48 / /new rw - somethingfs x rw
a line of something else
"""


@pytest.fixture(autouse=True)
def mountinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTINFO)
    monkeypatch.setattr(mounts, "MOUNTS", str(path))
    return path


@pytest.mark.parametrize(
    ("major", "minor", "kind"),
    [(254, 0, None), (0, 45, "nfs4"), (0, 46, "lustre"), (0, 47, "fuse.sshfs"), (0, 48, None), (7, 7, None)],
)
def test_what_other_machines_may_change(major: int, minor: int, kind: str | None) -> None:
    assert mounts.shared_type(os.makedev(major, minor)) == kind


def test_without_proc_everything_is_our_own(mountinfo: Path) -> None:
    mountinfo.unlink()
    assert mounts.shared_type(os.makedev(0, 45)) is None


def test_what_other_machines_may_change_is_not_watched(tmp_path: Path, mountinfo: Path) -> None:
    device = os.stat(tmp_path).st_dev
    mountinfo.write_text(f"1 1 {os.major(device)}:{os.minor(device)} / / rw - nfs head:/ rw\n")
    with pytest.raises(CannotWatch, match=r"other machines may change this file system \(nfs\)"):
        InotifyTree(bytes(tmp_path), one_file_system=False)


def test_a_directory_below_which_other_machines_may_change_something_is_not_watched(
    tmp_path: Path, mountinfo: Path
) -> None:
    (tmp_path / "served" / "share").mkdir(parents=True)
    mountinfo.write_text(f"1 1 0:99 / {tmp_path}/served/share rw - nfs4 head:/ rw\n")
    with pytest.raises(CannotWatch, match=r"file system at .*/served/share \(nfs4\)"):
        InotifyTree(bytes(tmp_path / "served"), one_file_system=False)
    InotifyTree(bytes(tmp_path / "served"), one_file_system=True).close()


def test_a_share_that_is_mounted_again_is_the_same_and_a_disk_with_another_number_is_not() -> None:
    share = mounts.Mount(b"0:45", b"/", b"/home", "nfs4", b"head:/home")
    assert mounts.filesystem_of(share) == mounts.filesystem_of(share._replace(device=b"0:99"))
    assert mounts.filesystem_of(share) != mounts.filesystem_of(share._replace(source=b"tail:/home"))
    disk = mounts.Mount(b"8:1", b"/", b"/home", "ext4", b"/dev/sda1")
    assert mounts.filesystem_of(disk) != mounts.filesystem_of(disk._replace(device=b"8:2"))

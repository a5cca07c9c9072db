"""--no-devices and --no-set-id, and a destination that root refuses."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from test.support.downloads import SECOND, Served, run_download
from test.support.dry_and_real import run_both
from test.support.somebody import NOBODY
from xget_lib.errors import DestinationRefused

pytestmark = pytest.mark.root

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
DEVICES = "devices were not created (--no-devices, -s or -o)"
POWERS = "set-id bits and capabilities were not set (--no-set-id, -s or -o)"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    source = tmp_path / "served"
    source.mkdir()
    for name, mode in (("suid", 0o4755), ("sgid", 0o2755), ("cap", 0o755), ("large", 0o6711)):
        (source / name).write_bytes(os.urandom(300_000 if name == "large" else 100))
        (source / name).chmod(mode)
    os.setxattr(source / "cap", "security.capability", CAPABILITY)
    os.mknod(source / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.link(source / "null", source / "null too")
    os.mknod(source / "disk", 0o600 | stat.S_IFBLK, os.makedev(7, 200))
    os.mkfifo(source / "fifo")
    (source / "shared").mkdir()
    (source / "shared").chmod(0o2775)
    for path in (*source.iterdir(), source):
        os.utime(path, ns=(0, SECOND))
    return Served(source)


def modes(dest: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in dest.iterdir()}


def test_no_device_is_created_and_a_note_says_so_once(served: Served, dest: Path) -> None:
    first = run_both(served, dest, devices=False)
    assert (first.failures, first.notes) == ([], [DEVICES])
    assert sorted(modes(dest)) == ["cap", "fifo", "large", "sgid", "shared", "suid"]
    again = run_both(served, dest, devices=False)
    assert (again.steps, again.failures, again.notes) == ([], [], [DEVICES])
    run_both(served, dest)
    assert {"null", "null too", "disk"} <= modes(dest).keys()
    assert run_both(served, dest, devices=False, delete=True).steps == [], "what is there stays"


@pytest.mark.parametrize("before", [False, True], ids=["new", "after a run without the option"])
def test_no_powers_are_set_and_a_note_says_so_once(served: Served, dest: Path, before: bool) -> None:
    if before:
        run_download(served, dest)
    first = run_both(served, dest, set_id=False)
    assert (first.failures, first.notes) == ([], [POWERS])
    found = modes(dest)
    assert [found[name] for name in ("suid", "sgid", "cap", "large")] == [0o755, 0o755, 0o755, 0o711]
    assert found["shared"] == 0o2775, "no power"
    assert os.listxattr(dest / "cap") == []
    again = run_both(served, dest, set_id=False)
    assert (again.steps, again.failures, again.notes) == ([], [], [POWERS])
    run_download(served, dest)
    assert modes(dest)["suid"] == 0o4755


@pytest.mark.parametrize("at", [".", ".."])
@pytest.mark.parametrize(("owner", "mode"), [(NOBODY, 0o755), (0, 0o777), (0, 0o775)])
def test_root_refuses_a_destination_that_others_may_change(
    served: Served, tmp_path: Path, at: str, owner: int, mode: int
) -> None:
    dest = tmp_path / "above/dest"
    dest.mkdir(parents=True)
    os.chown(dest / at, owner, NOBODY)
    (dest / at).chmod(mode)
    with pytest.raises(DestinationRefused, match=r"others can change it: .* use --insecure-dest"):
        run_both(served, dest, strict=True)
    with pytest.raises(DestinationRefused, match="others can change it"), served.download(dest, strict=True):
        pass
    assert list(dest.iterdir()) == []
    run_download(served, dest, strict=False)
    os.chown(dest / at, 0, 0)
    (dest / at).chmod(0o755)
    run_download(served, dest, strict=True)

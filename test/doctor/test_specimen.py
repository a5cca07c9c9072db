"""The content that is tried out in a destination: it is valid, and what does not come out is named."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from test.support.filesystems import MAKE, mounted
from xget_lib.doctor.specimen import specimen, try_out
from xget_lib.manifest.decoding import decode

MOMENT = 1_700_000_000_123_456_789


def tried(dest: Path, *, owners: bool = True) -> list[str]:
    return list(try_out(bytes(dest), permissions=True, owners=owners, devices=True, set_id=True))


def test_it_is_a_manifest_as_a_master_may_send_it() -> None:
    manifest = specimen(MOMENT)
    again = decode(manifest.encode())
    assert again.generation == manifest.generation
    assert {entry.mtime_ns for entry in again.entries} == {MOMENT}
    assert {entry.kind for entry in again.entries} == set("dflhcp")


@pytest.mark.root
def test_a_file_system_that_keeps_everything_has_nothing_to_say(tmp_path: Path) -> None:
    assert tried(tmp_path) == []
    assert stat.S_IMODE((tmp_path / "modes").stat().st_mode) == 0o4751
    assert (tmp_path / "modes").stat().st_nlink == 2
    assert (tmp_path / "access").stat().st_uid == 1
    assert os.getxattr(tmp_path / "attribute", "user.xget") == b"1"


@pytest.mark.root
@pytest.mark.parametrize("kind", sorted(MAKE))
def test_odd_file_systems_say_what_they_do_not_keep(kind: str, tmp_path: Path) -> None:
    with mounted(kind, tmp_path) as top:
        (top / "dest").mkdir()
        found = "\n".join(tried(top / "dest"))
    rounded = "some modification times were not preserved exactly" in found
    assert rounded == (kind != "ext4")
    assert ("some hard links were created as copies" in found) == (kind == "exfat")
    assert ("names that differ only in case" in found) == (kind == "exfat")
    assert ("names with characters that Windows does not allow" in found) == (kind == "exfat")
    assert ("holes in files take space here" in found) == (kind == "exfat")
    assert ("symbolic links were not created" in found) == (kind == "exfat")

"""A directory that was scanned before is recognised; a file system that is missing, or another one, is suspicious."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from test.support.mounted import Mounts, do
from test.support.snapshots import scanned
from xget_lib.snapshot.source_identity import (
    UNKNOWN_SOURCE,
    MountBelow,
    SourceIdentity,
    SourceNotes,
    may_hide,
    suspicion,
    suspicion_at_start,
)

DATA = MountBelow(b"data", b"8:2 1f /", False)
WITHOUT_PROC = SourceIdentity(b"/srv/images", False, (2049, 7), b"2049")
FORMER = SourceIdentity(b"/srv/images", False, (2049, 7), b"8:1 2e", (b"/", b"/srv"), (DATA,))


def test_a_source_comes_back_from_its_encoding() -> None:
    for source in (FORMER, UNKNOWN_SOURCE):
        assert SourceIdentity.decode(source.encode()) == source


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (FORMER, ""),
        (replace(FORMER, empty=True), "it is empty now"),
        (replace(FORMER, base=b"/srv/other", filesystem=b"8:9 1", mounts=()), ""),  # a link was switched
        (replace(FORMER, filesystem=b"8:1 99"), "another file system is mounted there now"),
        (replace(FORMER, inode=(2049, 8)), ""),  # replaced by a rename
        (replace(FORMER, inode=(2049, 8), mounted=(b"/", b"/")), "another file system is mounted there now"),
        (replace(FORMER, mounted=(b"/images", b"/srv/images")), ""),  # mount --bind onto itself
        (replace(FORMER, mounts=()), "the file system at data is not mounted any more"),
        (replace(FORMER, mounts=(DATA._replace(identity=b"8:3 1 /"),)), "another file system is mounted at data now"),
        (replace(FORMER, mounts=(DATA, DATA._replace(path=b"new"))), ""),
        (WITHOUT_PROC, ""),
        (replace(WITHOUT_PROC, empty=True), "it is empty now"),
    ],
)
def test_what_is_suspicious_while_a_master_runs(now: SourceIdentity, why: str) -> None:
    assert suspicion(FORMER, now) == why


@pytest.mark.parametrize(
    ("former", "now", "why"),
    [
        (FORMER, FORMER, ""),
        (UNKNOWN_SOURCE, replace(FORMER, empty=True), ""),  # never served before
        (FORMER, replace(FORMER, empty=True), "it is empty, and was not when it was served last"),
        (FORMER, replace(FORMER, filesystem=b"8:7 1", inode=(1, 1)), ""),  # numbers change at boot
        (FORMER, replace(FORMER, mounted=(b"/", b"/")), "the file system at /srv is not mounted"),
        (FORMER, replace(FORMER, mounted=(b"/", b"/srv/images")), ""),
        (FORMER, replace(FORMER, mounts=()), "the file system at data is not mounted"),
        (replace(FORMER, mounts=(DATA._replace(empty=True),)), replace(FORMER, mounts=()), ""),
    ],
)
def test_what_is_suspicious_when_a_master_starts(former: SourceIdentity, now: SourceIdentity, why: str) -> None:
    assert suspicion_at_start(former, now) == why


def test_a_master_that_starts_without_proc_compares_no_mounts() -> None:
    assert suspicion_at_start(FORMER, WITHOUT_PROC) == ""
    assert suspicion_at_start(WITHOUT_PROC, FORMER) == ""


def test_mounts_that_are_new_or_empty_may_hide_something() -> None:
    new, empty = DATA._replace(path=b"new"), DATA._replace(empty=True)
    hiding = may_hide(FORMER, replace(FORMER, mounts=(DATA, new)))
    assert hiding == {b"new": "a file system was mounted over new, which was not empty"}
    hiding = may_hide(FORMER, replace(FORMER, mounts=(empty,)))
    assert hiding == {b"data": "the file system at data is empty now"}


@pytest.mark.root
def test_a_scan_notes_what_is_mounted(tmp_path: Path, mounts: Mounts) -> None:
    top = tmp_path / "top"
    for name in ("bound", "empty", "full", "plain"):
        (top / name).mkdir(parents=True)
    (top / "plain" / "file").write_bytes(b"content")
    mounts.memory(top / "empty")
    (mounts.memory(top / "full") / "file").write_bytes(b"content")
    mounts.bind(top / "plain", top / "bound")
    source = scanned(top).source
    assert not source.empty
    assert [(mount.path, mount.empty) for mount in source.mounts] == [
        (b"bound", False),
        (b"empty", True),
        (b"full", False),
    ]
    alone = scanned(top, one_file_system=True).source
    assert [(mount.path, mount.identity == b"", mount.empty) for mount in alone.mounts] == [
        (b"bound", False, False),
        (b"empty", True, True),
        (b"full", True, True),
    ]
    mounts.memory(top / "full")
    assert suspicion(source, scanned(top).source) == "another file system is mounted at full now"


@pytest.mark.root
def test_a_subvolume_is_no_mount_and_may_be_moved(tmp_path: Path, mounts: Mounts) -> None:
    top = mounts.image(tmp_path / "btrfs", "mkfs.btrfs", "-q", megabytes=128)
    do("btrfs", "subvolume", "create", top / "one")
    (top / "one" / "file").write_bytes(b"content")
    (top / "other").write_bytes(b"content")
    former, inside = scanned(top).source, scanned(top / "one").source
    assert former.mounts == ()
    do("btrfs", "subvolume", "snapshot", top / "one", top / "two")
    (top / "one").rename(top / "elsewhere")
    (top / "two").rename(top / "one")
    assert suspicion(former, scanned(top).source) == ""
    assert suspicion(inside, scanned(top / "one").source) == ""


def test_without_proc_the_device_tells_file_systems_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xget_lib.fs.mounts.MOUNTS", str(tmp_path / "nowhere"))
    one, other = (SourceNotes(bytes(tmp_path)).source((device, 1)) for device in (1, 2))
    assert suspicion(one, other) == "another file system is mounted there now"

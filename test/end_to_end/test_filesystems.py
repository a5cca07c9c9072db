"""Real clients on a file system that has no links, owners, permissions, attributes or case: exFAT, by FUSE."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.cluster import Cluster
from test.support.filesystems import mounted
from test.support.trees import small_tree, write

pytestmark = pytest.mark.root


@pytest.fixture
def exfat(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "disk").mkdir()
    with mounted("exfat", tmp_path / "disk") as top:
        yield top


def test_what_exfat_cannot_keep_is_noted_and_is_no_failure(cluster: Cluster, exfat: Path) -> None:
    served = small_tree(cluster.base / "served")
    (served / "link").symlink_to("top")
    os.mkfifo(served / "fifo")
    os.link(served / "top", served / "hard")
    os.chown(served / "a" / "other", 8, 8)
    os.utime(served / "top", ns=(0, 1_700_000_001_678_901_234))
    master, dest = cluster.master(served), exfat / "dest"
    first = cluster.get(master, dest, options=["--delete"])
    assert first.status == 0
    for what in ("symbolic links", "FIFOs", "hard links", "owners", "permissions", "modification times"):
        assert sum(what in note for note in first.done["notes"]) == 1, what
    assert (dest / "hard").read_bytes() == b"at the top\n"
    again = cluster.get(master, dest, options=["--delete"])
    assert (again.status, again.done["fetched"], again.done["removed"]) == (0, 0, 0)
    assert again.done["notes"] == first.done["notes"]
    dry = cluster.get(master, dest, options=["--delete", "--dry-run"])
    assert (dry.status, [event for event in dry.events if event["event"] == "step"]) == (0, [])


def test_names_that_exfat_does_not_tell_apart_are_named_with_status_6(cluster: Cluster, exfat: Path) -> None:
    served = small_tree(cluster.base / "served")
    write(served / "TOP", b"another\n")
    (served / "A").mkdir()
    write(served / "A" / "capital", b"capital\n")
    master, dest = cluster.master(served), exfat / "dest"
    for _ in range(2):
        ended = cluster.get(master, dest, options=["--delete"])
        assert (ended.status, ended.done["exit"]) == (6, 6)
        told = sorted(event["message"] for event in ended.events if event["event"] == "error")
        assert [message.partition(": ")[0] for message in told] == [f"{dest}/a", f"{dest}/top"]
        assert "does not tell the name from A, which is there" in told[0]
        assert "does not tell the name from TOP, which is there" in told[1]
        assert sorted(ended.stderr.splitlines())[-2:] == [f"xget: {message}" for message in told]
        assert (dest / "TOP").read_bytes() == b"another\n"
        assert os.listdir(dest / "A") == ["capital"]
    dry = cluster.get(master, dest, options=["--delete", "--dry-run"])
    assert dry.status == 6
    assert [event for event in dry.events if event["event"] == "step"] == []

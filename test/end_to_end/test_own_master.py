"""A destination in what a master of the same machine serves: it is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended
from test.support.mounted import where
from test.support.trees import small_tree, write

REFUSED = "is in the directory that this master serves (choose another destination)"


@pytest.fixture
def source(cluster: Cluster) -> Path:
    return small_tree(cluster.base / "served")


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def assert_refused(ended: Ended, dest: Path) -> None:
    assert (ended.status, ended.stderr) == (6, f"xget: {dest}: {REFUSED}\n")


@pytest.mark.parametrize("options", [(), ("--follow",), ("--dry-run",)], ids=" ".join)
@pytest.mark.parametrize("below", ["", "copy", "a/copy", "a/b"])
def test_a_destination_that_this_master_serves_is_refused(
    cluster: Cluster, source: Path, below: str, options: tuple[str, ...]
) -> None:
    master, before = cluster.master(source), names(source)
    options = options if "--follow" in options else ("--linger", "0", *options)
    assert_refused(cluster.client(master, source / below, options=options).ended(), source / below)
    assert names(source) == before


def test_through_a_symbolic_link_it_is_refused_too(cluster: Cluster, source: Path) -> None:
    (cluster.base / "link").symlink_to("served/a")
    (cluster.base / "also-served").symlink_to("served")
    dest = cluster.base / "link" / "copy"
    assert_refused(cluster.get(cluster.master(cluster.base / "also-served"), dest), dest)


@pytest.mark.root
def test_through_a_bind_mount_of_a_part_it_is_refused_too(cluster: Cluster, source: Path) -> None:
    (cluster.base / "mounted here").mkdir()
    dest = cluster.base / "mounted here" / "copy"
    prefix = where(f"mount --bind '{source}/a' '{dest.parent}'")
    assert_refused(cluster.get(cluster.master(source), dest, prefix=prefix), dest)


@pytest.mark.root
@pytest.mark.parametrize(("options", "status"), [((), 6), (("-x",), 0)])
def test_a_file_system_that_is_mounted_below_counts_if_it_is_served(
    cluster: Cluster, source: Path, options: tuple[str, ...], status: int
) -> None:
    master = cluster.master(source, *options, prefix=where(f"mount -t tmpfs none '{source}/a'"))
    beside = ["nsenter", f"--target={master.pid}", "--mount"]
    assert cluster.get(master, source / "a" / "copy", "top", prefix=beside).status == status


def test_what_another_master_of_this_machine_serves_may_be_a_destination(cluster: Cluster, source: Path) -> None:
    """A relay: it serves what its own client downloads."""
    other = cluster.base / "other"
    other.mkdir()
    write(other / "file", b"of another master")
    relay, head = cluster.master(source), cluster.master(other)
    assert cluster.get(head, source / "copy").status == 0
    assert (source / "copy" / "file").read_bytes() == b"of another master"
    assert_refused(cluster.get(relay, source / "copy"), source / "copy")


def test_a_directory_beside_or_above_is_no_part_of_what_is_served(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    for dest in (cluster.base / "served-too", cluster.base):
        assert cluster.get(master, dest, "top").status == 0
        assert (dest / "top").exists()

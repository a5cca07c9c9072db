"""No /proc, as in a chroot or early in a boot: everything works, and what cannot be done is said."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from test.support.cluster import Cluster, eventually
from test.support.mounted import NO_PROC, where
from test.support.oddities import odd_tree, rsync_says
from test.support.trees import small_tree, write

pytestmark = pytest.mark.root


@pytest.fixture
def source(cluster: Cluster) -> Path:
    """One of everything but devices."""
    root = odd_tree(cluster.base / "served")
    for directory, _, names in os.walk(bytes(root)):
        for path in (os.path.join(directory, name) for name in names):
            if len(path) < 4096 and (stat.S_ISCHR(os.lstat(path).st_mode) or stat.S_ISBLK(os.lstat(path).st_mode)):
                os.unlink(path)
    return root


@pytest.mark.parametrize("without", ["client", "master"])
def test_a_copy_is_exact_without_it(cluster: Cluster, source: Path, without: str) -> None:
    master = cluster.master(source, prefix=NO_PROC if without == "master" else ())
    prefix = NO_PROC if without == "client" else ()
    ended = cluster.get(master, cluster.base / "dest", prefix=prefix)
    assert (ended.status, ended.stderr) == (0, "")
    assert rsync_says(source, cluster.base / "dest") == []
    again = cluster.get(master, cluster.base / "dest", prefix=prefix)
    assert (again.status, again.done["fetched"]) == (0, 0)
    assert rsync_says(source, cluster.base / "dest") == []


def test_the_mode_of_a_device_is_noted_where_it_cannot_be_set(cluster: Cluster) -> None:
    source = cluster.base / "served"
    source.mkdir()
    os.mknod(source / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.chmod(source / "null", 0o666)
    ended = cluster.get(cluster.master(source), cluster.base / "dest", prefix=NO_PROC)
    assert ended.status == 0
    assert ended.done["notes"] == ["some permissions were not preserved: /proc is not mounted"]


def test_the_master_notices_changes_without_it(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    master = cluster.master(source, prefix=NO_PROC)
    dest = cluster.base / "dest"
    cluster.client(master, dest, options=["--follow"])
    master.wait_for_children(1)
    eventually(lambda: master.status()["notices"], "the master watches the directory")
    write(source / "a" / "b" / "new", b"new")
    eventually((dest / "a" / "b" / "new").exists, "the follower has the new file")


def test_delete_keeps_a_bind_mount_without_it(cluster: Cluster) -> None:
    """/proc tells mounts of one file system apart; there must be another way."""
    master = cluster.master(small_tree(cluster.base / "served"))
    dest, data = cluster.base / "dest", cluster.base / "data"
    assert cluster.get(master, dest).status == 0
    data.mkdir()
    write(data / "precious", b"not the master's")
    (dest / "mounted").mkdir()
    prefix = where(f"mount --bind '{data}' '{dest}/mounted'; mount -t tmpfs none /proc")
    ended = cluster.get(master, dest, options=["--delete"], prefix=prefix)
    assert ended.status == 0 and (data / "precious").exists()
    assert ended.done["notes"] == ["mounted was not removed: a file system is mounted there"]


def test_the_status_of_the_master_is_shown(cluster: Cluster) -> None:
    master = cluster.master(small_tree(cluster.base / "served"))
    ended = cluster.run("status", str(master.port), prefix=NO_PROC)
    assert (ended.status, ended.stderr) == (0, "") and "master" in ended.stdout

"""A copy is exact: rsync, told to look at everything, finds nothing to do, and its manifest is that of the original."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master
from test.support.downloads import manifest_of
from test.support.oddities import BLOCK, deep_path, odd_tree, rsync_says
from test.support.trees import small_tree, write
from xget_lib.fs.rooted import Root

as_root = pytest.mark.root


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_tree(tmp_path_factory.mktemp("exact") / "served")


@pytest.fixture(scope="module")
def master(shared_cluster: Cluster, source: Path) -> Master:
    return shared_cluster.master(source)


@pytest.fixture
def dest(cluster: Cluster) -> Path:
    return cluster.base / "dest"


def assert_exact(original: Path, copy: Path) -> None:
    assert rsync_says(original, copy) == []
    assert manifest_of(copy).generation == manifest_of(original).generation


def test_rsync_finds_nothing_to_do_and_the_copy_has_the_same_generation(
    master: Master, cluster: Cluster, source: Path, dest: Path
) -> None:
    ended = cluster.get(master, dest)
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.done["notes"] == []
    assert_exact(source, dest)


def test_holes_take_no_room_and_do_not_travel(master: Master, cluster: Cluster, source: Path, dest: Path) -> None:
    ended = cluster.get(master, dest, "holes")
    assert ended.status == 0
    for path in (source / "holes").iterdir():
        there, here = path.stat(), (dest / "holes" / path.name).stat()
        assert here.st_size == there.st_size
        assert here.st_blocks <= there.st_blocks + 8 * 8  # where a file system has room for an index of its own
    data = sum(path.stat().st_blocks * 512 for path in (source / "holes").iterdir())
    assert ended.done["fetched"] <= data < 3 << 20
    assert (dest / "holes" / "vast").stat().st_blocks * 512 <= (1 << 20) + 64 * BLOCK


def test_a_second_run_has_nothing_to_do(master: Master, cluster: Cluster, source: Path, dest: Path) -> None:
    assert cluster.get(master, dest).status == 0
    before = manifest_of(dest).entries
    changed = {path: path.lstat().st_ctime_ns for path in dest.rglob("*")}
    ended = cluster.get(master, dest)
    assert (ended.status, ended.done["fetched"], ended.done["notes"]) == (0, 0, [])
    assert list(manifest_of(dest).entries) == list(before)
    assert {path: path.lstat().st_ctime_ns for path in dest.rglob("*")} == changed
    assert_exact(source, dest)


def test_whatever_was_spoilt_is_mended(master: Master, cluster: Cluster, source: Path, dest: Path) -> None:
    assert cluster.get(master, dest).status == 0
    attributes = dest / "attributes"
    os.removexattr(attributes / "user", "user.a")
    os.setxattr(attributes / "user", "user.more", b"than there should be")
    os.removexattr(attributes / "list", "system.posix_acl_access")
    os.setxattr(attributes / "sticky", "user.directory", b"other")
    (attributes / "modes" / "0").chmod(0o755)
    os.utime(dest / "pipe")
    (dest / "links" / "zeroth").unlink()
    shutil.copy2(dest / "links" / "a" / "first", dest / "links" / "zeroth")
    os.utime(dest / "names", ns=(0, 1))
    (dest / "links" / "dangling").unlink()
    (dest / "links" / "dangling").mkdir()
    if os.geteuid() == 0:
        os.removexattr(dest / "capable", "security.capability")
        (dest / "null").unlink()
        os.mknod(dest / "null", stat.S_IFCHR | 0o660, os.makedev(1, 5))
        os.chown(dest / "owned" / "link of mail", 1, 1, follow_symlinks=False)
    ended = cluster.get(master, dest)
    assert ended.status == 6  # a directory is never replaced
    (dest / "links" / "dangling").rmdir()
    ended = cluster.get(master, dest)
    assert (ended.status, ended.done["fetched"]) == (0, 0)
    assert_exact(source, dest)


def test_paths_that_are_longer_than_the_kernel_takes(cluster: Cluster, dest: Path) -> None:
    served = small_tree(cluster.base / "served")
    path = deep_path(served, b"deep down")
    assert len(path) > 4096
    assert cluster.get(cluster.master(served), dest).status == 0
    with Root(bytes(dest)) as root, root.opened(path, os.O_RDONLY) as descriptor:
        assert os.read(descriptor, 100) == b"deep down"
    assert manifest_of(dest).generation == manifest_of(served).generation
    for tree in (served, dest):
        shutil.rmtree(tree / os.fsdecode(path.partition(b"/")[0]))  # which pytest could not


@as_root
def test_s_and_o_leave_out_what_they_say(master: Master, cluster: Cluster, source: Path, dest: Path) -> None:
    ended = cluster.get(master, dest, options=["-s"], umask=0o027)
    assert ended.status == 0
    assert "security.capability" not in os.listxattr(dest / "capable")
    assert os.listxattr(dest / "attributes" / "list") == []
    assert stat.S_IMODE((dest / "attributes" / "list").stat().st_mode) == 0o640
    assert stat.S_IMODE((dest / "owned" / "mail").stat().st_mode) == 0o750
    assert os.getxattr(dest / "attributes" / "user", "user.a") == b"1"
    assert (dest / "owned" / "mail").stat().st_uid == 8
    assert not (dest / "null").exists()
    other = cluster.base / "other"
    assert cluster.get(master, other, options=["-o"]).status == 0
    assert {path.lstat().st_uid for path in other.rglob("*")} == {0}
    assert stat.S_IMODE((other / "owned" / "mail").stat().st_mode) == 0o750  # somebody's program must not become root's
    assert not (other / "null").exists() and "security.capability" not in os.listxattr(other / "capable")


def test_what_the_master_cannot_read_is_said_and_the_rest_is_copied(cluster: Cluster, dest: Path) -> None:
    served = small_tree(cluster.base / "served")
    write(served / "a" / "secret", b"secret\n", mode=0)
    os.link(served / "a" / "secret", served / "secret too")
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    master = cluster.master(served, prefix=bound)
    where = ["-n", "127.0.0.1", "-p", str(master.port), "--linger", "0"]
    for _ in range(2):
        ended = cluster.run(*where, ".", dest)
        assert ended.status == 1
        expected = "a/secret and 1 other: not readable at the master: Permission denied (everything else is in place)"
        assert ended.stderr == f"xget: {expected}\n"
        assert (dest / "a" / "b" / "file1").read_bytes() == (served / "a" / "b" / "file1").read_bytes()
        assert not (dest / "a" / "secret").exists()
    assert cluster.run(*where, "a/b", cluster.base / "part").status == 0  # of which nothing is lacking
    ended = cluster.run(*where, "a/secret", cluster.base / "none")
    assert (ended.status, ended.stderr) == (
        4,
        "xget: a/secret: not readable at the master: Permission denied (nothing was written)\n",
    )
    (served / "a" / "secret").chmod(0o644)
    (served / "secret too").unlink()
    master.signal(signal.SIGHUP)
    master.logged("5 files")
    assert cluster.run(*where, ".", dest).status == 0


NOBODY = ["unshare", "--user"]  # owns root's files, and may no more than their owner


@as_root
def test_what_needs_root_is_said_once_and_left_out(master: Master, cluster: Cluster, source: Path, dest: Path) -> None:
    where = ["-n", "127.0.0.1", "-p", str(master.port), "--linger", "0", ".", str(dest)]
    for _ in range(2):
        ended = cluster.run(*where, prefix=NOBODY)
        assert ended.status == 0
        assert sorted(ended.stderr.splitlines()) == [
            "xget: capabilities and other attributes were not preserved (only root can set them)",
            "xget: devices were not created: Operation not permitted (only root can create them)",
            "xget: owners and groups were not preserved (only root can set them)",
            "xget: set-user-ID and set-group-ID bits were not preserved (the owner could not be set)",
            "xget: some access lists were not preserved: Invalid argument",  # of users that this one cannot know
        ]
    there = {entry.path: entry for entry in manifest_of(source).entries}
    here = {entry.path: entry for entry in manifest_of(dest).entries}
    assert there.keys() - here.keys() == {b"null", b"disk", b"owned/null too"}
    for path, entry in here.items():
        assert (entry.kind, entry.size, entry.target) == (there[path].kind, there[path].size, there[path].target)
        assert entry.mtime_ns == there[path].mtime_ns
    # The mode of a file with a list shows what others may than the owning group, which may less.
    assert stat.S_IMODE((source / "attributes" / "list").stat().st_mode) == 0o664
    assert stat.S_IMODE((dest / "attributes" / "list").stat().st_mode) == 0o644

"""Exit statuses and messages where the destination refuses something, with real processes."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually
from test.support.mounted import Mounts, needs
from test.support.trees import differences, small_tree, write

pytestmark = pytest.mark.root

REPLACED = "cannot be replaced, because what is there cannot be removed"


@pytest.fixture
def source(cluster: Cluster) -> Path:
    source = small_tree(cluster.base / "served")
    for number in range(20):
        write(source / f"a/file{number:02}", b"%d" % number)
    return source


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


@pytest.fixture
def dest(cluster: Cluster, master: Master) -> Path:
    """A copy."""
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    return dest


def test_one_line_for_each_path_ten_at_most_then_a_count(
    cluster: Cluster, master: Master, dest: Path, mounts: Mounts
) -> None:
    mine = cluster.base / "mine"
    mine.write_bytes(b"mine")
    for number in range(14):
        mounts.bind(mine, dest / f"a/file{number:02}")
    (dest / "stale").write_bytes(b"x")
    (dest / "top").unlink()
    ended = cluster.get(master, dest, options=["--delete"])
    assert ended.status == 6
    assert ended.stderr.splitlines() == [
        *(f"xget: {dest}/a/file{number:02}: {REPLACED}: a file system is mounted there" for number in range(10)),
        "xget: 4 more paths were refused",
    ]
    assert (ended.done["exit"], ended.done["removed"]) == (6, 1)
    assert [event["event"] for event in ended.events].count("error") == 11
    assert (dest / "top").exists() and not (dest / "stale").exists()
    dry = cluster.get(master, dest, options=["--delete", "--dry-run"])
    assert (dry.status, dry.stderr) == (6, ended.stderr)


def test_what_was_refused_is_not_served_and_the_rest_is(
    cluster: Cluster, source: Path, master: Master, dest: Path, mounts: Mounts
) -> None:
    shutil.rmtree(dest)
    (dest / "a").mkdir(parents=True)
    mounts.memory(dest / "top")
    client = cluster.client(master, dest, options=["--linger", "forever"])
    assert client.ended().status == 6
    chunks = master.status()["chunks"]
    eventually(lambda: [0 < child["held"] < chunks for child in master.children()] == [True], "it serves a part")
    assert cluster.get(master, cluster.base / "second").status == 0
    assert differences(source, cluster.base / "second") == []


def test_more_than_half_is_not_removed_and_the_status_is_8(
    cluster: Cluster, source: Path, master: Master, dest: Path
) -> None:
    for path in source.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write(source / "new", b"new")
    before = master.status()["generation"]
    master.signal(signal.SIGHUP)
    eventually(lambda: master.status()["generation"] != before, "the new generation")
    for options in (["--dry-run"], []):
        ended = cluster.get(master, dest, options=["--delete", *options])
        assert ended.status == 8
        assert ended.stderr.splitlines() == [
            f"xget: {dest}: 26 of 26 names would be removed, but --max-delete is 50%: nothing was removed"
            " (check the master's directory; raise --max-delete if this is right)"
        ]
    assert (dest / "a/file00").exists() and (dest / "new").read_bytes() == b"new"
    assert cluster.get(master, dest, options=["--delete", "--max-delete", "25"]).status == 8
    assert cluster.get(master, dest, options=["--delete", "--max-delete", "26"]).status == 0
    assert differences(source, dest) == []


def test_who_follows_logs_what_it_does_not_remove_and_goes_on(
    cluster: Cluster, source: Path, master: Master, dest: Path
) -> None:
    log = cluster.base / "log"
    client = cluster.client(master, dest, options=["--follow", "--delete", "--log", str(log)])
    assert client.ended().status == 0
    kept = cluster.base / "kept"
    os.rename(source / "a", kept)
    write(source / "new", b"new")
    eventually(lambda: "names would be removed, but --max-delete is 50%" in log.read_text(), "it is logged")
    eventually(lambda: (dest / "new").exists(), "all else is done")
    assert (dest / "a/file00").exists()
    os.rename(kept, source / "a")
    (source / "new").unlink()
    eventually(lambda: differences(source, dest) == [], "the same tree")
    assert len(master.wait_for_children(1)) == 1


def test_root_without_capabilities_does_what_any_owner_can(
    cluster: Cluster, source: Path, master: Master, tmp_path: Path
) -> None:
    needs("setpriv")
    without = ["setpriv", "--bounding-set", "-all", "--inh-caps=-all"]
    (source / "a/deep").mkdir()
    write(source / "a/deep/old", b"old")
    for path in (source / "a/deep", source / "a/b", source / "a"):
        path.chmod(0o555)
    reload(master)
    dest = cluster.base / "dest"
    assert cluster.get(master, dest, prefix=without).status == 0
    assert differences(source, dest) == []
    write(source / "a/deep/new", b"new")
    (source / "a/deep/old").unlink()
    (dest / "a").chmod(0o755)
    (dest / "a/extra").mkdir()
    write(dest / "a/extra/file", b"x")
    (dest / "a/extra").chmod(0o500)
    (dest / "a").chmod(0o555)
    reload(master)
    ended = cluster.get(master, dest, options=["--delete"], prefix=without)
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, dest) == []


def reload(master: Master) -> None:
    before = master.status()["generation"]
    master.signal(signal.SIGHUP)
    eventually(lambda: master.status()["generation"] != before, "the new generation")


def test_a_file_that_is_too_large_for_the_file_system_costs_itself(
    cluster: Cluster, source: Path, master: Master
) -> None:
    needs("prlimit")
    write(source / "large", os.urandom(9_000_000))
    reload(master)
    dest = cluster.base / "new"
    ended = cluster.get(master, dest, prefix=["prlimit", "--fsize=4000000"])
    assert (ended.status, ended.stderr) == (6, f"xget: {dest}/large: File too large\n")
    assert [path.name for path in source.rglob("*") if not (dest / path.relative_to(source)).exists()] == ["large"]


def test_a_boot_partition_below_the_destination(
    cluster: Cluster, source: Path, master: Master, mounts: Mounts, tmp_path: Path
) -> None:
    (source / "boot").mkdir()
    write(source / "boot/vmlinuz", os.urandom(3_000_000))
    reload(master)
    dest = cluster.base / "new"
    mounts.image(dest / "boot", "mkfs.ext4", "-q", "-I", "256")
    shutil.rmtree(dest / "boot/lost+found")
    ended = cluster.get(master, dest)
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, dest) == []
    assert not list(dest.rglob(".xget"))

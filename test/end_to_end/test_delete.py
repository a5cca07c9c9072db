"""--delete, --dry-run and --checksum on the command line, with real processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually
from test.support.trees import MOMENT, differences, noise, small_tree, write


@pytest.fixture
def source(cluster: Cluster) -> Path:
    source = small_tree(cluster.base / "served")
    write(source / "large", noise(300_000, 2))
    return source


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


@pytest.fixture
def dest(cluster: Cluster, master: Master) -> Path:
    """A copy that has more than the original, and something else."""
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    (dest / "extra/deep").mkdir(parents=True)
    write(dest / "extra/deep/file", b"x")
    write(dest / "top", b"not that\n")
    return dest


def test_delete_makes_the_same_tree(cluster: Cluster, source: Path, master: Master, dest: Path) -> None:
    assert cluster.get(master, dest).done["removed"] == 0
    assert (dest / "extra").exists()
    ended = cluster.run("-n", "127.0.0.1", "-p", str(master.port), "--linger", "0", "--delete", ".", dest)
    assert (ended.status, ended.stderr) == (0, "")
    assert ", 3 names removed (5 files unchanged by size and time); nothing to fetch" in ended.stdout
    assert differences(source, dest) == []


def test_a_dry_run_says_what_would_be_done_and_does_nothing(cluster: Cluster, master: Master, dest: Path) -> None:
    before = {path: path.lstat().st_ctime_ns for path in [dest, *dest.rglob("*")]}
    arguments: list[str | Path] = ["-n", "127.0.0.1", "-p", str(master.port), "--dry-run", "--delete", ".", dest]
    ended = cluster.run(*arguments)
    assert (ended.status, ended.stderr) == (0, "")
    *steps, summary = ended.stdout.splitlines()
    assert [line.split() for line in steps] == [["correct", "."], ["fetch", "11", "top"], ["remove", "extra"]]
    assert summary.startswith("xget: would fetch 11 B of 1 file, correct 1 name, remove 1 name; nothing was changed (")
    assert {path: path.lstat().st_ctime_ns for path in [dest, *dest.rglob("*")]} == before

    as_json = cluster.run("--json", *arguments)
    assert [event["action"] for event in as_json.events if event["event"] == "step"] == ["correct", "fetch", "remove"]
    assert as_json.done["would"] == {"fetch": 1, "make": 0, "link": 0, "correct": 1, "remove": 1, "bytes": 11}
    assert (as_json.done["fetched"], as_json.done["removed"]) == (0, 0)
    assert master.children() == []  # nobody stays, and nobody was said to serve

    assert cluster.get(master, dest, options=["--delete"]).status == 0
    assert cluster.run(*arguments).stdout.startswith("xget: nothing to do: 5 files, ")


def test_a_dry_run_of_what_is_not_served_or_cannot_be_written(cluster: Cluster, master: Master, dest: Path) -> None:
    assert cluster.get(master, dest, "no", options=["--dry-run"]).status == 4
    assert cluster.get(master, dest / "top", options=["--dry-run"]).status == 6


def test_checksum_finds_what_size_and_time_hide(cluster: Cluster, source: Path, master: Master, dest: Path) -> None:
    with open(dest / "large", "r+b") as file:
        file.seek(100_000)
        file.write(b"bad")
    os.utime(dest / "large", ns=(MOMENT, MOMENT))
    assert cluster.get(master, dest, "large").done["fetched"] == 0
    assert cluster.get(master, dest, "large", options=["--checksum"]).done["fetched"] == 65536
    assert (dest / "large").read_bytes() == (source / "large").read_bytes()


def test_who_follows_and_deletes_keeps_the_same_tree(
    cluster: Cluster, source: Path, master: Master, dest: Path
) -> None:
    client = cluster.client(master, dest, options=["--follow", "--delete", "--checksum"])
    assert client.ended().status == 0
    (source / "a/b/file1").unlink()
    os.rename(source / "top", source / "a/top")
    (source / "top").mkdir()
    eventually(lambda: differences(source, dest) == [], "the same tree")


def test_what_is_mounted_stays(cluster: Cluster, source: Path, master: Master, dest: Path) -> None:
    """A mount in the destination is the node's own: neither it nor anything in it is removed, and that is said."""
    (source / "proc").mkdir()
    (dest / "proc").mkdir()
    (dest / "extra/mounted").mkdir()
    master.signal(signal.SIGHUP)
    eventually(lambda: cluster.get(master, cluster.base / "look", "proc").status == 0, "the new directory is served")
    script = (
        'for d in proc extra/mounted; do mount -t tmpfs none "$DEST/$d" && touch "$DEST/$d/mine" || exit 99; done;'
        ' "$@"; status=$?; ls "$DEST/proc/mine" "$DEST/extra/mounted/mine" && exit $status'
    )
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    ended = cluster.get(master, dest, options=["--delete"], prefix=namespace, environment={"DEST": str(dest)})
    assert ended.status == 0, ended.stderr
    assert f"{dest}/extra/mounted/mine" in ended.stdout
    assert sorted(path.name for path in (dest / "extra").iterdir()) == ["mounted"]

"""`--follow`: a client that stays and has each change of what its master serves soon after it happened."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, Server, ended_by_itself, eventually, free_port, status_of
from test.support.relay import MIB, Relay
from test.support.trees import MOMENT, differences, noise, small_tree, write
from xget_lib.errors import NinepError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_tree(tmp_path / "served")


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


@dataclass(frozen=True)
class Follower:
    """A client that has downloaded and follows now."""

    pid: int
    port: int
    dest: Path
    log: Path

    def logged(self, text: str) -> None:
        eventually(lambda: text in self.log.read_text(), f"{text!r} in the log of {self.dest.name}")


def follow(cluster: Cluster, server: Server, master: Master, dest: Path, *options: str) -> Follower:
    log = cluster.base / f"{dest.name}.log"
    before = {child["port"] for child in master.children()}
    client = cluster.client(server, dest, options=["--follow", "--log", str(log), *options])
    pid = client.background()
    assert client.ended().status == 0
    new = eventually(lambda: {c["port"] for c in master.children()} - before, "the follower is not known")
    return Follower(pid, new.pop(), dest, log)


def look_again(master: Master) -> None:
    master.signal(signal.SIGHUP)


def become_same(source: Path, dest: Path) -> None:
    """Wait until one directory is exactly like the other."""
    found: list[str] = []

    def same() -> bool:
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # it changes while it is compared
            found[:] = differences(source, dest)
            return not found
        return False

    try:
        eventually(same, "the same as the source")
    except AssertionError as error:
        raise AssertionError(f"{error}: {found}") from None


def test_a_follower_has_what_changes_and_fetches_nothing_else(cluster: Cluster, source: Path, master: Master) -> None:
    write(source / "large", noise(3 * MIB, 4))
    look_again(master)
    master.logged(f"{3 * MIB + 200_021} bytes")
    follower = follow(cluster, master, master, cluster.base / "dest")
    before = os.stat(follower.dest / "large")
    write(source / "top", b"changed\n", mtime=MOMENT + 1)
    write(source / "a" / "new", b"new\n")
    os.utime(source / "a", ns=(MOMENT, MOMENT))
    look_again(master)
    become_same(source, follower.dest)
    follower.logged("12 B fetched")
    assert os.stat(follower.dest / "large").st_ino == before.st_ino
    assert not (follower.dest / ".xget").exists()
    (child,) = master.wait_for_children(1)
    assert (child["port"], child["follows"]) == (follower.port, True)
    assert status_of(follower.port)["follows"] is True


def test_a_follower_serves_the_new_generation_and_the_next_takes_it_from_there(
    cluster: Cluster, source: Path, master: Master
) -> None:
    first = follow(cluster, master, master, cluster.base / "first")
    with Relay(master.port) as relay:
        second = follow(cluster, relay, master, cluster.base / "second")
        relay.hold(MIB)  # news and manifest pass, and little of the content
        write(source / "large", noise(5 * MIB, 4))
        os.utime(source, ns=(MOMENT, MOMENT))
        look_again(master)
        become_same(source, first.dest)
        become_same(source, second.dest)
        second.logged("from 1 peer")
        master.wait_for_children(2)


def test_what_was_written_to_since_it_was_verified_is_read_again(
    cluster: Cluster, source: Path, master: Master
) -> None:
    follower = follow(cluster, master, master, cluster.base / "dest")
    damaged = follower.dest / "a" / "b" / "file1"
    status = os.stat(damaged)
    with open(damaged, "r+b") as file:
        file.write(b"damaged")
    os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    write(source / "top", b"changed\n", mtime=MOMENT + 1)
    look_again(master)
    follower.logged("updated to generation")
    # Size and time are those of the manifest; that it was written to since it was verified is noticed all the same.
    follower.logged("file1 is not what its size and time promise")
    assert status_of(follower.port)["held"] < status_of(follower.port)["chunks"]


def test_what_is_removed_stays_and_is_not_served(cluster: Cluster, source: Path, master: Master) -> None:
    follower = follow(cluster, master, master, cluster.base / "dest")
    (source / "a" / "other").unlink()
    look_again(master)
    follower.logged("updated to generation")
    assert (follower.dest / "a" / "other").read_bytes() == b"other\n"
    master.wait_for_children(1)


def test_a_follower_outlives_its_master_and_follows_the_next(cluster: Cluster, source: Path) -> None:
    port = free_port()
    master = cluster.master(source, port=port)
    follower = follow(cluster, master, master, cluster.base / "dest")
    master.signal(signal.SIGTERM)
    assert master.ended().status == 0
    follower.logged("the master is lost")
    write(source / "top", b"changed while nobody served it\n", mtime=MOMENT + 1)
    again = cluster.master(source, port=port)
    become_same(source, follower.dest)
    (child,) = again.wait_for_children(1)
    assert child["port"] == follower.port
    assert status_of(follower.port)["pid"] == follower.pid


def test_an_update_that_fails_is_tried_again(cluster: Cluster, source: Path, master: Master) -> None:
    follower = follow(cluster, master, master, cluster.base / "dest")
    (source / "top").unlink()
    (source / "top").mkdir()
    write(source / "top" / "below", b"below\n")
    look_again(master)
    follower.logged("not updated: ")
    with contextlib.suppress(OSError, NinepError):
        assert status_of(follower.port)["pid"] == follower.pid
    (follower.dest / "top").unlink()
    eventually((follower.dest / "top" / "below").exists, "what could not be placed before")
    follower.logged("updated to generation")


def test_a_source_that_is_gone_is_waited_for(cluster: Cluster, source: Path, master: Master) -> None:
    dest = cluster.base / "dest"
    client = cluster.client(master, dest, "a", options=["--follow", "--log", str(cluster.base / "f.log")])
    assert client.ended().status == 0
    follower = Follower(0, 0, dest, cluster.base / "f.log")
    (source / "a").rename(source / "elsewhere")
    look_again(master)
    follower.logged("not updated: a: not served")
    write(source / "elsewhere" / "other", b"changed\n")
    (source / "elsewhere").rename(source / "a")
    look_again(master)
    eventually(lambda: (dest / "a" / "other").read_bytes() == b"changed\n", "updated")


def test_a_follower_that_is_told_to_ends_also_in_the_midst_of_an_update_which_the_next_run_ends(
    cluster: Cluster, source: Path, master: Master
) -> None:
    dest = cluster.base / "dest"
    with Relay(master.port) as relay:
        follower = follow(cluster, relay, master, dest)
        write(source / "large", noise(24 * MIB, 4))
        os.utime(source, ns=(MOMENT, MOMENT))
        relay.hold(6 * MIB)
        look_again(master)
        relay.wait_until_it_holds()
        os.kill(follower.pid, signal.SIGTERM)
        assert ended_by_itself(follower.pid)
    assert not (dest / "large").exists()
    again = cluster.get(master, dest)
    assert again.status == 0
    assert again.done["reused"] > 200_021, "pieces of the interrupted update are used"
    assert differences(source, dest) == []


def test_a_newer_run_takes_over_from_a_follower(cluster: Cluster, source: Path, master: Master) -> None:
    first = follow(cluster, master, master, cluster.base / "dest")
    again = cluster.client(master, first.dest, options=["--follow"])
    assert again.ended().status == 0
    assert ended_by_itself(first.pid)
    (child,) = master.wait_for_children(1)
    assert child["port"] != first.port


def test_without_follow_a_child_stays_at_its_generation(cluster: Cluster, source: Path, master: Master) -> None:
    dest = cluster.base / "dest"
    assert cluster.client(master, dest).ended().status == 0
    (child,) = master.wait_for_children(1)
    assert (child["follows"], status_of(child["port"])["follows"]) == (False, False)

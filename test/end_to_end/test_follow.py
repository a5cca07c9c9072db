"""`--follow`: a client that stays and has each change of what its master serves soon after it happened."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, Server, ended_by_itself, eventually, free_port, status_of
from test.support.processes import PATIENCE, open_files
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
    # From here on nothing but what is noticed can be the reason for a look within a test's patience.
    eventually(lambda: master.status()["notices"], "changes are not noticed")
    return Follower(pid, new.pop(), dest, log)


def become_same(source: Path, dest: Path, gone: Collection[Path] = (), seconds: float = PATIENCE) -> None:
    """Wait until one directory is exactly like the other, but for what is `gone` from the first."""
    expected = {f"only in one: {bytes(path)!r}" for path in gone} | ({"hard links"} if gone else set())
    found: list[str] = []

    def same() -> bool:
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # it changes while it is compared
            found[:] = [each for each in differences(source, dest) if each not in expected]
            return not found
        return False

    try:
        eventually(same, "the same as the source", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {found}") from None


def fetched(follower: Follower) -> int:
    """Bytes that all updates together have fetched, as long as these are few."""
    return sum(map(int, re.findall(r"fetched and verified (\d+) B", follower.log.read_text())))


def test_a_follower_has_what_changes_and_fetches_nothing_else(cluster: Cluster, source: Path) -> None:
    write(source / "large", noise(3 * MIB, 4))
    master = cluster.master(source)
    follower = follow(cluster, master, master, cluster.base / "dest")
    before = os.stat(follower.dest / "large")
    write(source / "top", b"changed\n", mtime=MOMENT + 1)
    write(source / "a" / "new", b"new\n")
    os.utime(source / "a", ns=(MOMENT, MOMENT))
    become_same(source, follower.dest)
    eventually(lambda: fetched(follower) == 12, "what changed was fetched once")
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
        become_same(source, first.dest)
        become_same(source, second.dest)
        second.logged("from 1 peer")
        master.wait_for_children(2)


def rename_file(source: Path) -> None:
    (source / "a" / "other").rename(source / "a" / "renamed")


def replace_file(source: Path) -> None:
    write(source / "next", b"replaced\n", mtime=MOMENT + 1)
    os.replace(source / "next", source / "top")


def remove_file(source: Path) -> None:
    (source / "a" / "b" / "file2").unlink()


def add_directory(source: Path) -> None:
    (source / "new" / "deep").mkdir(parents=True)
    write(source / "new" / "deep" / "file", b"deep\n")


def move_directory(source: Path) -> None:
    (source / "a" / "b").rename(source / "moved")
    write(source / "moved" / "file2", b"changed after the move\n", mtime=MOMENT + 1)


def replace_directory(source: Path) -> None:
    """As images are often put in place: the new one is made beside, and then takes the name."""
    shutil.copytree(source / "a", source / "a.new")
    write(source / "a.new" / "other", b"changed\n")
    (source / "a").rename(source / "a.old")
    (source / "a.new").rename(source / "a")


def replace_all(source: Path) -> None:
    """The served directory itself gives its name to another."""
    shutil.copytree(source, source.parent / "next")
    write(source.parent / "next" / "top", b"changed\n")
    source.rename(source.parent / "before")
    (source.parent / "next").rename(source)


def change_attributes(source: Path) -> None:
    os.chmod(source / "a" / "other", 0o600)
    os.chmod(source / "a", 0o700)


@pytest.mark.parametrize(
    "change",
    [
        rename_file,
        replace_file,
        remove_file,
        add_directory,
        move_directory,
        replace_directory,
        replace_all,
        change_attributes,
    ],
    ids=lambda change: change.__name__,
)
def test_whatever_changes_comes_to_a_follower_and_what_is_gone_stays(
    cluster: Cluster, source: Path, master: Master, change: Callable[[Path], None]
) -> None:
    follower = follow(cluster, master, master, cluster.base / "dest")
    before = {path.relative_to(source) for path in source.rglob("*")}
    change(source)
    gone = {path for path in before if not os.path.lexists(source / path)}
    become_same(source, follower.dest, gone)
    for path in gone:
        assert os.path.lexists(follower.dest / path)
    master.wait_for_children(1)


def test_many_changes_are_few_generations(cluster: Cluster, source: Path, master: Master) -> None:
    follower = follow(cluster, master, master, cluster.base / "dest")
    before = master.log.read_text().count("INFO: generation ")
    for number in range(300):
        write(source / "a" / f"new{number}", b"%d" % number)
    become_same(source, follower.dest)
    assert master.log.read_text().count("INFO: generation ") - before < 30


def test_another_worker_watches_when_the_one_that_did_dies(cluster: Cluster, source: Path, master: Master) -> None:
    follower = follow(cluster, master, master, cluster.base / "dest")
    before = master.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    follower.logged("connected to the master again")

    def noticed() -> bool:
        with contextlib.suppress(OSError, NinepError):
            status = master.status()
            return status["notices"] and not {worker["pid"] for worker in status["workers"]} & set(before)
        return False

    eventually(noticed, "changes are noticed again")
    write(source / "top", b"changed\n", mtime=MOMENT + 1)
    become_same(source, follower.dest)
    assert "Traceback" not in master.log.read_text()


def test_one_worker_watches_whether_somebody_follows_or_not(cluster: Cluster, source: Path, master: Master) -> None:
    def watching() -> int:
        return sum("inotify" in name for pid in master.workers() for name in open_files(pid).values())

    eventually(lambda: master.status()["notices"], "it watches")
    assert watching() == 1
    follower = follow(cluster, master, master, cluster.base / "dest")
    os.kill(follower.pid, signal.SIGTERM)
    assert ended_by_itself(follower.pid)
    eventually(lambda: not master.children(), "the follower is gone")
    assert watching() == 1


FEW_WATCHES = 'echo 3 > /proc/sys/user/max_inotify_watches && exec "$@"'
NAMESPACE = ["unshare", "--user", "--map-root-user"]


@pytest.mark.skipif(
    subprocess.run([*NAMESPACE, "sh", "-c", FEW_WATCHES, "sh", "true"], check=False, capture_output=True).returncode
    != 0,
    reason="no user namespaces here",
)
def test_what_cannot_be_watched_is_looked_at_often_until_it_can(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source, prefix=[*NAMESPACE, "sh", "-c", FEW_WATCHES, "sh"])
    dest = cluster.base / "dest"
    assert cluster.client(master, dest, options=["--follow"]).ended().status == 0
    master.logged("cannot watch for changes with inotify; scanning for each client instead: too many directories")
    assert not master.status()["notices"]
    for number in range(2):
        write(source / "top", b"changed %d\n" % number)
        become_same(source, dest, seconds=120)  # ten times the length of a scan, which a busy machine makes long
    assert master.log.read_text().count("cannot watch for changes") == 1, "it is said once"

    subprocess.run(
        ["nsenter", "--user", f"--target={master.pid}", "sh", "-c", "echo 100 > /proc/sys/user/max_inotify_watches"],
        check=True,
    )
    master.signal(signal.SIGHUP)
    master.logged("watching for changes with inotify again")
    write(source / "top", b"changed once more\n")
    become_same(source, dest)


def test_what_was_written_to_since_it_was_verified_is_read_again_and_repaired(
    cluster: Cluster, source: Path, master: Master
) -> None:
    follower = follow(cluster, master, master, cluster.base / "dest")
    damaged = follower.dest / "a" / "b" / "file1"
    status = os.stat(damaged)
    with open(damaged, "r+b") as file:
        file.write(b"damaged")
    os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    write(source / "top", b"changed\n", mtime=MOMENT + 1)
    follower.logged("updated to generation")
    # Size and time are those of the manifest; that it was written to since it was verified is noticed all the same.
    follower.logged("file1: size and time match, but the content does not")
    follower.logged("repaired 1 of the files that had the right size and time, but other content")
    assert differences(source, follower.dest) == []
    eventually(lambda: status_of(follower.port)["held"] == status_of(follower.port)["chunks"], "all is served again")


def test_what_is_removed_stays_and_is_not_served(cluster: Cluster, source: Path, master: Master) -> None:
    follower = follow(cluster, master, master, cluster.base / "dest")
    (source / "a" / "other").unlink()
    follower.logged("updated to generation")
    assert (follower.dest / "a" / "other").read_bytes() == b"other\n"
    master.wait_for_children(1)


def test_a_follower_outlives_its_master_and_follows_the_next(cluster: Cluster, source: Path) -> None:
    port = free_port()
    master = cluster.master(source, port=port)
    follower = follow(cluster, master, master, cluster.base / "dest")
    master.signal(signal.SIGTERM)
    assert master.ended().status == 0
    follower.logged("connection to the master lost")
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
    follower.logged("not a directory, but the master has a directory here")
    with contextlib.suppress(OSError, NinepError):
        assert status_of(follower.port)["pid"] == follower.pid
    (follower.dest / "top").unlink()
    eventually((follower.dest / "top" / "below").exists, "what could not be placed before")
    eventually(lambda: follower.log.read_text().count("updated to generation") == 2, "it is logged when it succeeds")
    master.wait_for_children(1)


def test_a_source_that_is_gone_is_waited_for(cluster: Cluster, source: Path, master: Master) -> None:
    dest = cluster.base / "dest"
    client = cluster.client(master, dest, "a", options=["--follow", "--log", str(cluster.base / "f.log")])
    assert client.ended().status == 0
    follower = Follower(0, 0, dest, cluster.base / "f.log")
    (source / "a").rename(source / "elsewhere")
    follower.logged("update failed: a: not served")
    write(source / "elsewhere" / "other", b"changed\n")
    (source / "elsewhere").rename(source / "a")
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

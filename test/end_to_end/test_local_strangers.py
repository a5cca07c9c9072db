"""Other users and programs of the same machine, and what changes below a client or a child."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import pytest

from test.support.cluster import Cluster, Ended, Master, ended_by_itself, eventually, status_of
from test.support.plain_client import PlainClient
from test.support.relay import MIB, Relay
from test.support.somebody import NOBODY, as_nobody, nobody_repeating
from test.support.trees import differences, noise, small_tree, write
from xget_lib.download.workplaces import part_name
from xget_lib.errors import NinepError

EVIL = b"#!/bin/sh\n# his own bytes\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = small_tree(tmp_path / "served")
    write(root / "large", noise(3 * MIB, 1))
    return root


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


def line(ended: Ended) -> str:
    """The only line of errors, without its beginning."""
    assert ended.stderr.startswith("xget: ") and ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr.removeprefix("xget: ").rstrip("\n")


def child_of(cluster: Cluster, master: Master, dest: Path, *options: str) -> tuple[int, int]:
    """A client that has become a child: its process and its port."""
    client = cluster.client(master, dest, options=["--linger", "forever", *options])
    pid = client.background()
    assert client.ended().status == 0
    return pid, int(eventually(lambda: next((each["port"] for each in master.wait_for_children(1)), 0), "no child"))


# The destination is another user's.


def _swap(dest: Path, chance: Random) -> None:
    """Replaces `.xget`, and writes into all that he can."""
    part = dest / ".xget/parts" / os.fsdecode(part_name(b"program"))
    if chance.random() < 0.2:
        os.rename(dest / ".xget", dest / f"aside{chance.randrange(1 << 30)}")
        (dest / ".xget/parts").mkdir(parents=True)
        part.touch()
        part.chmod(0o666)
    with open(part, "r+b") as file:
        file.write(EVIL)


@pytest.mark.root
@pytest.mark.parametrize("seed", range(3))
def test_a_program_of_root_never_has_the_bytes_of_the_owner_of_the_destination(
    cluster: Cluster, source: Path, open_to_all: Path, seed: int
) -> None:
    os.chown(source, NOBODY, NOBODY)
    right = noise(3 * MIB, 7)
    write(source / "program", right, mode=0o4755)
    for number in range(100):  # more than stay open
        (source / f"d{number}").mkdir()
        write(source / f"d{number}/file", b"x")
    master = cluster.master(source)
    dest = open_to_all / "his"
    as_nobody(dest.mkdir)
    refused = cluster.get(master, dest)
    assert refused.status == 6
    why = f"others can change it: {open_to_all} can be written by everybody (change that, or use --insecure-dest)"
    assert line(refused) == f"{dest}: {why}"
    with nobody_repeating(partial(_swap, dest), seed):
        cluster.get(master, dest, options=["--insecure-dest"])
    for path in dest.rglob("*"):
        with suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_ISUID and status.st_uid == 0:
                assert path.read_bytes() == right, path


# Sockets that other users make.


@pytest.mark.root
def test_who_squats_the_socket_of_a_destination_holds_up_nobody(cluster: Cluster, master: Master) -> None:
    dest = cluster.base / "dest"
    dest.mkdir()
    status = dest.stat()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one, socket.socket(socket.AF_UNIX) as other:
        one.bind(f"\0xget-child-{status.st_dev}-{status.st_ino}")
        other.bind(f"\0xget-master-{master.port}")
        for each in (one, other):
            each.listen()
        first, _ = child_of(cluster, master, dest)
        second, port = child_of(cluster, master, dest)
        assert ended_by_itself(first), "it was told to retire"
        asked = cluster.run("status", str(port), "--json")
        assert (asked.status, [each["pid"] for each in asked.events]) == (0, [second])
        assert cluster.run("reload", "-p", str(master.port)).status == 0
        os.kill(second, signal.SIGTERM)
        assert ended_by_itself(second)


def test_a_child_that_is_stopped_is_named_in_the_status_beside_the_others(cluster: Cluster, master: Master) -> None:
    stopped, port = child_of(cluster, master, cluster.base / "dest")
    os.kill(stopped, signal.SIGSTOP)
    try:
        client = cluster.client(master, cluster.base / "other", options=["--linger", "forever"])
        other = client.background()
        assert client.ended().status == 0
        asked = cluster.run("status", "--json", "--timeout", "2")
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert asked.status == 1 and str(stopped) in asked.stderr
    well = {each["pid"] for each in asked.events if each.get("problem") is None}
    assert {master.pid, other} <= well
    facts = {"role": "child", "pid": stopped, "port": port, "path": str(cluster.base / "dest")}
    why = "does not answer (is it stopped?)"
    assert {**facts, "master": f"127.0.0.1:{master.port}", "problem": why} in asked.events


NO_RUN = ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs -o ro none /run\nexec "$@"', "sh"]


@pytest.mark.root
def test_where_run_cannot_be_written_it_works_all_the_same(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source, prefix=NO_RUN)
    dest = cluster.base / "dest"
    pids = []
    for _ in range(2):
        client = cluster.client(master, dest, options=["--linger", "forever"], prefix=NO_RUN)
        pids.append(client.background())
        assert client.ended().status == 0
    assert ended_by_itself(pids[0]), "it was told to retire"
    assert cluster.run("reload", "-p", str(master.port), prefix=NO_RUN).status == 0
    os.kill(pids[1], signal.SIGTERM)
    assert ended_by_itself(pids[1])


# What a child gives.


def test_a_child_gives_only_what_is_the_masters_and_as_it_was_verified(
    cluster: Cluster, master: Master, source: Path
) -> None:
    dest = cluster.base / "dest"
    _, port = child_of(cluster, master, dest)
    with PlainClient(port, "files") as client:
        assert client.read_all("top") == (source / "top").read_bytes()
        opened = client.open("a", "b", "file1")
        assert client.read(opened, 0)
        (dest / "secret").write_bytes(b"later")
        (dest / "secret").chmod(0o600)
        (dest / "a/secret").symlink_to("/etc/passwd")
        (dest / "a/more").mkdir()
        (dest / "a/b/file1").write_bytes(b"changed")
        (dest / "top").unlink()
        (dest / "top").mkdir()
        assert "secret" not in client.names() and "top" not in client.names()
        assert sorted(client.names("a")) == sorted({each.name for each in (source / "a").iterdir()})
        assert "file1" not in client.names("a", "b")
        for path in (("secret",), ("a", "secret"), ("a", "more"), ("a", "b", "file1"), ("top",)):
            with pytest.raises(NinepError, match=r"not found|No such file"):
                client.stat(*path)
        with pytest.raises(NinepError):
            client.read(opened, 0)
        assert client.read_all("large") == (source / "large").read_bytes()
    with PlainClient(port, "classic") as client:
        assert "secret" not in client.names() and "secret" not in client.names("a")
        with pytest.raises(NinepError):
            client.read_all("a", "b", "file1", "data")


# What changes below a client or a child.


def test_a_child_whose_log_vanishes_with_its_directory_still_retires(cluster: Cluster, master: Master) -> None:
    dest, logs = cluster.base / "dest", cluster.base / "logs"
    logs.mkdir()
    first, _ = child_of(cluster, master, dest, "--log", str(logs / "log"))
    shutil.rmtree(logs)
    child_of(cluster, master, dest)
    assert ended_by_itself(first)


def rename(dest: Path) -> None:
    dest.rename(dest.with_name("elsewhere"))


def replace(dest: Path) -> None:
    rename(dest)
    dest.mkdir()


@pytest.mark.parametrize("change", [rename, replace, shutil.rmtree], ids=["renamed", "replaced", "removed"])
def test_a_destination_that_is_not_there_any_more_is_one_line_and_status_6(
    cluster: Cluster, master: Master, change: Callable[[Path], None]
) -> None:
    dest = cluster.base / "dest"
    with Relay(master.port, hold_after=MIB) as relay:
        client = cluster.client(relay, dest, options=["--linger", "0"])
        relay.wait_until_it_holds()
        change(dest)
        relay.open()
        ended = client.ended()
    assert ended.status == 6
    assert line(ended) == f"{dest}: was renamed, removed or replaced during the download (run again)"
    assert not dest.exists() or not any(dest.iterdir())


def test_a_child_of_a_destination_that_was_renamed_gives_what_is_right(
    cluster: Cluster, master: Master, source: Path
) -> None:
    dest = cluster.base / "dest"
    _, port = child_of(cluster, master, dest)
    dest.rename(cluster.base / "elsewhere")
    dest.mkdir()
    (dest / "top").write_bytes(b"somebody else's")
    with PlainClient(port, "files") as client:
        assert client.read_all("top") == (source / "top").read_bytes()
        assert client.names("a")
    assert status_of(port)["held"] == master.status()["chunks"]
    another = cluster.get(master, cluster.base / "another")
    assert another.status == 0
    assert differences(source, cluster.base / "another") == []


def test_a_follower_whose_destination_was_renamed_fills_the_one_that_it_was_given(
    cluster: Cluster, master: Master, source: Path
) -> None:
    dest = cluster.base / "dest"
    child_of(cluster, master, dest, "--follow")
    dest.rename(cluster.base / "elsewhere")
    write(source / "top", b"newer\n")
    master.signal(signal.SIGHUP)
    eventually(lambda: dest.exists() and not differences(source, dest), "the update is in the destination")
    assert (cluster.base / "elsewhere/top").read_bytes() != b"newer\n"


# Few descriptors.


@pytest.mark.parametrize("limit", [8, 20, 64])
@pytest.mark.parametrize("role", ["master", "client"])
def test_few_descriptors_are_one_line_with_the_remedy(cluster: Cluster, source: Path, role: str, limit: int) -> None:
    prefix = ["prlimit", f"--nofile={limit}:{limit}"]
    if role == "master":
        ended = cluster.run("-p", "1", "-w", "2", source, prefix=prefix)
        needed = 100
    else:
        ended = cluster.run("-n", "127.0.0.1:1", ".", cluster.base / "dest", prefix=prefix)
        needed = 128
    why = f"{limit} is too low, {needed} are needed (ulimit -n, or LimitNOFILE)"
    assert (ended.status, line(ended)) == (1, f"limit of open files: {why}")


def test_as_many_descriptors_as_are_asked_for_are_enough(cluster: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "served"
    for number in range(150):
        (source / f"d{number}/e").mkdir(parents=True)
        write(source / f"d{number}/e/file", noise(100_000, number))
    master = cluster.master(source, prefix=["prlimit", "--nofile=100:100"])
    few = ["prlimit", "--nofile=128:128"]
    for name in ("one", "two", "three"):
        client = cluster.client(master, cluster.base / name, options=["--linger", "forever"], prefix=few)
        ended = client.ended()
        assert (ended.status, ended.stderr) == (0, "")
        assert differences(source, cluster.base / name) == []
    master.wait_for_children(3)

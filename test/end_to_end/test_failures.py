"""Processes that die, hang, or are told to end in the midst of it all: what depends on them ends, nothing else."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, ended_by_itself, eventually, status_of, unseen_child
from test.support.plain_client import PlainClient
from test.support.relay import MIB, Relay
from test.support.trees import differences, noise, small_tree, write
from xget_lib.swarm.messages import Registration

SIZE = 24 * MIB


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = small_tree(tmp_path / "served")
    write(root / "large", noise(SIZE, 5))
    return root


def busy_workers(master: Master) -> list[int]:
    return [worker["pid"] for worker in master.status()["workers"] if worker["connections"]]


def register(master: Master, port: int, stack: ExitStack) -> None:
    """Have the master take a port for one of a node that holds everything, for as long as the stack lives."""
    status = master.status()
    client = stack.enter_context(PlainClient(master.port, "swarm"))
    peers = client.open("peers", mode=2)
    client.write(peers, Registration(port, bytes.fromhex(status["generation"]), status["chunks"]).encode())
    eventually(lambda: port in [child["port"] for child in master.children()], "the node is registered")


def test_killed_workers_are_replaced_and_their_clients_finish(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        relay.wait_until_it_holds()
        before = master.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        # Asked for anew each time: the connection that asks may be that of a worker that dies.
        replaced = eventually(lambda: replaced_workers(master, before), "other workers")
        assert len(replaced) == len(before)
        relay.open()
        assert client.ended().status == 0
    assert differences(source, cluster.base / "dest") == []
    assert f"worker {before[0]} ended with status -9" in master.log.read_text()


def test_a_client_that_loses_the_master_before_it_has_the_manifest_goes_on(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    with Relay(master.port, hold_after=3000) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        relay.wait_until_it_holds()
        relay.cut()
        relay.open()
        ended = client.ended()
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []


def replaced_workers(master: Master, before: list[int]) -> list[int]:
    try:
        now = master.workers()
    except OSError:
        return []
    return now if len(now) == len(before) and not set(now) & set(before) else []


def test_a_worker_that_hangs_is_replaced_and_its_clients_finish(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source, "-w", "1")
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        relay.wait_until_it_holds()
        (hung,) = master.workers()
        os.kill(hung, signal.SIGSTOP)
        relay.open()
        assert client.ended(60).status == 0
    assert differences(source, cluster.base / "dest") == []
    assert ended_by_itself(hung)
    assert f"worker {hung} has sent nothing" in master.log.read_text()


def test_a_child_that_is_killed_while_it_gives_does_not_stop_who_takes(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    pid, port = unseen_child(cluster, master, cluster.base / "first")
    with (
        ExitStack() as stack,
        Relay(port, hold_after=2 * MIB) as giving,
        Relay(master.port, hold_after=2 * MIB) as relay,
    ):
        register(master, giving.port, stack)
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        giving.wait_until_it_holds()
        os.kill(pid, signal.SIGKILL)
        assert ended_by_itself(pid)
        giving.close()
        relay.open()
        ended = client.ended()
    assert ended.status == 0
    assert ended.done["peers"] == 1
    assert differences(source, cluster.base / "dest") == []


def test_a_client_that_knows_what_it_wants_gets_it_from_a_child_when_the_master_is_gone(
    cluster: Cluster, source: Path
) -> None:
    master = cluster.master(source)
    _, port = unseen_child(cluster, master, cluster.base / "first")
    with ExitStack() as stack, Relay(port, hold_after=2 * MIB) as giving:
        register(master, giving.port, stack)
        # The master itself gives nothing here: it is silent from the first chunk on.
        relay = stack.enter_context(Relay(master.port, hold_after=20_000))
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        giving.wait_until_it_holds()
        master.signal(signal.SIGKILL)
        master.ended()
        giving.open()
        ended = client.ended()
    assert ended.status == 0
    assert ended.done["from_master"] < MIB
    assert differences(source, cluster.base / "dest") == []


def test_a_killed_master_leaves_no_worker_and_its_children_serve_on(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    assert cluster.client(master, cluster.base / "dest").ended().status == 0
    (child,) = master.wait_for_children(1)
    workers = master.workers()
    before = set(cluster.processes())
    master.signal(signal.SIGKILL)
    master.ended()
    assert [pid for pid in workers if not ended_by_itself(pid)] == []
    # What is left of all processes is the child alone: the nursery is gone too.
    pid = status_of(child["port"])["pid"]
    eventually(lambda: cluster.processes() == [pid], f"of {before} only {pid} is left")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_master_that_is_told_to_end_leaves_nothing(cluster: Cluster, source: Path, number: signal.Signals) -> None:
    pidfile = cluster.base / "master.pid"
    master = cluster.master(source, "--pidfile", str(pidfile))
    assert pidfile.read_text() == f"{master.pid}\n"
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest")
        relay.wait_until_it_holds()
        master.signal(number)
        ended = master.ended()
        assert (ended.status, ended.stdout, ended.stderr) == (0, "", "")
        client.signal(signal.SIGTERM)
        assert client.ended().status == 143
    eventually(lambda: not cluster.processes(), "nothing is left")
    assert not pidfile.exists()


def test_after_a_change_and_sighup_new_clients_get_the_new_generation(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    dest = cluster.base / "dest"
    first = cluster.get(master, dest).done
    write(source / "a" / "new", b"new\n")
    write(source / "top", b"changed, and longer\n")
    os.unlink(source / "a" / "other")
    master.signal(signal.SIGHUP)
    eventually(lambda: master.status()["generation"] != first["generation"], "a new generation")
    second = cluster.get(master, cluster.base / "another")
    assert second.status == 0
    assert second.done["generation"] == master.status()["generation"]
    assert differences(source, cluster.base / "another") == []
    again = cluster.get(master, dest).done
    assert 0 < again["fetched"] < MIB, "what has not changed is not fetched again"
    assert (dest / "a" / "new").read_bytes() == b"new\n"
    assert (dest / "top").read_bytes() == b"changed, and longer\n"


def test_a_change_in_the_midst_of_a_download_ends_with_the_new_content(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    before = master.status()["generation"]
    with Relay(master.port, hold_after=8 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        relay.wait_until_it_holds()
        write(source / "large", noise(SIZE // 2, 5) + noise(SIZE // 2, 6))
        master.signal(signal.SIGHUP)
        eventually(lambda: master.status()["generation"] != before, "a new generation")
        relay.open()
        ended = client.ended()
    assert ended.status == 0
    assert ended.done["generation"] == master.status()["generation"]
    assert differences(source, cluster.base / "dest") == []
    assert ended.done["reused"] > 0, "pieces that are still right are kept"


def test_sigusr1_writes_the_status_to_the_log(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    master.signal(signal.SIGUSR1)
    logged = json.loads(master.logged("status: {").partition("status: ")[2])
    status = master.status()
    assert [logged[name] for name in ("role", "pid", "generation")] == ["master", master.pid, status["generation"]]

"""Peers that send nothing, little or wrong content, and readers that keep what others wait for: nobody is held up.

Each test has the same download without the fault first, and prints both times. A fault costs a deadline and no more.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from test.faults.members import Hostile
from test.support.cluster import Cluster, Ended, Master, Server, eventually, unseen_child
from test.support.plain_client import PlainClient
from test.support.relay import MIB, Relay
from test.support.trees import differences, noise, write
from xget_lib.ninep.messages import Tread
from xget_lib.swarm.messages import Registration

DEADLINE = 20.0
"""Seconds that a fault may cost. Before there were deadlines, most faults here cost 30 s or more, some never ended."""
SLOW = 400_000
"""Bytes a second of a slow link: all content takes 80 s through it."""
TURNS = 40
"""Connections of one host that keep upload slots, as many of them as a connection may have."""
LIES = ("half, then drip", "short", "wrong bytes", "has nothing", "no turn", "silent", "deaf")
"""Of the fault bench."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    write(tmp_path / "served" / "large", noise(32 * MIB, 1))
    write(tmp_path / "served" / "small", noise(1000, 2))
    return tmp_path / "served"


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """Processes that are stopped. They go on when the test ends."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def timed(cluster: Cluster, server: Server, dest: Path) -> tuple[Ended, float]:
    begun = time.monotonic()
    ended = cluster.get(server, dest)
    return ended, time.monotonic() - begun


@pytest.mark.parametrize("lie", LIES)
def test_hostile_peers_cost_a_client_a_deadline_at_most(cluster: Cluster, source: Path, lie: str) -> None:
    master = cluster.master(source)
    _, usual = timed(cluster, master, cluster.base / "first")
    with ExitStack() as stack:
        where = "127.0.0.1", master.port
        peers = [
            stack.enter_context(Hostile(lie, where, source, cluster.base, address=f"127.0.0.{number}"))
            for number in range(2, 6)
        ]
        ended, took = timed(cluster, master, cluster.base / "dest")
    print(f"four peers, {lie}: {took:.1f} s, without them {usual:.1f} s")
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []
    assert any("connected" in peer.printed for peer in peers), "none was asked"
    assert took < 3 * usual + DEADLINE


def test_a_child_that_is_stopped_costs_the_next_client_a_deadline_at_most(
    cluster: Cluster, source: Path, stopped: list[int]
) -> None:
    master = cluster.master(source)
    begun = time.monotonic()
    client = cluster.client(master, cluster.base / "first", options=["--linger", "forever"])
    pid = client.background()
    assert client.ended().status == 0
    usual = time.monotonic() - begun
    master.wait_for_children(1)
    stopped.append(pid)
    os.kill(pid, signal.SIGSTOP)
    ended, took = timed(cluster, master, cluster.base / "dest")
    print(f"stopped child: {took:.1f} s, without it {usual:.1f} s")
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []
    assert took < 3 * usual + DEADLINE


def test_a_child_with_a_slow_link_does_not_keep_the_master_idle(cluster: Cluster, source: Path) -> None:
    """It has everything, and sends each chunk before it is overdue."""
    master = cluster.master(source)
    _, port = unseen_child(cluster, master, cluster.base / "first")
    _, usual = timed(cluster, master, cluster.base / "usual")
    generation = bytes.fromhex(master.status()["generation"])

    def slowly(data: bytes) -> bytes:
        time.sleep(len(data) / SLOW)
        return data

    with Relay(port, alter=slowly) as slow, PlainClient(master.port, "swarm") as registered:
        entry = Registration(slow.port, generation, master.status()["chunks"])
        registered.write(registered.open("peers", mode=2), entry.encode())
        ended, took = timed(cluster, master, cluster.base / "dest")
    print(f"a child with a slow link: {took:.1f} s, without it {usual:.1f} s")
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []
    assert took < 3 * usual + DEADLINE


def test_a_child_that_is_stopped_while_it_sends_does_not_hold_up_the_client(
    cluster: Cluster, source: Path, stopped: list[int]
) -> None:
    master = cluster.master(source)
    pid, port = unseen_child(cluster, master, cluster.base / "first")
    with Relay(port, hold_after=8 * MIB) as slow, Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        name_peer(master, slow.port)
        slow.wait_until_it_holds()
        stopped.append(pid)
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        relay.open()
        ended = client.ended()
        took = time.monotonic() - begun
    print(f"stopped while it sends: {took:.1f} s more")
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []
    assert took < 2 * DEADLINE


def test_a_host_that_keeps_upload_slots_does_not_hold_up_the_readers_of_a_child(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    _, port = unseen_child(cluster, master, cluster.base / "first")
    _, usual = from_child(cluster, master, port, cluster.base / "usual")
    with ExitStack() as stack:
        for _ in range(TURNS):
            greedy = stack.enter_context(PlainClient(port, "swarm", source="127.0.0.2"))
            for turn in [greedy.open("turn", mode=2) for _ in range(16)]:
                greedy.send(Tread(turn, 0, 32))
        ended, took = from_child(cluster, master, port, cluster.base / "dest")
    print(f"{TURNS} connections that keep upload slots: {took:.1f} s, without them {usual:.1f} s")
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []
    assert took < 3 * usual + DEADLINE


def name_peer(master: Master, port: int) -> None:
    """Register a peer that holds everything with the one client that downloads."""
    (child,) = eventually(master.children, "the client is registered")
    generation = bytes.fromhex(master.status()["generation"])
    with PlainClient(child["port"], "swarm") as client:
        client.write(client.open("peers", mode=2), Registration(port, generation, 0).encode())


def from_child(cluster: Cluster, master: Master, port: int, dest: Path) -> tuple[Ended, float]:
    """A client that gets next to nothing from its master, and the rest from a child. How it ended, and in how long."""
    begun = time.monotonic()
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, dest, options=["--linger", "0"])
        name_peer(master, port)
        ended = client.ended(6 * DEADLINE)
    eventually(lambda: not master.children(), "the master still knows the client")
    assert ended.done["from_master"] <= 2 * MIB
    return ended, time.monotonic() - begun

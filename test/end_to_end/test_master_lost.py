"""A master that is killed in the midst of a download, and started again or not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, Running, eventually
from test.support.processes import PATIENCE, Watched
from test.support.relay import Relay
from test.support.trees import differences, noise, write

SIZE = 24_000_000
RATE = 4_000_000
"""Bytes a second that the master sends: slow enough to kill somebody in the midst."""
SETTLED = 2.1  # seconds after a change from which the digest of a file is kept


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "served"
    root.mkdir()
    for number in range(100):
        write(root / f"small{number}", noise(SIZE // 200, number))
    write(root / "large", noise(SIZE // 2, 100))
    return root


def throttled(rate: float) -> Callable[[bytes], bytes]:
    """Passes data on at a rate, on all connections together."""
    lock = threading.Lock()

    def passed(data: bytes) -> bytes:
        with lock:
            time.sleep(len(data) / rate)
        return data

    return passed


def sends(master: Master, copies: float) -> None:
    """Wait until a master has sent so many copies."""
    eventually(lambda: master.status()["sent"] >= copies * SIZE, f"{copies} copies are sent", 120)


def kill(pid: int) -> None:
    watched = Watched(pid)
    watched.signal(signal.SIGKILL)
    assert watched.ends()
    watched.dispose()


def has_ended(client: Running) -> bool:
    return client.process.poll() is not None


def all_exact(cluster: Cluster, source: Path, clients: dict[str, Running]) -> None:
    for name, client in clients.items():
        ended = client.ended(6 * PATIENCE)
        assert ended.status == 0, (name, ended.stderr)
        assert differences(source, cluster.base / name) == []


def test_a_master_that_is_killed_and_started_again_gets_its_nodes_back_and_they_go_on(
    cluster: Cluster, source: Path
) -> None:
    cache = cluster.base / "cache"
    newest = max(path.stat().st_ctime for path in source.rglob("*"))
    eventually(lambda: time.time() > newest + SETTLED, "the files are old enough")
    options = ["--cache", str(cache)]
    master = cluster.master(source, *options)
    eventually(lambda: [file for file in cache.glob("*") if file.suffix != ".new"], "the digests are kept")
    with Relay(master.port, alter=throttled(RATE)) as relay:
        names = [f"node{number}" for number in range(5)]
        clients = {name: cluster.client(relay, cluster.base / name) for name in names}
        sends(master, 0.4)
        kill(master.pid)
        master.ended()
        (cluster.base / f"master{master.port}.log").rename(cluster.base / "first.log")
        again = cluster.master(source, *options, port=master.port)
        assert ", 0 pieces hashed" in again.log.read_text()
        all_exact(cluster, source, clients)
        again.wait_for_children(len(clients))
    assert "done, after" in again.log.read_text()


def test_all_survivors_are_exact_when_a_quarter_is_killed_and_then_the_master_for_good(
    cluster: Cluster, source: Path
) -> None:
    master = cluster.master(source)
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(master.port, alter=throttled(RATE)))
        names = [f"node{number:02}" for number in range(16)]
        clients = {name: cluster.client(relay, cluster.base / name) for name in names}
        sends(master, 0.5)
        for name in names[::4]:
            client = clients.pop(name)
            background = client.background()
            os.kill(client.pid, signal.SIGKILL)
            kill(background)
        # If 1.2 copies are more than they need, the first that ends shows that the survivors have everything.
        eventually(
            lambda: master.status()["sent"] >= 1.2 * SIZE or any(map(has_ended, clients.values())),
            "enough is sent",
            120,
        )
        relay.close()
        kill(master.pid)
        ended = [name for name, client in clients.items() if has_ended(client)]
        print(f"{len(ended)} of {len(clients)} had ended when the master was killed")
        all_exact(cluster, source, clients)


OUTAGE = 9.0


def test_an_interruption_of_the_masters_link_costs_about_as_long_as_it_took(cluster: Cluster, source: Path) -> None:
    """Every node rested for eight times as long, up to a hundred seconds."""
    master = cluster.master(source)
    took = {}
    for name, outage in (("without", 0.0), ("with", OUTAGE)):
        with Relay(master.port, alter=throttled(RATE)) as relay:
            sent, begun = master.status()["sent"] / SIZE, time.monotonic()
            names = [f"{name}{number}" for number in range(4)]
            clients = {each: cluster.client(relay, cluster.base / each, options=["--linger", "0"]) for each in names}
            if outage:
                sends(master, sent + 0.5)
                relay.hold()
                time.sleep(outage)  # the interruption is the fault itself
                relay.open()
            all_exact(cluster, source, clients)
            took[name] = time.monotonic() - begun
    print(f"{took['with']:.1f} s with an interruption of {OUTAGE:.0f} s, {took['without']:.1f} s without")
    assert took["with"] < 2 * took["without"] + OUTAGE + 20

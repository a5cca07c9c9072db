"""A download that is ended in the midst, in every way there is, and begun again: nothing right is fetched twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, Master, Running, ended_by_itself
from test.support.relay import MIB, Relay
from test.support.trees import differences, noise, small_tree, write

SIZE = 24 * MIB


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = small_tree(tmp_path / "served")
    write(root / "large", noise(SIZE, 3))
    return root


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


@pytest.fixture
def slow(master: Master) -> Iterator[Relay]:
    """The master, which falls silent when a client has some megabytes."""
    with Relay(master.port, hold_after=6 * MIB) as relay:
        yield relay


def half_done(cluster: Cluster, slow: Relay, dest: Path) -> Running:
    """A client that has some of its content on disk and waits for more."""
    client = cluster.client(slow, dest)
    slow.wait_until_it_holds()
    assert 0 < client.progressed() < SIZE
    return client


def goes_on(cluster: Cluster, master: Master, dest: Path, source: Path) -> Ended:
    """The second run ends right and fetches less than all."""
    again = cluster.get(master, dest)
    assert (again.status, again.stderr) == (0, "")
    assert again.done["reused"] >= MIB
    assert again.done["fetched"] <= again.done["bytes"] - again.done["reused"] + MIB
    assert differences(source, dest) == []
    assert not (dest / ".xget").exists()
    return again


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_interrupts_with_its_status_and_what_was_verified_is_kept(
    cluster: Cluster, master: Master, slow: Relay, source: Path, number: signal.Signals, status: int
) -> None:
    dest = cluster.base / "dest"
    client = half_done(cluster, slow, dest)
    background = client.background()
    client.signal(number)
    ended = client.ended()
    assert ended.status == ended.done["exit"] == status
    assert ended.stderr == "xget: interrupted (verified data is kept for the next run)\n"
    assert ended_by_itself(background)
    assert not (dest / "large").exists(), "a file under its final name is whole"
    goes_on(cluster, master, dest, source)


def interrupt_twice(client: Running) -> None:
    """Two signals at once: of two that are the same, and wait, the kernel or Python may make one."""
    client.signal(signal.SIGINT)
    client.signal(signal.SIGTERM)


def test_a_second_signal_ends_at_once(cluster: Cluster, slow: Relay) -> None:
    client = half_done(cluster, slow, cluster.base / "dest")
    background = client.background()
    os.kill(background, signal.SIGSTOP)  # it cannot obey
    interrupt_twice(client)
    assert client.ended().status == 130
    assert ended_by_itself(background)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_killed_foreground_takes_the_background_with_it_and_the_next_run_goes_on(
    cluster: Cluster, master: Master, slow: Relay, source: Path, hangs: bool
) -> None:
    dest = cluster.base / "dest"
    client = half_done(cluster, slow, dest)
    background = client.background()
    if hangs:
        os.kill(background, signal.SIGSTOP)
    client.signal(signal.SIGKILL)
    assert client.ended().status == -signal.SIGKILL
    assert ended_by_itself(background)
    goes_on(cluster, master, dest, source)


def test_a_killed_background_is_said_and_the_next_run_goes_on(
    cluster: Cluster, master: Master, slow: Relay, source: Path
) -> None:
    dest = cluster.base / "dest"
    client = half_done(cluster, slow, dest)
    os.kill(client.background(), signal.SIGKILL)
    ended = client.ended()
    assert ended.status == 1
    assert ended.stderr == "xget: download process: killed by SIGKILL (run the command again to continue)\n"
    goes_on(cluster, master, dest, source)


@pytest.mark.parametrize("end", ["background killed", "second signal"])
def test_done_is_the_last_event_however_a_run_ends(cluster: Cluster, master: Master, slow: Relay, end: str) -> None:
    dest = cluster.base / "dest"
    client = half_done(cluster, slow, dest)
    os.kill(client.background(), signal.SIGKILL if end == "background killed" else signal.SIGSTOP)
    if end == "second signal":
        interrupt_twice(client)
    ended = client.ended()
    assert ended.done["exit"] == ended.status != 0


def test_done_is_the_last_event_when_the_log_cannot_be_written(cluster: Cluster, master: Master) -> None:
    ended = cluster.get(master, cluster.base / "dest", options=["--log", "/nowhere/log"])
    assert ended.done["exit"] == ended.status == 1


def test_a_second_run_at_the_same_time_is_refused_and_the_first_goes_on(
    cluster: Cluster, master: Master, slow: Relay, source: Path
) -> None:
    dest = cluster.base / "dest"
    client = half_done(cluster, slow, dest)
    refused = cluster.get(master, dest)
    assert refused.status == 6
    assert refused.stderr == f"xget: {dest}: in use by another xget (wait for it to end)\n"
    slow.open()
    assert client.ended().status == 0
    assert differences(source, dest) == []


def test_a_client_that_lost_its_master_for_a_while_goes_on(
    cluster: Cluster, master: Master, slow: Relay, source: Path
) -> None:
    """Killed and started again with the same directory: the same generation, so nothing is fetched twice."""
    dest = cluster.base / "dest"
    client = half_done(cluster, slow, dest)
    master.signal(signal.SIGKILL)
    master.ended()
    slow.open()
    cluster.master(source, port=master.port)
    ended = client.ended()
    assert ended.status == 0
    assert ended.done["fetched"] < ended.done["bytes"] + 2 * MIB
    assert differences(source, dest) == []

"""The served directory goes away: no worker crashes, nobody asks without a pause, and the master says why."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from test.support.cluster import Cluster, eventually
from test.support.plain_client import PlainClient
from test.support.trees import differences, noise
from xget_lib.errors import NinepError
from xget_lib.ninep.messages import ORDWR


@pytest.fixture
def source(cluster: Cluster) -> Path:
    made = cluster.base / "source"
    made.mkdir()
    for number in range(20):
        (made / f"file{number}").write_bytes(noise(100_000, number))
    return made


def rename(source: Path) -> None:
    source.rename(source.parent / "elsewhere")


@pytest.mark.parametrize("lose", [shutil.rmtree, rename])
def test_workers_that_start_afterwards_live_and_the_status_says_what_is_wrong(
    cluster: Cluster, source: Path, lose: Callable[[Path], None]
) -> None:
    master = cluster.master(source)
    lose(source)
    before = master.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    def replaced() -> bool:
        with suppress(OSError):  # the worker that answers is killed
            return len(set(master.workers()) - set(before)) == 2
        return False

    eventually(replaced, "new workers")
    after = set(master.workers())
    with PlainClient(master.port, "swarm") as client:
        client.read(client.open("peers", mode=ORDWR), 0)  # makes it scan
        eventually(lambda: "No such file or directory" in (master.status()["problem"] or ""), "the status says why")
        if lose is rename:
            assert client.read(client.open("data"), 0)
        else:
            with pytest.raises(NinepError):
                client.read(client.open("data"), 0)
    assert set(master.workers()) == after
    log = master.log.read_text()
    assert "cannot publish what is in the directory now" in log
    assert log.count("ended with") <= 2


def test_a_node_that_cannot_read_what_it_is_offered_is_offered_it_ever_more_seldom(
    cluster: Cluster, source: Path
) -> None:
    master = cluster.master(source)
    shutil.rmtree(source)
    offered = master.status()["offered"]
    begun = time.monotonic()
    with PlainClient(master.port, "swarm") as client:
        offer = client.open("offer", mode=ORDWR)
        data, asked = client.open("data"), 0
        while time.monotonic() < begun + 5:
            client.read(offer, 0)
            asked += 1
            with pytest.raises(NinepError):
                client.read(data, 0)
            client.write(offer, b"\xff" * 100)
    chunks = master.status()["chunks"]
    assert asked <= 6 * chunks, "each once, and again after half a second, one, two ..."
    assert master.status()["offered"] - offered <= asked + 1


def test_a_directory_that_comes_back_is_served_again(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    elsewhere = source.parent / "elsewhere"
    source.rename(elsewhere)
    with PlainClient(master.port, "swarm") as client:
        client.read(client.open("peers", mode=ORDWR), 0)
    eventually(lambda: master.status()["problem"], "the status says why")
    elsewhere.rename(source)
    eventually(lambda: master.status()["problem"] is None, "the problem is over")
    assert cluster.get(master, cluster.base / "dest").status == 0
    assert differences(source, cluster.base / "dest") == []

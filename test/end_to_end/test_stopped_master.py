"""A master that is stopped for a while (a hung host, a suspended machine) and goes on: nothing is killed."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from test.support.cluster import Cluster, eventually
from test.support.processes import Watched
from test.support.trees import differences, small_tree
from xget_lib.errors import NinepError

PAUSE = 20.0
"""Seconds: longer than a worker or a master may be silent."""


@pytest.mark.parametrize("who", ["all", "workers"])
def test_workers_outlive_a_pause_of_the_whole_machine_and_a_short_one_of_their_own(
    cluster: Cluster, tmp_path: Path, who: str
) -> None:
    source = small_tree(tmp_path / "source")
    master = cluster.master(source)
    before = master.workers()
    stopped = [Watched(pid) for pid in (cluster.processes() if who == "all" else before)]
    # A worker alone may be silent for 16 seconds.
    pause = PAUSE if who == "all" else 5.0
    try:
        for each in stopped:
            each.signal(signal.SIGSTOP)
        time.sleep(pause)  # the pause is the fault itself
    finally:
        for each in stopped:
            each.signal(signal.SIGCONT)
    assert cluster.get(master, cluster.base / "dest").status == 0
    time.sleep(3.0)  # more than the master takes to look for silent workers again
    assert master.workers() == before
    assert differences(source, cluster.base / "dest") == []
    assert "killing it" not in master.log.read_text()
    assert not [line for line in master.log.read_text().splitlines() if "ended with" in line]
    for each in stopped:
        each.dispose()


def test_a_worker_that_is_stopped_holds_up_nobody_whom_another_one_can_serve(cluster: Cluster, tmp_path: Path) -> None:
    source = small_tree(tmp_path / "source")
    master = cluster.master(source)
    stopped = Watched(master.workers()[0])
    stopped.signal(signal.SIGSTOP)
    dests = [cluster.base / f"dest{number}" for number in range(4)]
    clients = [cluster.client(master, dest, options=["--linger", "0", "--timeout", "6"]) for dest in dests]
    ends = [client.ended() for client in clients]
    stopped.dispose()
    assert [(end.status, end.stderr) for end in ends] == [(0, "")] * 4
    assert all(differences(source, dest) == [] for dest in dests)


def test_a_master_whose_nursery_is_stopped_goes_on_while_it_has_a_worker_and_ends_when_it_has_none(
    cluster: Cluster, tmp_path: Path
) -> None:
    source = small_tree(tmp_path / "source")
    master = cluster.master(source)
    nursery = Watched(int(Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text()))
    nursery.signal(signal.SIGSTOP)
    os.kill(master.workers()[0], signal.SIGKILL)
    silent = f"process {nursery.pid}, which starts workers, has not answered for "

    def problem() -> str | None:
        with suppress(OSError, NinepError):  # the worker is dying
            return master.status()["nursery_problem"] or None
        return None

    assert silent in (eventually(problem, "the status says nothing") or "")
    assert cluster.get(master, cluster.base / "dest").status == 0
    assert differences(source, cluster.base / "dest") == []
    nursery.signal(signal.SIGCONT)
    eventually(lambda: len(master.workers()) == 2, "the worker is not replaced")
    assert master.status()["nursery_problem"] is None

    nursery.signal(signal.SIGSTOP)
    for pid in master.workers():
        os.kill(pid, signal.SIGKILL)
    ended = master.ended()
    why = "the process that starts workers does not answer (start the master again)"
    assert (ended.status, ended.stderr) == (1, f"xget: nursery: {why}\n")
    assert silent in master.logged("no worker answers either: killing it")
    assert nursery.ends()
    nursery.dispose()
    assert cluster.processes() == []


def test_a_master_whose_nursery_is_stopped_ends_when_it_is_told_to(cluster: Cluster, tmp_path: Path) -> None:
    master = cluster.master(small_tree(tmp_path / "source"))
    nursery = Watched(int(Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text()))
    nursery.signal(signal.SIGSTOP)
    master.signal(signal.SIGTERM)
    assert master.ended().status == 0
    assert nursery.ends()
    nursery.dispose()
    eventually(lambda: cluster.processes() == [], "a worker is left")


def test_commands_say_what_they_wait_for_and_end_when_a_master_is_stopped(cluster: Cluster, tmp_path: Path) -> None:
    master = cluster.master(small_tree(tmp_path / "source"))
    stopped = [Watched(pid) for pid in cluster.processes()]
    for each in stopped:
        each.signal(signal.SIGSTOP)
    where = ["-p", str(master.port), "--timeout", "7"]
    reload, status, quiet = (
        cluster.start(*words, *where) for words in (["reload"], ["status", "-n", "127.0.0.1"], ["reload", "-q"])
    )
    ends = [each.ended() for each in (reload, status, quiet)]
    for each in stopped:
        each.signal(signal.SIGCONT)
        each.dispose()
    assert [end.status for end in ends] == [3, 3, 3]
    waits, failed = ends[0].stderr.splitlines()
    what = f"xget: waiting for the end of the scan from the master of port {master.port}"
    assert re.fullmatch(
        rf"{what} for [5-7] s \(since [\d:]+\): no answer; giving up after 7 s without a sign of it", waits
    )
    assert failed.startswith(f"xget: cannot reach the master at localhost port {master.port}: no answer, tried for ")
    waits, failed = ends[1].stderr.splitlines()
    assert waits.startswith(f"xget: waiting for its status from 127.0.0.1 port {master.port} for ")
    assert failed.startswith("xget: cannot reach the master at 127.0.0.1 port ")
    assert ends[2].stderr.count("\n") == 1

"""The master's loop: an event that breaks the protocol costs the worker that caused it, and nothing else."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import cast

import gevent
import pytest

from test.support.network import PATIENCE
from test.support.nodes import configured
from xget_lib import ipc
from xget_lib.master import events
from xget_lib.master.master import Master
from xget_lib.master.tracker_io import TrackerIO
from xget_lib.master.worker_process import WorkerProcess
from xget_lib.net.listen import listen
from xget_lib.ninep.auth import Credentials
from xget_lib.process.channel import pair
from xget_lib.process.nursery import Nursery


class FakeNursery:
    """`killed` are the processes that the master wants killed, each with the signal."""

    def __init__(self) -> None:
        self.channel = self  # so that the pool can set its waiting functions
        self.killed: list[tuple[int, int]] = []

    def kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))


def test_a_worker_that_sends_what_no_worker_may_send_is_killed_and_the_loop_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nursery = FakeNursery()
    ours, theirs = pair()
    with listen("127.0.0.1", 0) as listening:
        master = Master(configured(0), bytes(tmp_path), listening, cast(Nursery, nursery), Credentials())
        master._events.put(events.Received(WorkerProcess(4711, ours), ipc.Ping()))
        master._events.put(events.SignalReceived(signal.SIGTERM))
        assert master._act_on_events() is None
    assert nursery.killed == [(4711, signal.SIGKILL)]
    assert "worker 4711: protocol error; killing it: unexpected message Ping from a worker" in caplog.messages
    ours.close()
    theirs.close()


def test_a_master_whose_decisions_end_with_an_error_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would accept clients, and none would ever be told or granted anything."""
    monkeypatch.setattr(TrackerIO, "tick", lambda tracker: 1 / 0)
    with listen("127.0.0.1", 0) as listening, gevent.Timeout(PATIENCE, AssertionError("it goes on")):
        nursery = cast(Nursery, FakeNursery())
        master = Master(configured(0), bytes(tmp_path), listening, nursery, Credentials())
        master._depend_on([master._tracker.running])
        master._tracker.published(bytes(32), 100, 1)
        error = master._act_on_events()
    assert "internal error: ZeroDivisionError" in str(error)

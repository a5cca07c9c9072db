"""The master's loop: an event that breaks the protocol costs the worker that caused it, and nothing else."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import cast

import pytest

from test.support.nodes import configured
from xget_lib import ipc
from xget_lib.master import events
from xget_lib.master.master import Master
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

"""The pool of workers, with channels whose other ends are in the test: who gets what, and what a death costs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from itertools import count
from typing import Any, cast

import gevent
import pytest
from gevent.queue import Queue

from test.support.descriptors import open_descriptors
from test.support.processes import PATIENCE
from xget_lib import ipc
from xget_lib.errors import Failed, ProtocolViolation
from xget_lib.ipc.jobs import HashPieces, Saved, Scanned
from xget_lib.master import events, nursery_watch, worker_restarts, workers
from xget_lib.master.worker_process import WorkerProcess
from xget_lib.master.workers import WorkerPool
from xget_lib.net.blocking import wait_readable, wait_writable
from xget_lib.process.channel import Channel, pair
from xget_lib.process.nursery import Exited, Nursery, Pong, Report, Spawned


class FakeNursery:
    """Makes channels instead of processes. `ends` are the workers' ends, by pid."""

    def __init__(self) -> None:
        self.channel = self  # so that the pool can set its waiting functions
        self.ends: dict[int, Channel] = {}
        self.killed: list[tuple[int, int]] = []
        self.pid = 1000
        self.stopped = False
        self.pings = 0
        self._reports: Queue[Report | None] = Queue()
        self._pids = count(1001)

    def ping(self) -> None:
        self.pings += 1
        if not self.stopped:
            self._reports.put(Pong())

    def goes_on(self) -> None:
        self.stopped = False
        self._reports.put(Pong())

    def end_hung(self) -> None:
        self.killed.append((self.pid, signal.SIGKILL))
        self.ends_itself()

    def spawn(self, number: int) -> None:
        if self.stopped:
            return
        ours, theirs = pair()
        theirs.wait_readable, theirs.wait_writable = wait_readable, wait_writable
        pid = next(self._pids)
        self.ends[pid] = theirs
        self._reports.put(Spawned(number, pid, ours))

    def kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))
        if not self.stopped:
            self.dies(pid, -number)

    def dies(self, pid: int, status: int) -> None:
        self.ends[pid].close()
        if not self.stopped:
            self._reports.put(Exited(pid, 0, status))

    def report(self) -> Report | None:
        return self._reports.get()

    def ends_itself(self) -> None:
        self._reports.put(None)


class Pool:
    """A pool of so many workers, and what it puts into the queue of events."""

    def __init__(self, size: int) -> None:
        self.nursery = FakeNursery()
        self.events: Queue[events.Event] = Queue()
        self.pool = WorkerPool(cast(Nursery, self.nursery), size, self.events)
        self.pool.start()
        for _ in range(size):
            self.event(events.WorkerStarted)
        self.workers = self.pool.workers

    def event(self, kind: type[Any]) -> Any:
        event = self.events.get(timeout=PATIENCE)
        assert isinstance(event, kind), event
        return event

    def started(self) -> WorkerProcess:
        """The worker that starts next."""
        self.event(events.WorkerStarted)
        return self.pool.workers[-1]

    def receive(self, pid: int) -> ipc.Message:
        """What a worker is sent next; its descriptors are closed."""
        received = self.nursery.ends[pid].receive()
        assert received is not None
        for descriptor in received[1]:
            os.close(descriptor)
        return ipc.unpack(received[0])

    def send(self, pid: int, message: ipc.Message, *descriptors: int) -> None:
        self.nursery.ends[pid].send(ipc.pack(message), descriptors)

    def adopt(self, host: str = "10.0.0.1") -> int:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            return self.pool.adopt(theirs, host, 40000)

    def work(self) -> gevent.Greenlet[..., Any]:
        return gevent.spawn(self.pool.work, "snapshot", HashPieces(0, 1), Saved)


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that a pool spawned ends with the test: it would find its workers silent during later tests."""
    monkeypatch.setattr(worker_restarts, "_FIRST_PAUSE", 0.0)
    spawned: list[gevent.Greenlet[..., Any]] = []
    spawn = gevent.spawn

    def recorded(*call: Any) -> gevent.Greenlet[..., Any]:
        spawned.append(spawn(*call))
        return spawned[-1]

    monkeypatch.setattr(gevent, "spawn", recorded)
    with gevent.Timeout(PATIENCE, AssertionError("the test hangs")):
        yield
    gevent.killall(spawned)


def test_a_connection_goes_to_the_worker_that_has_fewest() -> None:
    pool = Pool(2)
    first, second = (worker.pid for worker in pool.workers)
    for pid, number in ((first, 1), (second, 2)):
        assert pool.adopt() == number
        assert pool.receive(pid) == ipc.Adopt(number, "10.0.0.1", 40000)
    pool.send(second, ipc.ConnectionClosed(2))
    assert pool.event(events.ConnectionEnded) == events.ConnectionEnded(2)
    assert pool.adopt() == 3
    assert pool.receive(second) == ipc.Adopt(3, "10.0.0.1", 40000)


def test_the_connections_of_a_host_go_to_two_workers() -> None:
    """What a worker gives to each host, a host could otherwise have from all of them."""
    pool = Pool(4)
    for _ in range(10):
        pool.adopt()
    assert sorted(len(worker.connections) for worker in pool.workers) == [0, 0, 5, 5]
    pool.adopt("10.0.0.2")
    pool.adopt("10.0.0.2")
    assert sorted(len(worker.connections) for worker in pool.workers) == [1, 1, 5, 5]
    for worker in pool.workers:
        if "10.0.0.1" in worker.hosts:
            worker.pings = 2  # it is stopped
    pool.adopt()
    assert sorted(len(worker.connections) for worker in pool.workers) == [1, 2, 5, 5]


def test_a_host_with_two_workers_gets_no_third_while_one_of_them_is_busy() -> None:
    pool = Pool(3)
    for _ in range(2):
        pool.adopt()
    busy, other, third = pool.workers
    while not busy.outbox.waits:
        pool.pool.send_to(1, ipc.Grant(1, 0, 5))
    for _ in range(3):
        pool.adopt()
    assert [len(worker.connections) for worker in (busy, other, third)] == [1, 4, 0]
    while not other.outbox.waits:
        pool.pool.send_to(2, ipc.Grant(2, 0, 5))
    pool.adopt()
    assert [len(worker.connections) for worker in (busy, other, third)] == [1, 4, 1]


def test_a_host_whose_connections_have_ended_may_have_any_worker() -> None:
    pool = Pool(3)
    first, second, third = pool.workers
    for _ in range(2):
        pool.adopt()
    pool.send(first.pid, ipc.ConnectionClosed(1))
    pool.event(events.ConnectionEnded)
    assert not first.hosts
    pool.adopt("10.0.0.2")
    pool.adopt()
    assert [len(worker.connections) for worker in (first, second, third)] == [1, 1, 1]


def test_messages_for_a_connection_reach_its_worker_until_it_has_ended() -> None:
    pool = Pool(1)
    (pid,) = (worker.pid for worker in pool.workers)
    pool.adopt()
    pool.receive(pid)
    pool.pool.send_to(1, ipc.Grant(1, 0, 5))
    pool.pool.send_to(99, ipc.Grant(99, 0, 5))
    assert pool.receive(pid) == ipc.Grant(1, 0, 5)
    pool.send(pid, ipc.SlotAsked(1, 0, 0.0))
    assert pool.event(events.Received).message == ipc.SlotAsked(1, 0, 0.0)


def test_a_worker_that_dies_costs_its_connections_and_is_replaced() -> None:
    pool = Pool(1)
    (worker,) = pool.workers
    pool.adopt()
    pool.send(worker.pid, ipc.Pong(1, 1000))
    pool.pool.refresh(PATIENCE)
    pool.nursery.dies(worker.pid, 1)
    assert pool.event(events.ConnectionEnded) == events.ConnectionEnded(1)
    assert pool.started().pid != worker.pid
    assert pool.pool.sent == 1000


def test_nothing_is_sent_to_a_worker_that_has_ended() -> None:
    pool = Pool(1)
    (worker,) = pool.workers
    pool.nursery.dies(worker.pid, 1)
    pool.started()
    assert not pool.pool.send(worker, ipc.Ping())


def test_a_new_worker_knows_what_it_serves_before_it_gets_a_connection() -> None:
    pool = Pool(1)
    (worker,) = pool.workers
    with open("/dev/null", "rb") as null:
        pool.pool.serve(ipc.Serve(b"/srv", b""), [null.fileno()] * 3)
        assert pool.receive(worker.pid) == ipc.Serve(b"/srv", b"")
        pool.nursery.dies(worker.pid, 1)
        new = pool.started().pid
        pool.adopt()
        assert [type(pool.receive(new)) for _ in range(2)] == [ipc.Serve, ipc.Adopt]


def test_a_new_worker_has_the_keys_before_it_gets_a_connection() -> None:
    """The nursery, from which it is forked, has none, or those of before."""
    pool = Pool(1)
    (worker,) = pool.workers
    pool.pool.set_keys([b"the first key"])
    pool.pool.set_keys([b"the second key"])
    assert [pool.receive(worker.pid) for _ in range(2)] == [
        ipc.Keys((b"the first key",)),
        ipc.Keys((b"the second key",)),
    ]
    pool.nursery.dies(worker.pid, 1)
    new = pool.started().pid
    pool.adopt()
    assert pool.receive(new) == ipc.Keys((b"the second key",))
    assert isinstance(pool.receive(new), ipc.Adopt)


@pytest.mark.parametrize("packet", [("Ask", 1, "one"), ("Nonsense",), ("Done", 1, ("Scanned", 1, 2, b""))])
def test_a_worker_that_breaks_the_protocol_is_killed(packet: tuple[Any, ...]) -> None:
    pool = Pool(1)
    (worker,) = pool.workers
    pool.nursery.ends[worker.pid].send(packet)
    pool.event(events.WorkerStarted)
    assert pool.nursery.killed == [(worker.pid, signal.SIGKILL)]


def test_a_worker_whose_message_the_master_does_not_expect_is_killed_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = Pool(1)
    (worker,) = pool.workers
    pool.pool.protocol_error(worker, ProtocolViolation("unexpected message Ping from a worker"))
    pool.event(events.WorkerStarted)
    assert pool.nursery.killed == [(worker.pid, signal.SIGKILL)]
    expected = f"worker {worker.pid}: protocol error; killing it: unexpected message Ping from a worker"
    assert expected in caplog.messages


def test_a_job_that_fails_says_why() -> None:
    pool = Pool(1)
    (pid,) = (worker.pid for worker in pool.workers)
    working = pool.work()
    assert pool.receive(pid) == ipc.Job(1, HashPieces(0, 1))
    pool.send(pid, ipc.JobFailed(1, "no such file"))
    with pytest.raises(Failed, match="snapshot: no such file"):
        working.get()


def test_a_job_whose_worker_dies_is_given_to_another() -> None:
    pool = Pool(2)
    first, second = (worker.pid for worker in pool.workers)
    working = pool.work()
    pool.receive(first)
    pool.nursery.ends[first].close()
    job = pool.receive(second)
    assert isinstance(job, ipc.Job)
    pool.send(second, ipc.Done(job.number, Saved()))
    assert working.get() == (Saved(), [])


def test_a_job_whose_worker_does_not_answer_is_given_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(2)
    monkeypatch.setattr(workers, "_PING_EVERY", 0.02)
    first, second = pool.workers
    working = pool.work()
    pool.receive(first.pid)
    first.pings = 2  # it is stopped
    job = pool.receive(second.pid)
    assert isinstance(job, ipc.Job)
    assert not first.jobs
    pool.send(second.pid, ipc.Done(job.number, Saved()))
    assert working.get() == (Saved(), [])


def test_a_worker_that_does_not_answer_gets_connections_and_jobs_last() -> None:
    pool = Pool(2)
    first, second = pool.workers
    first.pings = 2
    for _ in range(3):
        pool.adopt()
    assert (len(first.connections), len(second.connections)) == (0, 3)
    second.pings = 2
    pool.adopt()
    assert len(first.connections) == 1


def test_a_worker_that_takes_no_messages_holds_up_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """It is stopped, and its channel is full. The loop that grants chunks to all nodes waited for it, and died with
    it: nobody was granted anything any more."""
    pool = Pool(2)
    stopped, other = pool.workers
    for _ in range(2):
        pool.adopt()
    while not stopped.outbox.waits:
        pool.pool.send_to(1, ipc.Grant(1, 0, 5))
    pool.pool.send_to(1, ipc.Grant(1, 0, 6))
    pool.pool.send_to(2, ipc.Grant(2, 0, 7))
    assert [pool.receive(other.pid) for _ in range(2)] == [ipc.Adopt(2, "10.0.0.1", 40000), ipc.Grant(2, 0, 7)]
    assert pool.adopt("10.0.0.2") == 3
    assert pool.receive(other.pid) == ipc.Adopt(3, "10.0.0.2", 40000)
    waiting = [gevent.spawn(pool.pool.send_to, 1, ipc.Grant(1, 0, 8)) for _ in range(3)]
    pool.nursery.dies(stopped.pid, -9)
    pool.event(events.ConnectionEnded)
    assert all(each.ready() and each.successful() for each in waiting)
    pool.started()
    assert not stopped.outbox.waits
    assert not [record for record in caplog.records if record.exc_info]


def test_a_job_that_kills_workers_fails_in_the_end() -> None:
    pool = Pool(4)
    working = pool.work()
    for worker in pool.workers[:3]:
        pool.receive(worker.pid)
        pool.nursery.ends[worker.pid].close()
    with pytest.raises(Failed, match="3 workers died or hung during HashPieces"):
        working.get()


def test_a_result_of_another_kind_is_a_violation_and_its_descriptors_are_closed() -> None:
    pool = Pool(1)
    (pid,) = (worker.pid for worker in pool.workers)
    working = pool.work()
    pool.receive(pid)
    gevent.sleep(0)
    before = len(open_descriptors())
    with open("/dev/null", "rb") as null:
        pool.send(pid, ipc.Done(1, Scanned(1, 2, b"", False, b"", 0)), null.fileno())
    with pytest.raises(ProtocolViolation, match="HashPieces was answered with Scanned"):
        working.get()
    assert len(open_descriptors()) == before


def test_a_nursery_that_ends_is_the_end_of_the_master_unless_it_is_ending() -> None:
    pool = Pool(1)
    pool.nursery.ends_itself()
    assert "nursery" in str(pool.event(events.CannotGoOn).error)
    stopped = Pool(1)
    stopping = gevent.spawn(stopped.pool.stop, 2 * PATIENCE)
    assert stopped.receive(stopped.workers[0].pid) == ipc.Stop()
    stopped.nursery.dies(stopped.workers[0].pid, 0)
    stopped.nursery.ends_itself()
    stopping.get(timeout=PATIENCE)
    gevent.sleep(0)
    assert stopped.events.empty()


def test_a_nursery_that_is_stopped_is_the_end_of_a_master_without_workers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_PING_EVERY", 0.02)
    pool = Pool(2)
    pool.nursery.stopped = True
    for worker in pool.workers:
        pool.nursery.dies(worker.pid, -9)
    assert "starts workers does not answer (start the master again)" in str(pool.event(events.CannotGoOn).error)
    assert pool.nursery.killed == [(1000, signal.SIGKILL)]
    said = "process 1000, which starts workers, has not answered for 0 s (is it stopped?)"
    assert [line for line in caplog.messages if said in line] == [
        f"{said}; workers that end are not replaced meanwhile",
        f"{said}; no worker answers either: killing it",
    ]


def test_a_master_with_a_worker_goes_on_without_its_nursery_until_that_answers_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_PING_EVERY", 0.02)
    pool = Pool(1)
    (worker,) = pool.workers
    pool.nursery.stopped = True
    sent, ticks = pool.nursery.pings, 0
    while ticks < 3 * nursery_watch._SILENT:
        ticks += isinstance(pool.receive(worker.pid), ipc.Ping)
        pool.send(worker.pid, ipc.Pong(0, 0))
    assert pool.nursery.pings <= sent + 1, "its channel fills up"
    assert pool.pool.problem and "process 1000, which starts workers, has not answered" in pool.pool.problem
    pool.nursery.goes_on()
    while pool.pool.problem:
        gevent.sleep(0.001)
    assert "the process that starts workers answers again" in caplog.messages
    assert pool.nursery.killed == []
    assert pool.events.empty()


def test_a_worker_whose_channel_ended_and_that_does_not_end_itself_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_PING_EVERY", 0.01)
    pool = Pool(1)
    (worker,) = pool.workers
    pool.nursery.ends[worker.pid].close()
    pool.event(events.WorkerStarted)
    assert pool.nursery.killed == [(worker.pid, signal.SIGKILL)]
    assert f"worker {worker.pid} has closed its channel, but not ended, for 0 s; killing it" in caplog.messages


def test_a_worker_that_cannot_be_killed_is_not_named_again_and_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It waits for a disk that does not answer, and ends when it does."""
    monkeypatch.setattr(workers, "_PING_EVERY", 0.001)
    pool = Pool(1)
    (worker,) = pool.workers
    monkeypatch.setattr(pool.nursery, "dies", lambda pid, status: None)
    while worker.pings < workers._SILENT_PINGS + 2 * workers._KILL_AGAIN:
        gevent.sleep(0.001)
    assert len(pool.nursery.killed) == 2
    assert len([line for line in caplog.messages if "killing it" in line]) == 2


def test_a_worker_that_answers_no_ping_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_PING_EVERY", 0.01)
    pool = Pool(1)
    (worker,) = pool.workers
    pool.event(events.WorkerStarted)
    assert pool.nursery.killed == [(worker.pid, signal.SIGKILL)]
    assert f"worker {worker.pid} has sent nothing for 0 s; killing it" in caplog.messages


def test_a_master_that_was_stopped_does_not_take_its_workers_for_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PING_EVERY", 0.05)
    pool = Pool(1)
    (worker,) = pool.workers
    for _ in range(3):
        time.sleep(1.0)  # as SIGSTOP does, it stops the whole process: twenty pings would have been due
        pool.send(worker.pid, ipc.Pong(0, 0))
        answered = worker.last_message
        while worker.last_message == answered:
            gevent.sleep(0.001)
        assert worker.pings <= 1
    assert pool.nursery.killed == []


def test_the_log_says_once_why_workers_end_as_they_start(caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool(1)
    for _ in range(20):
        (worker,) = pool.pool.workers
        pool.send(worker.pid, ipc.WorkerFailed("OSError: no memory"))
        pool.nursery.dies(worker.pid, 1)
        pool.started()
    said = [line for line in caplog.messages if "ended with status 1 (OSError: no memory); starting another" in line]
    assert len(said) == 1

"""The nursery with real processes: whatever it forks ends when the master or the nursery does, however these end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from test.process.nursery_master import FACTS, FAULTY, INHERITED, LINGERING, POLITE, STUBBORN
from test.support.processes import PATIENCE, Watched, line_from

ROOT = Path(__file__).parent.parent.parent
SHORT, LONG = 0.2, 3600.0  # seconds of grace: over soon; not over while anybody waits for the test


class Master:
    """A process that runs nursery_master.py, and all the processes that came of it."""

    def __init__(self, grace: float, **options: Any) -> None:
        command = [sys.executable, "-m", "test.process.nursery_master", str(grace)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )
        self.watched = [Watched(self.process.pid)]
        self.nursery = self._watch(self.expect("started")["pid"])

    def _watch(self, pid: int) -> Watched:
        self.watched.append(Watched(pid))
        return self.watched[-1]

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def expect(self, event: str) -> dict[str, Any]:
        assert self.process.stdout
        line = line_from(self.process.stdout.fileno())
        fields: dict[str, Any] = json.loads(line) if line else {}
        assert fields.get("event") == event, fields
        return fields

    def spawn(self, number: int) -> Watched:
        """A worker of that kind, which has begun its work."""
        self.tell(f"spawn {number}")
        worker = self._watch(self.expect("spawned")["pid"])
        assert self.receive_from(worker) == ["ready"]
        return worker

    def spawn_short_lived(self, number: int) -> int:
        """The pid of a worker that may be gone by now."""
        self.tell(f"spawn {number}")
        pid = self.expect("spawned")["pid"]
        assert isinstance(pid, int)
        return pid

    def receive_from(self, worker: Watched) -> Any:
        self.tell(f"receive {worker.pid}")
        return self.expect("received")["message"]

    def dispose(self) -> None:
        for watched in self.watched:
            watched.dispose()
        self.process.communicate()


Masters = Callable[..., Master]


@pytest.fixture
def masters() -> Iterator[Masters]:
    made: list[Master] = []

    def make(grace: float = LONG, **options: Any) -> Master:
        made.append(Master(grace, **options))
        return made[-1]

    yield make
    for master in made:
        master.dispose()


def test_a_worker_that_is_killed_is_reported_with_its_signal(masters: Masters) -> None:
    master = masters()
    worker = master.spawn(POLITE)
    worker.signal(signal.SIGKILL)
    expected = {"event": "exited", "pid": worker.pid, "number": POLITE, "status": -signal.SIGKILL}
    assert master.expect("exited") == expected


def test_the_status_that_a_worker_returns_is_reported(masters: Masters) -> None:
    master = masters()
    for number, status in ((FACTS, 7), (INHERITED, 5), (FAULTY, 1)):
        pid = master.spawn_short_lived(number)
        assert master.expect("exited") == {"event": "exited", "pid": pid, "number": number, "status": status}


def test_a_fault_in_a_worker_is_printed_on_stderr_and_ends_no_other(masters: Masters) -> None:
    master = masters()
    other = master.spawn(POLITE)
    master.spawn_short_lived(FAULTY)
    master.expect("exited")
    assert other.lives()
    assert master.process.stderr
    line = ""
    while line != "RuntimeError: as tested":
        line = line_from(master.process.stderr.fileno())
        assert line, "the end of stderr, and no word of it"


def test_a_worker_keeps_nothing_but_standard_descriptors_and_its_channel(masters: Masters) -> None:
    master = masters()
    master.spawn(POLITE)  # whose channel must not reach the next one
    pid = master.spawn_short_lived(FACTS)
    master.expect("exited")
    master.tell(f"receive {pid}")
    _, fds, handlers, blocked, gevent = master.expect("received")["message"]
    more = {fd: target for fd, target in fds.items() if int(fd) > 2}
    assert len(more) == 1
    assert next(iter(more.values())).startswith("socket:")
    assert handlers == {"INT": "1", "TERM": "0", "CHLD": "0", "USR1": "0"}
    assert blocked == []
    assert not gevent


def test_the_nursery_keeps_nothing_but_its_channel_and_its_wakeup_pipe(masters: Masters) -> None:
    master = masters()
    master.spawn(POLITE)
    master.spawn_short_lived(FACTS)
    master.expect("exited")
    names = os.listdir(f"/proc/{master.nursery.pid}/fd")
    kinds = [os.readlink(f"/proc/{master.nursery.pid}/fd/{name}").split(":")[0] for name in names if int(name) > 2]
    assert sorted(kinds) == ["pipe", "pipe", "socket"]


def test_a_signal_that_the_master_asks_for_reaches_the_worker(masters: Masters) -> None:
    master = masters()
    worker = master.spawn(POLITE)
    master.tell(f"kill {worker.pid} {signal.SIGTERM}")
    assert master.expect("exited")["status"] == -signal.SIGTERM


def test_a_signal_for_a_process_that_is_no_worker_is_not_sent(masters: Masters) -> None:
    master = masters()
    worker = master.spawn(POLITE)
    master.tell(f"kill {master.process.pid} {signal.SIGKILL}")
    master.tell(f"kill {worker.pid} {signal.SIGKILL}")
    assert master.expect("exited")["pid"] == worker.pid
    assert master.process.poll() is None


def test_the_nursery_and_workers_ignore_signals_of_a_terminal(masters: Masters) -> None:
    master = masters(start_new_session=True)
    worker = master.spawn(POLITE)
    for number in (signal.SIGINT, signal.SIGHUP):
        worker.signal(number)
        master.nursery.signal(number)
    master.nursery.signal(signal.SIGTERM)
    master.spawn(POLITE)
    assert worker.lives()


def test_a_closed_nursery_ends_after_its_workers(masters: Masters) -> None:
    master = masters()
    workers = [master.spawn(POLITE), master.spawn(LINGERING)]
    master.tell("close")
    master.expect("closed")
    assert not master.nursery.lives()
    assert not any(worker.lives() for worker in workers)


def test_a_nursery_that_is_stopped_is_closed_nevertheless_and_its_workers_end_with_it(masters: Masters) -> None:
    master = masters(grace=SHORT)
    workers = [master.spawn(POLITE), master.spawn(STUBBORN)]
    master.nursery.signal(signal.SIGSTOP)
    master.tell("close")
    master.expect("closed")
    assert not master.nursery.lives()
    assert all(worker.ends() for worker in workers)


def test_a_nursery_answers_when_it_has_done_what_it_was_asked_before(masters: Masters) -> None:
    master = masters()
    master.tell(f"spawn {POLITE}")
    master.tell("ping")
    master.expect("spawned")
    master.expect("pong")


def test_a_master_killed_with_sigkill_leaves_no_process_behind(masters: Masters) -> None:
    """LINGERING sees SIGTERM only; STUBBORN nothing but SIGKILL, after the grace."""
    master = masters(grace=SHORT)
    workers = [master.spawn(POLITE), master.spawn(LINGERING), master.spawn(STUBBORN), master.spawn(STUBBORN)]
    master.process.kill()
    assert all(worker.ends() for worker in workers)
    assert master.nursery.ends()


def test_workers_get_their_grace_before_they_are_killed(masters: Masters) -> None:
    master = masters(grace=LONG)
    stubborn, lingering = master.spawn(STUBBORN), master.spawn(LINGERING)
    master.process.kill()
    assert lingering.ends()
    assert stubborn.lives()
    assert master.nursery.lives()


def test_a_killed_nursery_takes_its_workers_with_it(masters: Masters) -> None:
    master = masters()
    workers = [master.spawn(POLITE), master.spawn(STUBBORN)]
    master.nursery.signal(signal.SIGKILL)
    master.expect("end")
    assert all(worker.ends() for worker in workers)


def test_a_fork_that_fails_is_reported_and_the_next_one_works(masters: Masters) -> None:
    if os.geteuid() != 0:
        pytest.skip("a limit can be lifted again only by root")
    import resource

    master = masters()
    master.spawn_short_lived(FACTS)
    master.expect("exited")
    limits = resource.prlimit(master.nursery.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(master.nursery.pid, resource.RLIMIT_NOFILE, (6, limits[1]))  # no room for a channel
    master.tell(f"spawn {POLITE}")
    assert master.expect("failed") == {"event": "failed", "number": POLITE, "why": "Too many open files"}
    resource.prlimit(master.nursery.pid, resource.RLIMIT_NOFILE, limits)
    assert master.spawn(POLITE).lives()


def test_many_workers_that_end_at_once_are_all_reported(masters: Masters) -> None:
    """Signals of one kind do not queue: one SIGCHLD may stand for many deaths."""
    master = masters()
    workers = [master.spawn(POLITE) for _ in range(40)]
    master.nursery.signal(signal.SIGSTOP)
    for worker in workers:
        worker.signal(signal.SIGKILL)
    assert all(worker.ends(PATIENCE) for worker in workers)
    master.nursery.signal(signal.SIGCONT)
    assert {master.expect("exited")["pid"] for _ in workers} == {worker.pid for worker in workers}

"""The nursery: a small process that forks and reaps the workers, and tells the master. It ends soon after the master.

The master does not fork workers itself, because a fork copies an event loop, threads and connections in the middle of
their work. The nursery is forked before gevent is imported and never imports it. It has no connections, no threads and
almost no state, so each worker that it forks begins clean and small.

    master      ("spawn", number)   ("kill", pid, signal)   ("ping",)                -> nursery
    nursery     ("spawned", number, pid) with the master's end of the worker's channel
                ("not spawned", number, why)   ("exited", pid, number, status)
                ("pong",)                                                            -> master

It acts on one message after the other, so a pong means that it has done everything that it was asked before.

No process is left behind when one dies:

    the master  Its end of the channel closes, even after SIGKILL. The nursery sends the workers SIGTERM and, after
                GRACE seconds, SIGKILL, reaps them and ends. Workers see the end of their own channel, too.
    the nursery The kernel kills the workers (PR_SET_PDEATHSIG). Nothing else could kill one that hangs.
    a worker    The nursery reaps it at once and reports it; the master decides what to do about it.

The nursery learns of dead children from SIGCHLD, through the wake-up descriptor that poll(2) watches together with the
channel. Pidfds would be simpler, but need Linux 5.3, and there are clusters that run 4.18. It ignores signals that are
meant for the master but reach the whole process group (^C, a closed terminal, a stopped service).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from typing import NoReturn

from xget_lib.dataclass import dataclass
from xget_lib.errors import CannotStart, LinkLost, ProtocolViolation
from xget_lib.process.channel import Channel, close_all, pair
from xget_lib.process.fork import close_all_but, default_signals, die_with, flush, fork, signals_held

GRACE = 2.0  # seconds between SIGTERM and SIGKILL for workers whose master is gone
_CLOSE_GRACE = 5.0  # seconds more until a nursery that is being closed counts as hung
_CLOSE_PAUSE = 0.01  # seconds between two looks whether it has ended

# What a worker runs: it gets the channel to the master and its number, and returns its exit status (0..255).
RunWorker = Callable[[Channel, int], int]


@dataclass(frozen=True, slots=True)
class Spawned:
    """A worker runs. `channel` is the master's end of its channel, which ends when the worker does."""

    number: int
    pid: int
    channel: Channel


@dataclass(frozen=True, slots=True)
class NotSpawned:
    """No worker could be forked for `number`."""

    number: int
    why: str


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker ended and was reaped. `status` as in os.waitstatus_to_exitcode: negative is the signal that ended it."""

    pid: int
    number: int
    status: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The nursery has done everything that it was asked before the ping."""


Report = Spawned | NotSpawned | Exited | Pong


class Nursery:
    """The master's side, owned by the master. Code under gevent sets its own waiting functions on `channel`."""

    def __init__(self, channel: Channel, pid: int) -> None:
        self.channel = channel
        self.pid = pid

    def spawn(self, number: int) -> None:
        """Ask for a worker; Spawned or NotSpawned follows. Raises LinkLost if the nursery is gone."""
        self.channel.send(("spawn", number))

    def kill(self, pid: int, signal_number: int) -> None:
        """Send a worker a signal; nothing happens if it has ended already. Raises LinkLost."""
        self.channel.send(("kill", pid, signal_number))

    def ping(self) -> None:
        """Ask whether it works; Pong follows. Raises LinkLost."""
        self.channel.send(("ping",))

    def end_hung(self) -> None:
        """End the nursery, and all workers with it, though it does not listen. `report` returns None then."""
        os.kill(self.pid, signal.SIGKILL)  # not reaped, so the pid cannot mean another process

    def report(self) -> Report | None:
        """Wait for the next report; None: the nursery is gone, and all workers with it."""
        received = self.channel.receive()
        if received is None:
            return None
        message, fds = received
        match message, fds:
            case ("spawned", int(number), int(pid)), [fd]:
                return Spawned(number, pid, Channel(socket.socket(fileno=fd)))
            case ("not spawned", int(number), str(why)), []:
                return NotSpawned(number, why)
            case ("exited", int(pid), int(number), int(status)), []:
                return Exited(pid, number, status)
            case ("pong",), []:
                return Pong()
        close_all(fds)
        raise ProtocolViolation(f"unknown message {message[0]!r} from the nursery")

    def close(self) -> None:
        """End the nursery and all workers. Returns when they are gone: after GRACE seconds if a worker hangs, and some
        more if the nursery does."""
        self.channel.close()
        for _ in range(int((GRACE + _CLOSE_GRACE) / _CLOSE_PAUSE)):  # not a clock: this process may be stopped itself
            if os.waitpid(self.pid, os.WNOHANG) != (0, 0):
                return
            time.sleep(_CLOSE_PAUSE)
        self.end_hung()
        os.waitpid(self.pid, 0)


def start(run_worker: RunWorker, prepare: Callable[[], None] = lambda: None) -> Nursery:
    """Fork the nursery, which begins with `prepare`. To be called before there are threads, an event loop or
    connections.

    The nursery and its workers close every descriptor but the standard three and their channels. Raises CannotStart.
    """
    flush()
    master_end, nursery_end = pair()
    with signals_held():
        pid = fork()
        if pid == 0:
            _end_with(lambda: _nursery(nursery_end, run_worker, prepare))
    nursery_end.close()
    return Nursery(master_end, pid)


def _nursery(channel: Channel, run_worker: RunWorker, prepare: Callable[[], None]) -> int:
    default_signals(ignored=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    close_all_but([channel.fileno()])
    prepare()
    return _Loop(channel, run_worker).run()


class _Loop:
    """The nursery process: owns the list of workers."""

    def __init__(self, master: Channel, run_worker: RunWorker) -> None:
        self._master = master
        self._run_worker = run_worker
        self._numbers: dict[int, int] = {}
        """By pid, of the workers that live."""
        self._wakened, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Python wakes us only for signals that have a handler

    def run(self) -> int:
        """Return when the master and every worker are gone."""
        try:
            with suppress(LinkLost):  # the master ended while we reported something
                while self._serve():
                    pass
        finally:
            self._end_workers()
        return 0

    def _serve(self) -> bool:
        """Wait for the master or for the end of a worker, and act. Returns False when the master is gone."""
        ready = self._wait(None)
        self._reap()
        if self._master.fileno() not in ready:
            return True
        received = self._master.receive()
        if received is None:
            return False
        match received:
            case ("spawn", int(number)), []:
                self._spawn(number)
            case ("kill", int(pid), int(signal_number)), []:
                if pid in self._numbers:  # not reaped, so the pid cannot mean another process
                    os.kill(pid, signal_number)
            case ("ping",), []:
                self._master.send(("pong",))
            case message, _:
                raise ProtocolViolation(f"unknown message {message[0]!r} to the nursery")
        return True

    def _wait(self, seconds: float | None) -> set[int]:
        """Wait for the end of a worker; with None also for the master, without limit. Returns ready descriptors."""
        poller = select.poll()
        poller.register(self._wakened, select.POLLIN)
        if seconds is None:
            poller.register(self._master.fileno(), select.POLLIN)
        ready = {fd for fd, _ in poller.poll(None if seconds is None else seconds * 1000)}
        if self._wakened in ready:
            os.read(self._wakened, 4096)
        return ready

    def _spawn(self, number: int) -> None:
        flush()
        nursery = os.getpid()
        with ExitStack() as ends:
            try:
                master_end, worker_end = map(ends.enter_context, map(closing, pair()))
                with signals_held():
                    pid = fork()
                    if pid == 0:
                        _end_with(lambda: _worker(worker_end, number, nursery, self._run_worker))
            except (OSError, CannotStart) as error:
                why = error.why if isinstance(error, CannotStart) else os.strerror(error.errno or 0)
                self._master.send(("not spawned", number, why))
                return
            self._numbers[pid] = number
            self._master.send(("spawned", number, pid), [master_end.fileno()])

    def _reap(self, *, report: bool = True) -> None:
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            number = self._numbers.pop(pid)
            if report:
                self._master.send(("exited", pid, number, os.waitstatus_to_exitcode(status)))

    def _end_workers(self) -> None:
        self._master.close()
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while self._numbers and (left := deadline - time.monotonic()) > 0:
            self._wait(left)
            self._reap(report=False)
        self._signal_all(signal.SIGKILL)
        for pid in self._numbers:
            os.waitpid(pid, 0)

    def _signal_all(self, signal_number: signal.Signals) -> None:
        for pid in self._numbers:
            os.kill(pid, signal_number)


def _worker(channel: Channel, number: int, nursery: int, run_worker: RunWorker) -> int:
    die_with(nursery)
    # SIGINT and SIGHUP of a terminal reach the whole group; the master decides what they mean for its workers.
    default_signals(ignored=[signal.SIGINT, signal.SIGHUP])
    close_all_but([channel.fileno()])
    return run_worker(channel, number)


def _end_with(run: Callable[[], int]) -> NoReturn:
    """Run it, and end this process with the status it returns: never return to a frame of the forking process."""
    status = 1
    try:
        status = run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()  # a bug: failures that are expected are caught in `run`
    finally:
        try:
            flush()
        finally:
            os._exit(status & 0xFF)

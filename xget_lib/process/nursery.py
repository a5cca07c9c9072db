"""The nursery: a small process that forks the workers, reaps them, says so, and outlives its master by seconds.

Why the master does not fork workers itself: it runs gevent, and a fork of a process with an event loop, threads and
open connections in it gives the child copies of all that, in the midst of whatever they were doing. The nursery is
forked before gevent is imported and never imports it. It has no connections, no threads and next to no state, so a
worker forked from it, today or after a month, begins clean and small.

    master      ("spawn", number)   ("kill", pid, signal)   ("detach",)              -> nursery
    nursery     ("spawned", number, pid) with the master's end of the worker's channel
                ("failed", number, why)   ("exited", pid, number, status)            -> master

Nobody is left behind, whoever dies and however:

    the master  its end of the channel closes, even after SIGKILL. The nursery sends the workers SIGTERM, gives them
                GRACE seconds, then SIGKILL, reaps them and ends. Workers see the end of their own channel too.
    the nursery the kernel kills the workers (PR_SET_PDEATHSIG). Nobody could kill a hanging one otherwise.
    a worker    is reaped at once and reported; what to do about it is the master's decision.

The nursery learns of dead children from SIGCHLD, through the wake-up descriptor that poll(2) watches together with the
channel, and not from pidfds: those would be simpler by two lines and need Linux 5.3, and there are clusters that run
4.18. Signals that are meant for the master but reach the whole process group (^C, a closed terminal, a service that is
stopped) are ignored here: the nursery ends with its master, and never before.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NoReturn

from xget_lib.errors import LinkLost, ProtocolViolation
from xget_lib.process.channel import Channel, pair
from xget_lib.process.daemon import detach
from xget_lib.process.fork import close_all_but, default_signals, die_with, signals_held

GRACE = 2.0  # seconds between SIGTERM and SIGKILL for workers whose master is gone

# What runs in a worker: gets its channel to the master and its number, returns its exit status (0..255).
RunWorker = Callable[[Channel, int], int]


@dataclass(frozen=True, slots=True)
class Spawned:
    """A worker runs. `channel` is the master's end; it is at its end when the worker is."""

    number: int
    pid: int
    channel: Channel


@dataclass(frozen=True, slots=True)
class Failed:
    """No worker could be forked for `number`; nothing of it exists."""

    number: int
    why: str


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker is gone and reaped. `status` as of os.waitstatus_to_exitcode: negative is the signal that ended it."""

    pid: int
    number: int
    status: int


class Nursery:
    """The master's side. Reports come over `channel`, on which code under gevent sets its own waits."""

    def __init__(self, channel: Channel, pid: int) -> None:
        self.channel = channel
        self.pid = pid

    def spawn(self, number: int) -> None:
        """Asks for a worker; Spawned or Failed follows. Raises LinkLost when the nursery is gone."""
        self.channel.send(("spawn", number))

    def kill(self, pid: int, signal_number: int) -> None:
        """Sends a worker a signal; nothing happens when it is gone already. Raises LinkLost."""
        self.channel.send(("kill", pid, signal_number))

    def detach(self, errors: int | None = None) -> None:
        """The nursery leaves the terminal as daemon.detach() says, and so do workers that are spawned from now on.

        A worker from before keeps its standard descriptors, and with them somebody's terminal or pipe open. `errors`
        becomes standard error. Raises LinkLost.
        """
        self.channel.send(("detach",), [] if errors is None else [errors])

    def report(self) -> Spawned | Failed | Exited | None:
        """Waits for what happens next; None: the nursery is gone, and all workers with it."""
        received = self.channel.receive()
        if received is None:
            return None
        message, fds = received
        match message, fds:
            case ("spawned", int(number), int(pid)), [fd]:
                return Spawned(number, pid, Channel.adopt(fd))
            case ("failed", int(number), str(why)), []:
                return Failed(number, why)
            case ("exited", int(pid), int(number), int(status)), []:
                return Exited(pid, number, status)
        for fd in fds:
            os.close(fd)
        raise ProtocolViolation(f"the nursery said {message[0]!r}")

    def close(self) -> None:
        """Ends the nursery and all workers; does not wait for it."""
        self.channel.close()

    def wait(self) -> None:
        """After close(): returns when all of them are gone, which takes GRACE seconds where a worker hangs."""
        os.waitpid(self.pid, 0)


def start(run_worker: RunWorker, grace: float = GRACE) -> Nursery:
    """Forks the nursery. To be called before there are threads, an event loop or connections.

    Both the nursery and its workers give up every descriptor but the standard three and their channels.
    """
    _flush()
    master_end, nursery_end = pair()
    with signals_held():
        pid = os.fork()
        if pid == 0:
            _end_with(lambda: _nursery(nursery_end, run_worker, grace))
    nursery_end.close()
    return Nursery(master_end, pid)


def _nursery(channel: Channel, run_worker: RunWorker, grace: float) -> int:
    default_signals(ignored=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    close_all_but([channel.fileno()])
    return _Loop(channel, run_worker, grace).run()


class _Loop:
    """The nursery's own process. State: which child is which worker."""

    def __init__(self, master: Channel, run_worker: RunWorker, grace: float) -> None:
        self._master = master
        self._run_worker = run_worker
        self._grace = grace
        self._numbers: dict[int, int] = {}  # of the workers that live, by pid
        self._wakened, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Python wakes us only for signals that have a handler

    def run(self) -> int:
        """Returns when the master is gone and so is every worker."""
        try:
            while self._serve():
                pass
        except LinkLost:
            pass  # the master went away while we told it something
        finally:
            self._end_workers()
        return 0

    def _serve(self) -> bool:
        """Waits for the master or a death, acts; False when the master is gone."""
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
            case ("detach",), fds:
                detach(*fds)
                for fd in fds:
                    os.close(fd)
            case message, _:
                raise ProtocolViolation(f"the master said {message[0]!r} to the nursery")
        return True

    def _wait(self, seconds: float | None) -> set[int]:
        """The descriptors that are ready after at most so long; while ending, only deaths are of interest."""
        poller = select.poll()
        poller.register(self._wakened, select.POLLIN)
        if seconds is None:
            poller.register(self._master.fileno(), select.POLLIN)
        ready = {fd for fd, _ in poller.poll(None if seconds is None else seconds * 1000)}
        if self._wakened in ready:
            os.read(self._wakened, 4096)
        return ready

    def _spawn(self, number: int) -> None:
        _flush()
        with ExitStack() as ends:
            try:
                master_end, worker_end = map(ends.enter_context, pair())
                pid = self._fork(worker_end, number)
            except OSError as error:
                self._master.send(("failed", number, os.strerror(error.errno or 0)))
                return
            self._numbers[pid] = number
            self._master.send(("spawned", number, pid), [master_end.fileno()])

    def _fork(self, channel: Channel, number: int) -> int:
        nursery = os.getpid()
        with signals_held():
            pid = os.fork()
            if pid == 0:
                _end_with(lambda: _worker(channel, number, nursery, self._run_worker))
        return pid

    def _reap(self, *, tell: bool = True) -> None:
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            number = self._numbers.pop(pid)
            if tell:
                self._master.send(("exited", pid, number, os.waitstatus_to_exitcode(status)))

    def _end_workers(self) -> None:
        self._master.close()
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        while self._numbers and (left := deadline - time.monotonic()) > 0:
            self._wait(left)
            self._reap(tell=False)
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
    """Runs it and ends this process with the status it returns: no frame of the forking process is ever returned to."""
    status = 1
    try:
        status = run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()  # a bug: whoever may expect a failure catches it in `run`
    finally:
        try:
            _flush()
        finally:
            os._exit(status & 0xFF)


def _flush() -> None:
    """What Python still buffers would otherwise be written by both after a fork, or by none at os._exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()

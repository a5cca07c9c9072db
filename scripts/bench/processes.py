"""All processes of a measurement: starts and reaps them, and samples what they cost.

The benchmark is process 1 of a process namespace of its own. So whatever a tool leaves in the background becomes its
child, `/proc` shows nobody else's processes, and no processor second escapes: a process is either alive and read in
/proc, or was waited for by its parent and stands in that one's account, or was waited for here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .network import HEAD

_TICKS = os.sysconf("SC_CLK_TCK")
_OWN = "benchmark"
_PROCESS_CLOCK = 2
"""What a process has run, on all processors (CPUCLOCK_SCHED of clock_getcpuclockid(3)). Exact to less than 1 us."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended. `status` is negative for signals."""

    pid: int
    status: int


class Processes:
    """Create it once, in process 1."""

    def __init__(self, machines: dict[int, str]) -> None:
        """`machines` has the names of the head and of the nodes, by network namespace. A process of a node is called
        client; on the head, what was started here is called master and what that forked worker."""
        assert os.getpid() == 1, "this would reap and count strangers"
        self._machine_of_namespace = machines
        self._machines: dict[int, str] = {1: _OWN}
        """By process ID."""
        self._started: set[int] = set()
        self._reaped: dict[str, float] = defaultdict(float)
        self.peak: dict[str, int] = defaultdict(int)
        """Bytes of the largest resident set that a process of each kind has had."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})

    def start(self, command: Sequence[str], log: Path) -> int:
        """Start a command, found in PATH, in a process group of its own; its output goes to the end of `log`."""
        self._started.add(
            pid := os.posix_spawnp(
                command[0],
                list(command),
                {**os.environ, "LC_ALL": "C.UTF-8", "HOME": "/run"},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setpgroup=0,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE],
            )
        )
        return pid

    def forget(self) -> None:
        """What all processes so far have used does not count."""
        self._reaped.clear()
        self.peak.clear()

    def wait(self, seconds: float) -> None:
        """Wait until a child has ended, or for this many seconds."""
        signal.sigtimedwait({signal.SIGCHLD}, max(0.0, seconds))

    def reap(self) -> list[Ended]:
        """Processes that have ended since the last call, orphans included."""
        ended: list[Ended] = []
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if not pid:
                return ended
            self._reaped[self._kind(pid, self._machines.pop(pid, _OWN))] += used.ru_utime + used.ru_stime
            ended.append(Ended(pid, os.waitstatus_to_exitcode(status)))

    def sample(self) -> dict[str, float]:
        """Processor seconds by kind of process. Also registers new processes and peak memory."""
        spent = defaultdict(float, self._reaped)
        for pid in _processes():
            try:
                kind = self._kind(pid, self._machine(pid))
                spent[kind] += _seconds(pid)
                self.peak[kind] = max(self.peak[kind], peak_memory(pid))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
        return dict(spent)

    def wanted(self) -> dict[int, tuple[str, float]]:
        """By process ID: its machine, and for how many seconds so far it ran or waited for a processor. Processes
        that belong to no machine are not there."""
        found = {}
        for pid in _processes():
            try:
                machine = self._machine(pid)
                if machine != _OWN:
                    found[pid] = machine, _ran(pid) + waited(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def _machine(self, pid: int) -> str:
        machine = self._machines.get(pid)
        if machine is None:
            machine = self._machine_of_namespace.get(os.stat(f"/proc/{pid}/ns/net").st_ino, _OWN)
            if machine != _OWN:  # else it may be on its way into a namespace
                self._machines[pid] = machine
        return machine

    def _kind(self, pid: int, machine: str) -> str:
        if machine == HEAD:
            return "master" if pid in self._started else "worker"
        return machine if machine == _OWN else "client"

    def kill_in(self, namespace: int) -> None:
        """Kill everything in a network namespace."""
        for pid in _processes():
            try:
                if pid != 1 and os.stat(f"/proc/{pid}/ns/net").st_ino == namespace:
                    os.kill(pid, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue

    def stopped(self, seconds: float) -> list[Ended]:
        """Kill everything, and wait until it has ended, or for this many seconds."""
        ended: list[Ended] = []
        for pid in _processes():
            if pid != 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        limit = time.monotonic() + seconds
        while any(pid != 1 for pid in _processes()) and time.monotonic() < limit:
            self.wait(0.05)
            ended += self.reap()
        return ended


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _seconds(pid: int) -> float:
    """Processor time of a process and of the children that it has waited for (proc_pid_stat(5), fields 16 and 17).
    What process 1 has waited for is in its account already."""
    if pid == 1:
        return _ran(pid)
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return _ran(pid) + sum(map(int, after_name[13:15])) / _TICKS


def _ran(pid: int) -> float:
    """Seconds of processor of a process, all threads together. Raises ProcessLookupError if it has ended."""
    try:
        return time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
    except OSError as error:
        raise ProcessLookupError(pid) from error


def waited(pid: int) -> float:
    """Seconds for which the threads of a process could have run, but had no processor, all together; 0 if the kernel
    does not say (CONFIG_SCHED_INFO)."""
    seconds = 0.0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            seconds += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_bytes().split()[1]) / 1e9
    return seconds


def peak_memory(pid: int) -> int:
    """Bytes of the largest resident set so far; 0 for a process that has ended."""
    _, found, rest = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").partition("VmHWM:")
    return int(rest.split(None, 1)[0]) * 1024 if found else 0


class Processors:
    """The load of the whole machine, kernel included, on all processors."""

    def __init__(self) -> None:
        self._first = self._last = _times()
        self._softirq = _softirq()
        self._intervals = self._saturated = 0

    def sample(self) -> None:
        """Call it at even intervals."""
        now = _times()
        if now[1] > self._last[1]:
            self._intervals += 1
            self._saturated += _share(self._last, now) > 0.97
        self._last = now

    @property
    def busy(self) -> float:
        """Share of processor time until the last sample that was not idle."""
        return _share(self._first, self._last)

    @property
    def softirq(self) -> float:
        """Seconds of processor that the kernel's network stack took by itself, for all processes."""
        return (_softirq() - self._softirq) / _TICKS

    @property
    def saturated(self) -> float:
        """Share of intervals in which nothing was idle."""
        return self._saturated / max(1, self._intervals)


def _times() -> tuple[int, int]:
    """Idle and total ticks since boot."""
    values = _ticks()
    return values[3] + values[4], sum(values)


def _softirq() -> int:
    return _ticks()[6]


def _ticks() -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal since boot (proc_stat(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        return [int(value) for value in file.readline().split()[1:9]]


def _share(before: tuple[int, int], after: tuple[int, int]) -> float:
    return 1 - (after[0] - before[0]) / max(1, after[1] - before[1])

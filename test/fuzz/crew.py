"""Playing cases by the million: processes that take them in turns, watch their own memory, and report what they find.

A case is named by target, seed and number, `server:1:4711`, and that is all that is needed to play it again. Every
process plays its own numbers, target after target in rounds, so that what each round leaves behind can be compared
with what the one before it left: memory that grows from round to round is a finding as an exception is. A case that
takes too long is one, too, and a process that dies.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from test.fuzz.choices import Seeded
from test.fuzz.targets import PARTS, Stuck, Target, play, prepared, target

ROUND = 10_000
"""Messages of all targets together in a round."""
WARM = 3
"""Rounds after which caches are filled and everything that is imported is."""
BLOCKS_GROWN = 30_000
"""Blocks of Python's allocator by which a process may be larger at its end than when it was warm. In a run of ten
million messages, or of 70,000 cases a process, that is less than a block for every second case."""
RSS_GROWN = 48 * 2**20
"""Bytes of resident memory, likewise: the allocators keep what they once had, so this is coarser."""
MEMORY = 2 * 2**30
"""Bytes of address space that a process may take beyond what it has at its start: no message may ask for more."""


@dataclass
class Tally:
    """What some processes have done."""

    messages: dict[str, int] = field(default_factory=dict)
    cases: int = 0
    findings: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    """Seconds, case."""
    memory: list[str] = field(default_factory=list)
    """What each process says of its own."""

    @property
    def total(self) -> int:
        return sum(self.messages.values())

    def add(self, name: str, case: str, messages: int, seconds: float) -> None:
        self.messages[name] = self.messages.get(name, 0) + messages
        self.cases += 1
        self.slowest = max(self.slowest, (seconds, case))

    def merge(self, other: Tally) -> None:
        for name, count in other.messages.items():
            self.messages[name] = self.messages.get(name, 0) + count
        self.cases += other.cases
        self.findings += other.findings
        self.memory += other.memory
        self.slowest = max(self.slowest, other.slowest)


def replay(case: str) -> list[str]:
    """What is said in a case, and what it ends with."""
    log: list[str] = []
    with target(case.partition(":")[0]) as played:
        try:
            play(played, Seeded(case), log)
        except BaseException:
            log.append(traceback.format_exc())
    return log


class Crew:
    """Processes that play until so many messages have been said."""

    def __init__(self, messages: int, seed: str, processes: int, targets: list[str]) -> None:
        self.tally = Tally()
        self._share = -(-messages // processes)
        self._seed = seed
        self._targets = targets
        self._context = get_context("fork")
        self._playing: dict[Connection, Any] = {}
        self._at: dict[Connection, Any] = {}
        for number in range(processes):
            self._start(number, processes)

    def run(self, on_progress: Callable[[Tally], None]) -> Tally:
        """Wait for all, saying now and then how far they are."""
        while self._playing:
            for ready in wait(list(self._playing)):
                assert isinstance(ready, Connection)
                try:
                    self.tally.merge(ready.recv())
                except EOFError:
                    self._end(ready)
                on_progress(self.tally)
        return self.tally

    def _start(self, number: int, processes: int) -> None:
        here, there = self._context.Pipe(duplex=False)
        at = self._context.Array("c", 100)
        process = self._context.Process(target=self._work, args=(there, at, number, processes))
        process.start()
        there.close()
        self._playing[here] = process
        self._at[here] = at

    def _end(self, ended: Connection) -> None:
        process = self._playing.pop(ended)
        process.join()
        if process.exitcode:
            case = self._at[ended].value.decode()
            self.tally.findings.append(f"{case}: the process died of it, status {process.exitcode}")

    def _work(self, reports: Connection, at: Any, number: int, step: int) -> None:
        """In a process of its own."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        logging.getLogger("xget").addHandler(logging.NullHandler())
        logging.getLogger("xget").propagate = False
        bound_memory()
        with prepared(self._targets) as targets, reports:
            rounds = Rounds(targets, self._seed, number, step, at)
            while rounds.messages < self._share and not rounds.failed:
                reports.send(rounds.play())
            reports.send(rounds.end())


class Rounds:
    """What one process plays."""

    def __init__(self, targets: dict[str, Target], seed: str, number: int, step: int, at: Any) -> None:
        self.messages = 0
        self.failed = False
        self._targets = targets
        self._seed = seed
        self._step = step
        self._next = dict.fromkeys(targets, number)
        self._at = at
        self._rounds = 0
        self._warm = (0, 0)

    def play(self) -> Tally:
        """One round; it ends with the first thing that is wrong, for nothing can be relied on afterwards."""
        tally = Tally()
        parts = sum(PARTS[name] for name in self._targets)
        for name, played in self._targets.items():
            goal = ROUND * PARTS[name] / parts
            while tally.messages.get(name, 0) < goal and not self.failed:
                self._play_one(name, played, tally)
        self.messages += tally.total
        self._rounds += 1
        if self._rounds == WARM:
            self._warm = memory()
        return tally

    def end(self) -> Tally:
        """What the memory has become."""
        blocks, rss = memory()
        if self.failed or self._rounds <= WARM:
            return Tally(memory=[f"{rss >> 20} MiB resident"])
        grown = blocks - self._warm[0], rss - self._warm[1]
        said = f"{rss >> 20} MiB resident, {grown[1] / 2**20:+.1f} MiB and {grown[0]:+} blocks since it was warm"
        found = [f"memory grows: {said}"] if grown[0] > BLOCKS_GROWN or grown[1] > RSS_GROWN else []
        return Tally(memory=[said], findings=found)

    def _play_one(self, name: str, played: Target, tally: Tally) -> None:
        case = f"{name}:{self._seed}:{self._next[name]}"
        self._next[name] += self._step
        self._at.value = case.encode()
        begun = time.monotonic()
        try:
            count = play(played, Seeded(case))
        except (Exception, Stuck) as error:
            tally.findings.append(f"{case}: {type(error).__name__}: {error}"[:2000])
            tally.findings[-1] += "\n" + traceback.format_exc(limit=-4)[-2000:]
            self.failed = True
            return
        tally.add(name, case, max(1, count), time.monotonic() - begun)


def memory() -> tuple[int, int]:
    """Blocks that Python has allocated, and resident bytes of this process."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return sys.getallocatedblocks(), int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def bound_memory() -> None:
    """From now on a message that asks for memory without measure is an error, and not the machine's end."""
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))

"""What limited a measurement: the link, the processors, or latency. Decided by looking at short intervals.

In each interval, for each node:

    link        the part of its rate at which the node's link received, or the head's link sent: the higher of both.
                The head's counts, because nobody can have what the head has not sent yet
    processor   of the rest: the part of the interval for which the processes of the node, or one process of the head,
                ran, or could have run but had to wait for a processor: the higher of both
    latency     what is left: neither the link nor a processor had anything to do for this node. It waited for answers,
                or for a timer

So these add up to the time. If a node computes while its link is busy, both go on together: of the part of an interval
in which the link was idle, as large a share is processor as of the whole interval. A process with several threads
counts as one, so 1 means that one processor would not have been enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .cases import Shares
from .network import HEAD, Traffic

_SHORTEST = 0.02
_A_MACHINE = 0.004
"""Seconds of an interval, and so many more for each machine: looking must not cost more than a hundredth."""

Wanted = dict[int, tuple[str, float]]
"""By process ID: machine, and seconds so far that it ran or waited for a processor (`Processes.wanted`)."""


@dataclass
class _Spent:
    """Seconds of one node."""

    link: float = 0.0
    processor: float = 0.0
    all: float = 0.0


class Limits:
    """Adds up what the time of each node is spent on. It reads nothing itself."""

    def __init__(self, rates: dict[str, int], traffic: dict[str, Traffic], wanted: Wanted, now: float) -> None:
        """`rates` are bits per second by machine; 0 is not limited."""
        self._rates = rates
        self._traffic, self._wanted, self._looked = traffic, wanted, now
        self._spent = {name: _Spent() for name in rates if name != HEAD}
        self._interval = _SHORTEST + _A_MACHINE * len(rates)

    def is_due(self, now: float) -> bool:
        """Whether it is time for `look`."""
        return now >= self._looked + self._interval

    def look(self, waiting: Iterable[str], traffic: dict[str, Traffic], wanted: Wanted, now: float) -> None:
        """An interval is over. `waiting` are the nodes that had begun, and were not done before."""
        seconds = now - self._looked
        if seconds <= 0:
            return
        sent = self._used(HEAD, traffic[HEAD].sent - self._traffic[HEAD].sent, seconds)
        demand = self._demand(wanted, seconds)
        for name in waiting:
            received = self._used(name, traffic[name].received - self._traffic[name].received, seconds)
            link = max(sent, received)
            processor = max(demand.get(name, 0.0), demand.get(HEAD, 0.0))
            spent = self._spent[name]
            spent.link += link * seconds
            spent.processor += (1 - link) * processor * seconds
            spent.all += seconds
        self._traffic, self._wanted, self._looked = traffic, wanted, now

    def _used(self, name: str, moved: int, seconds: float) -> float:
        rate = self._rates[name]
        return min(1.0, moved * 8 / rate / seconds) if rate else 0.0

    def _demand(self, wanted: Wanted, seconds: float) -> dict[str, float]:
        """By machine, 1 at most: of nodes the sum of their processes, of the head the busiest."""
        found: dict[str, float] = {}
        for pid, (machine, much) in wanted.items():
            share = (much - self._wanted.get(pid, (machine, 0.0))[1]) / seconds
            before = found.get(machine, 0.0)
            found[machine] = min(1.0, max(before, share) if machine == HEAD else before + share)
        return found

    def shares(self, node: str) -> Shares | None:
        """Of a node's time so far. None if it has had none."""
        spent = self._spent[node]
        if not spent.all:
            return None
        link, processor = spent.link / spent.all, spent.processor / spent.all
        return Shares(round(link, 3), round(processor, 3), round(max(0.0, 1 - link - processor), 3))

"""How far each node of a generation is, and which nodes lag behind.

A node lags if it holds no more than half a minute ago, or if it takes much longer than half of all hosts took for
everything. A node says every few seconds how much it holds. Each host counts once, so that one that registers many
nodes, or lies, does not decide what is usual.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from statistics import median

from xget_lib.dataclass import dataclass
from xget_lib.swarm.moving_average import MovingAverage

STALLED = 30.0
"""Seconds without a further chunk after which a node lags: three times the pause between two registrations."""
_SLOWER = 2.0
_SLOWER_LEAST = 20.0
"""A node lags also after this many times the median time of hosts that are complete, and so many seconds more."""
_ENOUGH = 3
"""Complete nodes that make a median,"""
_HOSTS = 10_000
"""and hosts that are remembered, besides those with nodes that are not complete."""


@dataclass(frozen=True, slots=True)
class Lag:
    """By how much a node lags. Seconds."""

    seconds: float
    """Since it held less than now if it is stalled, or by which it is later than the median of hosts."""
    stalled: bool


@dataclass(slots=True)
class _Progress:
    host: Hashable
    begun: float
    changed: float
    """When it held more than before."""
    held: int
    reported: bool = False


@dataclass(slots=True)
class _Host:
    incomplete: int = 0
    """Its nodes that are not complete,"""
    completed: int = 0
    """and those that have become complete."""
    usual: MovingAverage | None = None
    """Seconds that the latter took."""


class NodeProgress:
    """Of one generation, owned by the Tracker. Nodes are the caller's keys; times are monotonic seconds."""

    def __init__(self) -> None:
        self._incomplete: dict[int, _Progress] = {}
        self._hosts: OrderedDict[Hashable, _Host] = OrderedDict()
        """The one that completed something last at the end."""
        self._changed = False
        """Whether `_usual` must be computed anew."""
        self._usual: float | None = None
        """Seconds that half of the hosts took, if that is known."""

    def __bool__(self) -> bool:
        """Whether some node is not complete."""
        return bool(self._incomplete)

    def holds(self, node: int, host: Hashable, held: int, now: float) -> None:
        """A node that is not complete says how many chunks it holds."""
        progress = self._incomplete.get(node)
        if progress is None:
            progress = self._incomplete[node] = _Progress(host, now, now, held)
            self._hosts.setdefault(host, _Host()).incomplete += 1
            self._changed = True
        if held != progress.held:
            progress.held, progress.changed = held, now

    def completed(self, node: int, seconds: float) -> None:
        """A node holds everything, so many seconds after it could begin."""
        if node not in self._incomplete:
            return
        name = self._incomplete[node].host
        host = self._hosts[name]
        host.completed += 1
        host.usual = host.usual or MovingAverage(seconds)
        host.usual.add(seconds)
        self._hosts.move_to_end(name)
        self.leave(node)

    def leave(self, node: int) -> None:
        """A node has ended, or takes no part any more."""
        progress = self._incomplete.pop(node, None)
        if progress is None:
            return
        self._changed = True
        host = self._hosts[progress.host]
        host.incomplete -= 1
        if not host.incomplete and not host.completed:
            del self._hosts[progress.host]
        if len(self._hosts) > _HOSTS:
            oldest = next((name for name, each in self._hosts.items() if not each.incomplete), None)
            if oldest is not None:
                del self._hosts[oldest]

    def changed(self, node: int) -> float | None:
        """When an incomplete node held more than before; None for another one."""
        progress = self._incomplete.get(node)
        return progress.changed if progress is not None else None

    def lag(self, node: int, now: float) -> Lag | None:
        """By how much a node lags; None if it does not."""
        progress = self._incomplete.get(node)
        if progress is None:
            return None
        if now - progress.changed > STALLED:
            return Lag(now - progress.changed, stalled=True)
        usual = self._usual_time()
        took = now - progress.begun
        if usual is None or took <= _SLOWER * usual + _SLOWER_LEAST:
            return None
        return Lag(took - usual, stalled=False)

    def _usual_time(self) -> float | None:
        """Seconds that half of the hosts took; None while most are not complete. A host is if half of its nodes are."""
        if self._changed:
            self._changed = False
            hosts = self._hosts.values()
            complete = sum(0 < host.completed >= host.incomplete for host in hosts)
            enough = sum(host.completed for host in hosts) >= _ENOUGH and complete >= len(hosts) - complete
            times = [host.usual.value for host in hosts if host.usual]
            self._usual = median(times) if enough else None
        return self._usual

    def new_lags(self, now: float) -> list[tuple[int, Lag]]:
        """The nodes that lag and were not in such a list before."""
        found = []
        for node, progress in self._incomplete.items():
            lag = None if progress.reported else self.lag(node, now)
            if lag is not None:
                progress.reported = True
                found.append((node, lag))
        return found

"""Which host is granted the next chunk. Hosts share the chunks that are on their way from the master at once.

Hosts that have nothing on its way come first. Among these the next is the one whose chunks were on their way for the
shortest time in all (`host_accounts`). A host that takes its chunks slowly, or not at all, thus gets fewer, and costs
the others no more than its share.

What a host has above its share takes nothing from the others: it may have been alone when it got that. A chunk that is
*stuck* counts against the share of its host, but not against what the others may have. So a host that takes nothing
costs the others nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heappop, heappush

from xget_lib.dataclass import dataclass, field
from xget_lib.swarm.host_accounts import HostAccounts

Slot = tuple[int, int]
"""Node, number."""


@dataclass(eq=False)
class Host:
    """The nodes of one host. What follows `second` is HostTurns' to change."""

    key: Hashable
    nodes: int = 0
    first: OrderedDict[Slot, None] = field(default_factory=OrderedDict)
    """Slots that ask, of nodes that had nothing on its way when they asked."""
    second: OrderedDict[Slot, None] = field(default_factory=OrderedDict)
    """Slots that ask, of nodes that have a chunk on its way."""
    moving: int = 0
    """Chunks that are on their way and not stuck."""
    stuck: int = 0
    used: float = 0.0
    """Its account: for how many seconds its chunks were on their way, and at least what it began with."""


class HostTurns:
    """The hosts of one generation's Offers. Durations are seconds."""

    def __init__(self) -> None:
        self._hosts: dict[Hashable, Host] = {}
        self._idle: dict[Host, int] = {}
        """Hosts that ask and have nothing on its way, and when they began to: numbers that grow."""
        self._order: list[tuple[float, int, Host]] = []
        """A heap of these hosts, without those that were passed. What does not agree with `_idle` is out of date."""
        self._passed: dict[Host, None] = {}
        """Hosts for which there was no chunk in this round."""
        self._busy: dict[Host, None] = {}
        """Hosts that ask and have something on its way."""
        self._moving: dict[Host, None] = {}
        """Hosts that have something on its way that is not stuck."""
        self._accounts = HostAccounts()
        self._count = 0

    def __bool__(self) -> bool:
        """Whether a host asks."""
        return bool(self._idle or self._busy)

    def join(self, key: Hashable) -> Host:
        """A node begins to ask. Returns its host."""
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = Host(key, used=self._accounts.come(key))
        host.nodes += 1
        return host

    def leave(self, host: Host) -> None:
        """A node of this host has ended. It has nothing on its way any more."""
        host.nodes -= 1
        if not host.nodes:
            del self._hosts[host.key]
            self._accounts.gone(host.key, host.used)

    def granted(self, host: Host) -> None:
        """A chunk is on its way to a host."""
        host.moving += 1
        self.place(host)

    def stuck(self, host: Host) -> None:
        """A chunk that was moving is stuck."""
        host.moving -= 1
        host.stuck += 1
        self.place(host)

    def ended(self, host: Host, seconds: float, *, stuck: bool) -> None:
        """A chunk is not on its way any more. It was for so long, until it was stuck."""
        if stuck:
            host.stuck -= 1
        else:
            host.moving -= 1
        host.used += seconds
        self.place(host)

    def end_round(self) -> None:
        """In the next round there may be a chunk for the hosts that were passed."""
        passed, self._passed = self._passed, {}
        for host in passed:
            if host in self._idle:
                heappush(self._order, (host.used, self._idle[host], host))

    def next(self, most: int) -> Host | None:
        """The host whose turn it is, if `most` chunks may be on their way; None if no host may be granted one."""
        others = sum(host not in self._idle and host not in self._busy for host in self._moving)
        hosts = len(self._idle) + len(self._busy) + others
        share = max(1, most // hosts) if hosts else most
        if sum(min(host.moving, share) for host in self._moving) >= most:
            return None
        idle = self._first_idle()
        if idle is not None:
            return idle
        alone = len(self._idle) + len(self._busy) == 1
        room = most > sum(host.moving for host in self._moving)

        def may_have(host: Host) -> bool:
            within_share = host.moving + (0 if alone else host.stuck) < share
            return within_share or (room and (alone or not host.stuck))

        able = [host for host in self._busy if host not in self._passed and may_have(host)]
        return min(able, key=lambda host: (host.moving + host.stuck, host.used), default=None)

    def pass_turn(self, host: Host) -> None:
        """There was no chunk for a host whose turn it was: in this round it is the turn of others."""
        self._passed[host] = None

    @property
    def in_vain(self) -> bool:
        """Whether a host that has nothing on its way, and was not passed in this round, asks."""
        return self._first_idle() is not None

    def place(self, host: Host) -> None:
        """To be called when other slots of a host ask than before. It keeps its position among those that ask."""
        asks = bool(host.first or host.second)
        busy = bool(host.moving or host.stuck)
        if asks and not busy:
            if host not in self._idle:
                if host not in self._busy and host not in self._moving:
                    self._begin(host)
                self._count += 1
                self._idle[host] = self._count
                heappush(self._order, (host.used, self._count, host))
        else:
            self._idle.pop(host, None)
        for hosts, belongs in ((self._busy, asks and busy), (self._moving, host.moving)):
            if belongs:
                hosts.setdefault(host, None)
            else:
                hosts.pop(host, None)

    def _begin(self, host: Host) -> None:
        """A host begins to ask."""
        first = self._first_idle()
        others = [*self._busy, *self._moving, *([first] if first is not None else [])]
        host.used = self._accounts.begin(host.used, (each.used for each in others))

    def _first_idle(self) -> Host | None:
        """The host with the lowest account of those that have nothing on its way. Of equal ones, which asked first."""
        while self._order:
            _, number, host = self._order[0]
            if self._idle.get(host) == number and host not in self._passed:
                return host
            heappop(self._order)
        return None

"""Which nodes the master may name to others, so that others connect to them.

A node serves on a port of its own choice at the address that it connects from, and that address may be another
machine's: that of a gateway or a proxy. So until a node of another host says that it has connected to it, a node is
named to few. What it is named for in vain counts for its host, so registering again, from other connections or with
other ports, changes nothing. A host whose nodes are reached may have more nodes named, and so thousands of nodes behind
one address get their turn soon.

Who hears of a node need not connect to it. So what is left of these times is shared by the hosts that hear: one of them
gets a part of it, however often its nodes come and go, and something stays for a host that has heard nothing yet.

Nodes of the same host are always named to each other: that connects nobody to a third party.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable

from xget_lib.dataclass import dataclass, field

IN_VAIN = 48
"""Times that nodes of one host are named while none of them has been reached; as often as one node has neighbours at
most (`swarm.peer_graph`), so that it does not matter for nodes that can be reached."""
AGAIN = 60.0
"""Seconds after which it may happen once more."""
_SHARE = 4
"""A host hears of another at most this part of the times that are left, but once at least (a dynamic threshold, as in
`report.rate_limited_log`)."""
_HOSTS = 1 << 16
"""Hosts that are remembered, at most."""


@dataclass(slots=True)
class _Host:
    left: float
    """Times that its nodes may still be named in vain,"""
    counted: float
    """at this time."""
    heard: Counter[Hashable] = field(default_factory=Counter)
    """By host: how often its nodes heard of one here that nobody has reached. Forgotten as the times come back."""

    def refill(self, now: float) -> None:
        if self.left < IN_VAIN:
            before = int(self.left)
            self.left = min(IN_VAIN, self.left + max(0.0, now - self.counted) / AGAIN)
            for _ in range(int(self.left) - before):
                self._forget_one()
        self.counted = now

    def spend(self, asker: Hashable) -> bool:
        """Whether one of its nodes may be named in vain to a node of that host. It is counted then."""
        if self.left < 1.0:
            return False
        if self.left <= IN_VAIN:
            if self.heard[asker] >= max(1, self.left // _SHARE):
                return False
            self.heard[asker] += 1
        self.left -= 1.0
        return True

    def reached(self, named: int) -> None:
        """One of its nodes was reached, after it was named so often."""
        self.left += named + IN_VAIN
        self.heard.clear()

    def _forget_one(self) -> None:
        """Of the host that has heard of it most."""
        for asker, count in self.heard.most_common(1):
            self.heard[asker] = count - 1
            if count == 1:
                del self.heard[asker]


@dataclass(slots=True)
class _Node:
    reached: bool = False
    named: int = 0
    """How often it was named while it was not reached."""
    withheld: bool = False
    """Whether it was not named to some node."""
    heard: set[int] = field(default_factory=set)
    """The nodes that were named to it while they were not reached."""


class NamedNodes:
    """One is the Tracker's, for nodes, and one is for those to which C clients are sent. Nodes are the caller's keys,
    none of which is used again; times are monotonic seconds."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[Hashable, _Host] = OrderedDict()
        """The last that was asked about at the end."""
        self._nodes: dict[int, _Node] = {}

    def may_name(
        self, node: int, host: Hashable, asker: int, asker_host: Hashable, now: float, *, each_time: bool = False
    ) -> bool:
        """Whether a node may be named to another one. It counts as named then. `each_time`: also if it was named to
        that one before, which connects each time."""
        if host == asker_host:
            return True
        state = self._nodes.setdefault(node, _Node())
        heard = set() if each_time else self._nodes.setdefault(asker, _Node()).heard
        if state.reached or node in heard:
            return True
        if not self._account(host, now).spend(asker_host):
            state.withheld = True
            return False
        state.named += 1
        heard.add(node)
        return True

    def reached(self, node: int, host: Hashable, by_host: Hashable, now: float) -> bool:
        """A node of some host has connected to another one. Returns whether that one may be named now, and was not."""
        state = self._nodes.setdefault(node, _Node())
        if host == by_host or state.reached:
            return False
        state.reached = True
        self._account(host, now).reached(state.named)
        return state.withheld

    def ended(self, node: int) -> None:
        """A node has ended. What it was named for in vain still counts for its host."""
        self._nodes.pop(node, None)

    def _account(self, host: Hashable, now: float) -> _Host:
        account = self._hosts.pop(host, None) or _Host(IN_VAIN, now)
        account.refill(now)
        self._hosts[host] = account
        if len(self._hosts) > _HOSTS:
            self._hosts.popitem(last=False)
        return account

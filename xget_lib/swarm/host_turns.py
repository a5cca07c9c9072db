"""Which host is granted the next chunk. Hosts share the chunks that are on their way from the master at once.

The host with the fewest chunks on their way comes first, and among those that have none the one that has waited
longest. What a host has above its share takes nothing from the others: it may have been alone when it got that. A chunk
that is *stuck* counts against the share of its host, but not against what the others may have. So a host that takes
nothing costs the others nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field

Slot = tuple[int, int]
"""Node, number."""


@dataclass(eq=False)
class Host:
    """The nodes of one host. The counts of chunks are HostTurns' to change."""

    key: Hashable
    nodes: int = 0
    first: OrderedDict[Slot, None] = field(default_factory=OrderedDict)
    """Slots that ask, of nodes that had nothing on its way when they asked."""
    second: OrderedDict[Slot, None] = field(default_factory=OrderedDict)
    """Slots that ask, of nodes that have a chunk on its way."""
    moving: int = 0
    """Chunks that are on their way and not stuck."""
    stuck: int = 0


class HostTurns:
    """The hosts of one generation's Offers."""

    def __init__(self) -> None:
        self._hosts: dict[Hashable, Host] = {}
        self._idle: OrderedDict[Host, None] = OrderedDict()
        """Hosts that ask and have nothing on its way."""
        self._busy: dict[Host, None] = {}
        """Hosts that ask and have something on its way."""
        self._moving: dict[Host, None] = {}
        """Hosts that have something on its way that is not stuck."""

    def __bool__(self) -> bool:
        """Whether a host asks."""
        return bool(self._idle or self._busy)

    def join(self, key: Hashable) -> Host:
        """A node begins to ask. Returns its host."""
        host = self._hosts.setdefault(key, Host(key))
        host.nodes += 1
        return host

    def leave(self, host: Host) -> None:
        """A node of this host has ended."""
        host.nodes -= 1
        if not host.nodes:
            del self._hosts[host.key]

    def granted(self, host: Host) -> None:
        """A chunk is on its way to a host."""
        host.moving += 1
        self.place(host)

    def stuck(self, host: Host) -> None:
        """A chunk that was moving is stuck."""
        host.moving -= 1
        host.stuck += 1
        self.place(host)

    def ended(self, host: Host, *, stuck: bool) -> None:
        """A chunk is not on its way any more."""
        if stuck:
            host.stuck -= 1
        else:
            host.moving -= 1
        self.place(host)

    def next(self, most: int, unable: Collection[Host]) -> Host | None:
        """The host whose turn it is, if `most` chunks may be on their way; None if no host may be granted one.

        `unable`: hosts whose turn it was and for which there was no chunk.
        """
        others = sum(host not in self._idle and host not in self._busy for host in self._moving)
        hosts = len(self._idle) + len(self._busy) + others
        share = max(1, most // hosts) if hosts else most
        if sum(min(host.moving, share) for host in self._moving) >= most:
            return None
        idle = next(iter(self._idle), None)
        if idle is not None and idle not in unable:
            return idle
        alone = len(self._idle) + len(self._busy) == 1
        room = most > sum(host.moving for host in self._moving)

        def may_have(host: Host) -> bool:
            within_share = host.moving + (0 if alone else host.stuck) < share
            return within_share or (room and (alone or not host.stuck))

        able = [host for host in self._busy if host not in unable and may_have(host)]
        return min(able, key=lambda host: host.moving + host.stuck, default=None)

    def pass_turn(self, host: Host) -> None:
        """There was no chunk for a host: other hosts that have nothing come first now."""
        if host in self._idle:
            self._idle.move_to_end(host)

    def waits_longer(self, unable: Collection[Host]) -> bool:
        """Whether a host that has nothing on its way, other than these, still asks."""
        idle = next(iter(self._idle), None)
        return idle is not None and idle not in unable

    def place(self, host: Host) -> None:
        """To be called when other slots of a host ask than before. It keeps its position among those that ask."""
        asks = bool(host.first or host.second)
        busy = bool(host.moving or host.stuck)
        for hosts, belongs in (
            (self._idle, asks and not busy),
            (self._busy, asks and busy),
            (self._moving, host.moving),
        ):
            if belongs:
                hosts.setdefault(host, None)
            else:
                hosts.pop(host, None)

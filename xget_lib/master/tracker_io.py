"""What the master knows of the nodes, and tells them: its side of the `peers` and `offer` files.

Extensions, such as the C program's clients, hear from here of the nodes that hold everything.

The decisions are those of `swarm`: who is tied to whom, which chunk is given out. This class feeds them with what the
workers report, and sends what they decide. It begins anew with each generation: nodes of an older one are told of
the new and come back with it.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from logging import INFO
from typing import Any

import gevent
from gevent.event import Event

from xget_lib import ipc
from xget_lib.extensions import extensions
from xget_lib.report.log import LOGGER
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.swarm.announce_queue import AnnounceQueue
from xget_lib.swarm.first_tier import FirstTier
from xget_lib.swarm.messages import News
from xget_lib.swarm.offers import Offers
from xget_lib.swarm.peer_graph import PeerGraph
from xget_lib.swarm.registry import Node, Registry, can_reach
from xget_lib.swarm.tuning import TUNING


@dataclass(frozen=True)
class Offered:
    """The generation that is distributed now."""

    generation: bytes
    manifest_size: int
    chunks: int


class TrackerIO:
    """The nodes of one master. `tell(connection, message)` reaches the worker that has the connection."""

    def __init__(self, max_direct: int, tell: Callable[[int, ipc.Message], None]) -> None:
        self.registry = Registry()
        self.followers: set[int] = set()
        """The connections of nodes that want each new generation as soon as there is one."""
        self._max_direct = max_direct
        self._tell = tell
        self._addresses: dict[int, str] = {}
        self._watchers: set[int] = set()
        self._offered: Offered | None = None
        self._distributed = -math.inf
        self._untold = AnnounceQueue(TUNING.news_pause, TUNING.news_later, TUNING.news_most)
        self._news = Event()
        self._begin_anew()
        self.offers = Offers(0, max_direct)
        self.extensions = [each.master_side(self, max_direct) for each in extensions().values()]
        self._grants = Event()
        self._remarks, self._whole = RateLimitedLog(), RateLimitedLog()
        for task in (self._tell_news, self._give, self._tick):
            gevent.spawn(task)

    def distribute(self, offered: Offered) -> None:
        """From now on it is this generation that is given out."""
        self._offered = offered
        self._distributed = time.monotonic()
        self.offers = Offers(offered.chunks, self._max_direct)
        self._begin_anew()
        for node in self.registry:
            if self._takes_part(node, offered):
                self._neighbours.join(node.key)
            self._redirect_to(node)
        self._tell_soon(urgent=self._watchers)

    def arrived(self, connection: int, address: str) -> None:
        """A connection was made from this address."""
        self._addresses[connection] = address

    def address_of(self, connection: int) -> str:
        """As `extensions.MasterHost`."""
        return self._addresses.get(connection, "")

    def send(self, connection: int, message: ipc.Message) -> None:
        """As `extensions.MasterHost`."""
        self._tell(connection, message)

    def ended(self, connection: int) -> None:
        """A connection has ended, and all that depended on it."""
        self._leave(connection)
        for extension in self.extensions:
            extension.ended(connection)
        self._addresses.pop(connection, None)

    def handle(self, message: ipc.Message) -> None:
        """Act on what a worker reports of a connection."""
        now = time.monotonic()
        match message:
            case ipc.Watch(connection):
                self._watchers.add(connection)
                self._tell_soon(urgent={connection})
            case ipc.Register():
                self._register(message, now)
            case ipc.Unregister(connection):
                self._leave(connection)
            case ipc.Ask(connection, slot):
                self.offers.ask(connection, slot, now)
            case ipc.Takes(connection, chunks):
                self.offers.takes(connection, int.from_bytes(chunks, "little"))
            case ipc.CloseSlot(connection, slot):
                self.offers.close(connection, slot)
            case ipc.Remark(connection, text):
                address = self._addresses.get(connection, "?")
                self._remarks.log(INFO, address, "%s says: %s", address, text)
            case _:
                for extension in self.extensions:
                    extension.handle(message)
                return
        self._grants.set()

    def tell_untold(self) -> None:
        """Tell their news to those whose turn it is to hear them."""
        urgent, others = self._untold.take(time.monotonic())
        if self._offered is None:
            return
        for keys, peers_of in ((urgent, self._neighbours.sought), (others, self._neighbours.of)):
            for connection in self._watchers.intersection(keys):
                line = self._line(connection, peers_of(connection), self._offered)
                self._tell(connection, ipc.News(connection, line))

    def nodes(self) -> list[dict[str, Any]]:
        """The registered nodes, for the status."""
        now = time.monotonic()
        return [
            {
                "address": node.address,
                "port": node.port,
                "held": node.held,
                "generation": node.generation.hex(),
                "seconds": round(now - node.since, 1),
                "follows": node.follows,
            }
            for node in sorted(self.registry, key=lambda node: node.since)
        ]

    def _register(self, message: ipc.Register, now: float) -> None:
        connection, port, generation, held = message.connection, message.port, message.generation, message.held
        address = self._addresses.get(connection)
        if address is None:
            return
        known = self.registry.get(connection)
        since = known.since if known else now
        node = Node(connection, address, port, generation, held, since, message.follows)
        self.registry.put(node)
        if node.follows:
            self.followers.add(connection)
        self._redirect_to(node)
        if known is None:
            LOGGER.debug("%s port %d serves", address, port)
        if self._offered is None or not self._takes_part(node, self._offered):
            self._tell_soon(self._neighbours.leave(connection))
            return
        comes = connection not in self._neighbours
        self._tell_soon(self._neighbours.join(connection), urgent={connection} if comes else ())
        if held >= self._offered.chunks and (known is None or (known.generation, known.held) != (generation, held)):
            said = "%s port %d has everything, %.1f s after it came"
            self._whole.log(INFO, address, said, address, port, now - max(since, self._distributed))
            self.offers.finished(connection)
            self._direct.leave(connection)

    def _leave(self, connection: int) -> None:
        self._watchers.discard(connection)
        self._direct.leave(connection)
        self.offers.leave(connection)
        self.followers.discard(connection)
        node = self.registry.remove(connection)
        if node is not None:
            for extension in self.extensions:
                extension.node(connection, node.address, node.port, whole=False)
            LOGGER.debug("%s port %d does not serve any more", node.address, node.port)
            self._tell_soon(self._neighbours.leave(connection))

    def _redirect_to(self, node: Node) -> None:
        """C clients may be sent to a node that holds everything."""
        for extension in self.extensions:
            extension.node(node.key, node.address, node.port, whole=self._has_everything(node))

    def _give(self) -> None:
        """Once for all that the workers have said until the loop comes round: it looks at every slot that asks."""
        while True:
            self._grants.wait()
            self._grants.clear()
            self.grant(time.monotonic())

    def grant(self, now: float) -> None:
        """Give out what can be given out."""
        for connection, slot, chunk in self.offers.grant(now):
            self._tell(connection, ipc.Grant(connection, slot, chunk))

    def _begin_anew(self) -> None:
        self._neighbours: PeerGraph = PeerGraph(TUNING.degree, random.Random(), self._reachable)
        self._direct = FirstTier(TUNING.takers)

    def _reachable(self, asker: int, peer: int) -> bool:
        return can_reach(self._addresses.get(asker, ""), self._addresses.get(peer, ""))

    def _tell_soon(self, changed: Collection[int] = (), *, urgent: Collection[int] = ()) -> None:
        """There is news for these: later, as they introduce themselves to each other, or at once."""
        if changed or urgent:
            lacking = [key for key in changed if not self._has_everything(self.registry.get(key))]
            self._untold.add(time.monotonic(), lacking, urgent)
            self._news.set()

    def _takes_part(self, node: Node, offered: Offered) -> bool:
        """Whether a node has, or is about to get, what is distributed now."""
        return node.follows or node.generation in (b"", offered.generation)

    def _has_everything(self, node: Node | None) -> bool:
        now = self._offered
        return node is not None and now is not None and node.generation == now.generation and node.held >= now.chunks

    def _tell_news(self) -> None:
        while True:
            self._news.wait(self._untold.wait(time.monotonic()))
            self._news.clear()
            self.tell_untold()

    def _line(self, connection: int, neighbours: Collection[int], offered: Offered) -> bytes:
        nodes = [self.registry.get(key) for key in neighbours]
        peers = tuple((node.address, node.port) for node in nodes if node is not None)
        # Who takes no part asks the master whatever it asks, and keeps nobody else from it.
        direct = connection not in self._neighbours or self._direct.includes(connection)
        return News(offered.generation, offered.manifest_size, peers, direct).encode()

    def _tick(self) -> None:
        """What was given out and is overdue can be given again, also when nobody says anything."""
        while True:
            gevent.sleep(0.2)
            self._grants.set()

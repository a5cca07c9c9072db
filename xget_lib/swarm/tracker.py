"""All that a master knows of its nodes, as one object without I/O: events in, actions out.

The methods under "Events" are everything that can happen. An event changes the state and returns nothing. What the
master has to do about it is decided in `tick`, once for all events since the tick before, as each decision about grants
looks at every slot that asks. The caller carries out the actions that `tick` returns, and calls it again after `wait`.

A client is identified by the number of its connection: the one on which it reads `peers` and says where it serves.

With each new generation the peer graph, the offers and the first tier begin anew. Nodes of an older generation are told
of the new one, and take part again when they register with it. A node that follows takes part from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xget_lib.swarm.addresses import can_reach
from xget_lib.swarm.announce_queue import AnnounceQueue
from xget_lib.swarm.first_tier import FirstTier
from xget_lib.swarm.messages import News, Report
from xget_lib.swarm.offers import Offers
from xget_lib.swarm.peer_graph import PeerGraph
from xget_lib.swarm.tuning import Tuning

if TYPE_CHECKING:
    from random import Random

_GRANT_AGAIN = 0.2
"""Seconds between two decisions about grants while nothing happens: chunks become overdue by time alone."""


@dataclass(frozen=True, slots=True)
class SendNews:
    """Send this news to the readers of `peers` on a connection."""

    connection: int
    news: News


@dataclass(frozen=True, slots=True)
class Grant:
    """Grant a chunk to a slot of a connection."""

    connection: int
    slot: int
    chunk: int


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node said for the first time where it serves."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A node serves no longer."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class NodeComplete:
    """A node holds all of the published generation now, so many seconds after it could begin with it."""

    connection: int
    address: str
    port: int
    seconds: float


@dataclass(frozen=True, slots=True)
class NodeIncomplete:
    """A node that was complete has ended, or another generation was published."""

    connection: int


Action = SendNews | Grant | NodeJoined | NodeLeft | NodeComplete | NodeIncomplete


@dataclass(slots=True)
class _Client:
    """The client at the other end of a connection."""

    address: str
    reads_peers: bool = False
    report: Report | None = None
    """Where it serves and what, as it said last; None while it does not serve."""
    joined: float = 0.0
    """When it said so first."""


@dataclass(frozen=True, slots=True)
class _Published:
    """The generation that the master gives out."""

    generation: bytes
    manifest_size: int
    chunk_count: int
    since: float

    def is_held(self, report: Report) -> bool:
        """Whether a node holds all of it, as it says."""
        return report.generation == self.generation and report.held >= self.chunk_count


class Tracker:
    """The nodes of one master. Times are monotonic seconds."""

    def __init__(self, max_direct: int, tuning: Tuning, source: Random) -> None:
        """At most `max_direct` chunks are on their way from the master at once."""
        self._max_direct = max_direct
        self._tuning = tuning
        self._random = source
        self._clients: dict[int, _Client] = {}
        self._followers: set[int] = set()
        """The connections of nodes that want each new generation as soon as there is one."""
        self._complete: set[int] = set()
        """The connections of nodes that hold all of the published generation."""
        self._published: _Published | None = None
        self._announcements = AnnounceQueue(tuning.news_pause, tuning.news_later, tuning.news_most)
        self._actions: list[Action] = []
        """What the events of the past have led to, until the next tick."""
        self._ticked = 0.0
        self._begin_generation(0)

    def _begin_generation(self, chunk_count: int) -> None:
        self._offers = Offers(chunk_count, self._max_direct)
        self._graph = PeerGraph(self._tuning.degree, self._random, self._reachable)
        self._first_tier = FirstTier(self._tuning.first_tier)

    # What others may know.

    @property
    def given(self) -> int:
        """Grants of the published generation so far."""
        return self._offers.given

    @property
    def followed(self) -> bool:
        """Whether some node wants each new generation as soon as there is one."""
        return bool(self._followers)

    def address(self, connection: int) -> str:
        """The address of the client of a connection; "" if it has ended."""
        client = self._clients.get(connection)
        return client.address if client else ""

    def nodes(self) -> list[tuple[str, Report, float]]:
        """The nodes that serve: address, what it said last, and when it joined."""
        clients = self._clients.values()
        return [(client.address, client.report, client.joined) for client in clients if client.report is not None]

    # Events: connections.

    def connected(self, connection: int, address: str) -> None:
        """A client connected from this address."""
        self._clients[connection] = _Client(address)

    def ended(self, connection: int, now: float) -> None:
        """A connection has ended, and everything that depended on it."""
        self.unregistered(connection, now)
        self._clients.pop(connection, None)

    # Events: the file `peers`.

    def peers_opened(self, connection: int, now: float) -> None:
        """A client opened `peers` and waits for news."""
        client = self._clients.get(connection)
        if client is not None:
            client.reads_peers = True
            self._announce((), now, urgent=[connection])

    def registered(self, connection: int, report: Report, now: float) -> None:
        """A node said where it serves, and what it holds."""
        client = self._clients.get(connection)
        if client is None:
            return
        if client.report is None:
            client.joined = now
            self._actions.append(NodeJoined(client.address, report.port))
        client.report = report
        if report.follows:
            self._followers.add(connection)
        self._update_complete(connection, client, now)
        if self._takes_part(report):
            changed = self._graph.join(connection)
            self._announce(changed, now, urgent=changed & {connection})
        else:
            self._announce(self._graph.leave(connection), now)

    def unregistered(self, connection: int, now: float) -> None:
        """A client closed `peers`: it neither serves nor reads news any longer."""
        client = self._clients.get(connection)
        if client is None:
            return
        client.reads_peers = False
        self._followers.discard(connection)
        self._first_tier.leave(connection)
        self._offers.leave(connection)
        if client.report is not None:
            self._actions.append(NodeLeft(client.address, client.report.port))
            client.report = None
            self._update_complete(connection, client, now)
            self._announce(self._graph.leave(connection), now)

    # Events: the files `offer`.

    def slot_asked(self, connection: int, slot: int, now: float) -> None:
        """A slot asks for a chunk; the chunk that it was granted before has arrived."""
        if connection in self._clients:
            self._offers.ask(connection, slot, now)

    def wants(self, connection: int, chunks: int) -> None:
        """A node says which chunks it lacks and finds at no peer: bit i stands for chunk i."""
        if connection in self._clients:
            self._offers.wants(connection, chunks)

    def slot_closed(self, connection: int, slot: int) -> None:
        """A client closed a slot."""
        self._offers.close(connection, slot)

    # Events: the snapshot and the clock.

    def published(self, generation: bytes, manifest_size: int, chunk_count: int, now: float) -> None:
        """The master gives out another generation from now on. `manifest_size` is in bytes."""
        self._published = _Published(generation, manifest_size, chunk_count, now)
        self._begin_generation(chunk_count)
        for connection, client in self._clients.items():
            if client.report is not None and self._takes_part(client.report):
                self._graph.join(connection)
            self._update_complete(connection, client, now)
        self._announce((), now, urgent=[key for key, client in self._clients.items() if client.reads_peers])

    def tick(self, now: float) -> list[Action]:
        """Decide. Returns what is to be done, in this order."""
        self._ticked = now
        actions, self._actions = self._actions, []
        actions += [Grant(*granted) for granted in self._offers.grant(now)]
        urgent, delayed = self._announcements.take(now)
        if self._published is not None:
            actions += self._news(urgent, self._graph.chosen, self._published)
            actions += self._news(delayed, self._graph.neighbours, self._published)
        return actions

    def wait(self, now: float) -> float | None:
        """Seconds until the next tick is due if nothing happens; None if none is."""
        waits = [self._announcements.wait(now)]
        if self._offers.asked:
            waits.append(max(0.0, self._ticked + _GRANT_AGAIN - now))
        return min((wait for wait in waits if wait is not None), default=None)

    # Decisions.

    def _takes_part(self, report: Report) -> bool:
        """Whether a node has, or is about to get, the published generation."""
        published = self._published
        return published is not None and (report.follows or report.generation in (b"", published.generation))

    def _update_complete(self, connection: int, client: _Client, now: float) -> None:
        report, published = client.report, self._published
        if published is not None and report is not None and published.is_held(report):
            if connection not in self._complete:
                self._complete.add(connection)
                self._offers.complete(connection)
                self._first_tier.leave(connection)
                seconds = now - max(client.joined, published.since)
                self._actions.append(NodeComplete(connection, client.address, report.port, seconds))
        elif connection in self._complete:
            self._complete.discard(connection)
            self._actions.append(NodeIncomplete(connection))

    def _announce(self, changed: Iterable[int], now: float, *, urgent: Collection[int] = ()) -> None:
        """There is news for nodes whose neighbours changed. Complete ones need no peers, urgent ones hear at once."""
        self._announcements.add(now, [each for each in changed if each not in self._complete], urgent)

    def _news(
        self, connections: Iterable[int], peers_of: Callable[[int], Collection[int]], published: _Published
    ) -> Iterator[SendNews]:
        for connection in sorted(connections):  # the order of a set is nothing to rely on
            client = self._clients.get(connection)
            if client is not None and client.reads_peers:
                peers = (self._clients[peer] for peer in sorted(peers_of(connection)))
                places = tuple((peer.address, peer.report.port) for peer in peers if peer.report is not None)
                direct = self._takes_directly(connection)
                yield SendNews(connection, News(published.generation, published.manifest_size, places, direct))

    def _takes_directly(self, connection: int) -> bool:
        """Whether a client takes from the master at once. One that takes no part, or is complete, uses up no place."""
        if connection not in self._graph or connection in self._complete:
            return True
        return self._first_tier.admit(connection)

    def _reachable(self, asker: int, peer: int) -> bool:
        return can_reach(self.address(asker), self.address(peer))

"""All that a master knows of its nodes, as one object without I/O: events in, actions out.

The methods under "Events" are everything that can happen. They change the state and return nothing. `tick` decides what
the master has to do, once for all events since the tick before, because a decision about grants looks at every slot
that asks. The caller carries out the actions that `tick` returns, and calls it again after `wait`.

A client is identified by the number of the connection on which it reads `peers` and registers its port.

Each new generation has its own peer graph, offers and first tier. The master sends news of it to all nodes. A node
takes part in it when it registers with it; a node that follows takes part from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from xget_lib.dataclass import dataclass, field, replace
from xget_lib.manifest.signature import Signature
from xget_lib.swarm.addresses import can_reach
from xget_lib.swarm.announce_queue import AnnounceQueue
from xget_lib.swarm.fetch_rate import FetchRate
from xget_lib.swarm.first_tier import FirstTier
from xget_lib.swarm.former_nodes import FormerNode, FormerNodes
from xget_lib.swarm.hosts import host_of
from xget_lib.swarm.messages import CURRENT, Address, Freshness, News, Registration
from xget_lib.swarm.named_nodes import NamedNodes
from xget_lib.swarm.node_progress import Lag, NodeProgress
from xget_lib.swarm.offers import Offers
from xget_lib.swarm.peer_graph import PeerGraph
from xget_lib.swarm.run_totals import LOST, RunTotals
from xget_lib.swarm.tracker_actions import (
    Action,
    NodeComplete,
    NodeEnded,
    NodeIncomplete,
    NodeJoined,
    NodeLags,
    NodeLeft,
    SendGrant,
    SendNews,
)
from xget_lib.swarm.tuning import Tuning

if TYPE_CHECKING:
    from random import Random

__all__ = [
    "Action",
    "NodeComplete",
    "NodeEnded",
    "NodeIncomplete",
    "NodeJoined",
    "NodeLags",
    "NodeLeft",
    "SendGrant",
    "SendNews",
    "Tracker",
]

_GRANT_AGAIN = 0.2
"""Seconds between two decisions about grants while nothing happens: chunks become overdue by time alone."""
_LOOK_FOR_LAGS = 5.0
"""Seconds between two looks for nodes that lag."""
_TRUSTED = 60.0
"""Seconds for which a scan is taken for new if the directory is watched: inotify does not report everything."""


@dataclass(slots=True)
class _Client:
    """The client at the other end of a connection."""

    address: str
    reads_peers: bool = False
    registration: Registration | None = None
    """Its last registration; None while it does not serve."""
    joined: float = 0.0
    """When it registered first."""
    complete: bool = False
    """Whether it holds all of the published generation."""
    rate: FetchRate = field(default_factory=FetchRate)


@dataclass(frozen=True, slots=True)
class Node:
    """A node that serves, as the status shows it. Times are monotonic seconds."""

    address: str
    registration: Registration
    """The last one."""
    joined: float
    complete: bool
    """Whether it holds all of the published generation."""
    changed: float | None
    """When it last held more than before, if it is downloading the published generation."""
    lag: Lag | None
    rate: float = 0.0
    """Bytes per second that it fetches."""


@dataclass(frozen=True, slots=True)
class _Published:
    """The generation that the master serves."""

    generation: bytes
    manifest_size: int
    chunk_count: int
    since: float
    signature: Signature | None


@dataclass(frozen=True, slots=True)
class _Scanned:
    """As in `Tracker.scanned`."""

    at: float
    watched: bool
    problem: str
    settled: float

    def freshness(self, now: float) -> Freshness:
        age = max(0.0, now - self.at)
        if self.watched and not self.problem and age < _TRUSTED:
            age = 0.0
        return Freshness(round(age, 1), self.problem, round(max(0.0, self.settled - now), 1))


class Tracker:
    """The nodes of one master. Times are monotonic seconds."""

    def __init__(self, max_direct: int, tuning: Tuning, rng: Random) -> None:
        """At most `max_direct` chunks are on their way from the master at once."""
        self._max_direct = max_direct
        self._tuning = tuning
        self._random = rng
        self._clients: dict[int, _Client] = {}
        self._named = NamedNodes()
        self._former = FormerNodes()
        self.totals = RunTotals()
        self._followers: set[int] = set()
        """The connections of nodes that want each new generation as soon as there is one."""
        self._published: _Published | None = None
        self._scanned: _Scanned | None = None
        self._announcements = AnnounceQueue(tuning.news_pause, tuning.news_later, tuning.news_most)
        self._actions: list[Action] = []
        """What is decided already, for the next tick to return."""
        self._ticked = 0.0
        self._look_for_lags = 0.0
        """When to look for nodes that lag."""
        self._begin_generation(0)

    def _begin_generation(self, chunk_count: int) -> None:
        self._offers = Offers(chunk_count, self._max_direct, self._host)
        self._graph = PeerGraph(self._tuning.degree, self._random, self._reachable, self._host)
        self._first_tier = FirstTier(self._tuning.first_tier)
        self._progress = NodeProgress()

    # The state, for others to read.

    @property
    def granted_count(self) -> int:
        """Grants of the published generation so far."""
        return self._offers.granted_count

    @property
    def published_generation(self) -> bytes:
        """The generation that the master serves; b"" if none."""
        return self._published.generation if self._published is not None else b""

    @property
    def chunk_count(self) -> int:
        """Chunks of that generation."""
        return self._published.chunk_count if self._published is not None else 0

    @property
    def followed(self) -> bool:
        """Whether some node wants each new generation as soon as there is one."""
        return bool(self._followers)

    def address(self, connection: int) -> str:
        """The address of the client of a connection; "" if it has ended."""
        client = self._clients.get(connection)
        return client.address if client else ""

    def nodes(self, now: float) -> list[Node]:
        """The nodes that serve."""
        return [
            Node(
                client.address,
                client.registration,
                client.joined,
                client.complete,
                self._progress.changed(connection),
                self._progress.lag(connection, now),
                client.rate.rate(now),
            )
            for connection, client in self._clients.items()
            if client.registration is not None
        ]

    def former_nodes(self) -> list[FormerNode]:
        """Those that have left, and not come back."""
        return list(self._former)

    # Events: connections.

    def connected(self, connection: int, address: str) -> None:
        """A client connected from this address."""
        self._clients[connection] = _Client(address)

    def ended(self, connection: int, now: float) -> None:
        """A connection has ended, and everything that depended on it."""
        self.unregistered(connection, now)
        self._clients.pop(connection, None)
        self._named.ended(connection)

    # Events: the file `peers`.

    def peers_opened(self, connection: int, now: float) -> None:
        """A client opened `peers` and waits for news."""
        if client := self._clients.get(connection):
            client.reads_peers = True
            self._announcements.add(now, urgent=[connection])

    def registered(self, connection: int, registration: Registration, now: float) -> None:
        """A node registers: it tells its port, and how much it holds. Later registrations replace the first."""
        client = self._clients.get(connection)
        if client is None:
            return
        before = client.registration
        if before is None:
            client.joined = now
            self._actions.append(NodeJoined(client.address, registration.port))
            former = self._former.came(self._host(connection), registration)
            before = former.registration if former is not None else None
        elif registration.ended and not before.ended:
            self._actions.append(NodeEnded(client.address, registration))
            self.totals.ended[registration.ended] += 1
        self.totals.reported(before, registration)
        client.registration = registration
        client.rate.reported(registration.fetched, now)
        if registration.follows:
            self._followers.add(connection)
        self._update_complete(connection, client, now)
        if self._takes_part(registration):
            changed = self._graph.join(connection)
            self._announce(changed, now, urgent=changed & {connection})
        else:
            self._announce(self._graph.leave(connection), now)

    def peers_reached(self, connection: int, peers: Collection[Address], now: float) -> None:
        """A node has connected to these peers. Only what it says of its own neighbours counts."""
        for peer in self._graph.neighbours(connection):
            client = self._clients[peer]
            if (
                client.registration is not None
                and (client.address, client.registration.port) in peers
                and self._named.reached(peer, self._host(peer), self._host(connection), now)
            ):
                self._announce(self._graph.neighbours(peer), now)

    def unregistered(self, connection: int, now: float) -> None:
        """A client closed `peers`: it neither serves nor reads news any longer."""
        client = self._clients.get(connection)
        if client is None:
            return
        client.reads_peers = False
        self._followers.discard(connection)
        self._first_tier.leave(connection)
        self._offers.leave(connection, now)
        if client.registration is not None:
            last, whole = client.registration, client.complete
            if not last.ended and not whole:
                self.totals.ended[LOST] += 1
            self._actions.append(NodeLeft(client.address, last, whole))
            self._former.left(self._host(connection), client.address, last, now, whole=whole)
            client.registration = None
            self._update_complete(connection, client, now)
            self._announce(self._graph.leave(connection), now)

    # Events: the files `offer`.

    def slot_asked(self, connection: int, slot: int, now: float, round_trip: float = 0.0) -> None:
        """A slot asks for a chunk; the chunk that it was granted before has arrived. `round_trip`: as in `Offers`."""
        if connection in self._clients:
            self._offers.ask(connection, slot, now, round_trip)

    def wants(self, connection: int, chunks: int) -> None:
        """A node reports the chunks that it lacks and finds at no peer: bit i stands for chunk i."""
        if connection in self._clients:
            self._offers.wants(connection, chunks)

    def slot_closed(self, connection: int, slot: int, now: float) -> None:
        """A client closed a slot."""
        self._offers.close(connection, slot, now)

    # Events: the snapshot and the clock.

    def scanned(self, at: float, now: float, *, watched: bool, problem: str, settled: float) -> None:
        """The master scanned its directory at this time. A new problem, or its end, is news for nodes that download.

        `watched`: it would know of changes since. `problem`: why it does not serve what is there; "" if it does.
        `settled`: until when files that are left out may become complete.
        """
        former, self._scanned = self._scanned, _Scanned(at, watched, problem, settled)
        if former is not None and former.problem != problem:
            # Nodes that download may ask in vain for what is gone, and can tell why.
            waiting = [key for key, client in self._clients.items() if client.reads_peers and not client.complete]
            self._announcements.add(now, urgent=waiting)

    def published(
        self, generation: bytes, manifest_size: int, chunk_count: int, now: float, signature: Signature | None = None
    ) -> None:
        """The master serves another generation from now on. `manifest_size` is in bytes."""
        self._published = _Published(generation, manifest_size, chunk_count, now, signature)
        self._begin_generation(chunk_count)
        for connection, client in self._clients.items():
            if client.registration is not None and self._takes_part(client.registration):
                self._graph.join(connection)
            self._update_complete(connection, client, now)
        self._announce_to_all(now)

    def signed(self, signature: Signature | None, now: float) -> None:
        """The published generation has another signature from now on, or none."""
        if self._published is not None:
            self._published = replace(self._published, signature=signature)
            self._announce_to_all(now)

    def tick(self, now: float) -> list[Action]:
        """Decide. Returns what the caller has to do, in this order."""
        self._ticked = now
        actions, self._actions = self._actions, []
        actions += [SendGrant(*granted) for granted in self._offers.grant(now)]
        actions += self._new_lags(now)
        urgent, delayed = self._announcements.take(now)
        if self._published is not None:
            freshness = self._scanned.freshness(now) if self._scanned else CURRENT
            actions += self._news(urgent, self._graph.chosen, self._published, freshness, now)
            actions += self._news(delayed, self._graph.neighbours, self._published, freshness, now)
        return actions

    def wait(self, now: float) -> float | None:
        """Seconds until the next tick is due if nothing happens; None if none is."""
        waits = [self._announcements.wait(now)]
        if self._offers.asked:
            waits.append(max(0.0, self._ticked + _GRANT_AGAIN - now))
        if self._progress:
            waits.append(max(0.0, self._look_for_lags - now))
        return min((wait for wait in waits if wait is not None), default=None)

    # Decisions.

    def _takes_part(self, registration: Registration) -> bool:
        """Whether a node has the published generation, or will download it."""
        if self._published is None:
            return False
        return registration.follows or registration.generation in (b"", self._published.generation)

    def _update_complete(self, connection: int, client: _Client, now: float) -> None:
        registration, published = client.registration, self._published
        if (
            published is not None
            and registration is not None
            and registration.generation == published.generation
            and registration.held >= published.chunk_count
        ):
            if not client.complete:
                client.complete = True
                self._offers.complete(connection)
                self._first_tier.leave(connection)
                seconds = now - max(client.joined, published.since)
                self._progress.completed(connection, seconds)
                self._actions.append(NodeComplete(connection, client.address, registration.port, seconds))
            return
        if registration is not None and self._takes_part(registration) and not registration.ended:
            # What it holds of another generation does not count.
            held = registration.held if published and registration.generation == published.generation else 0
            self._progress.holds(connection, self._host(connection), held, now)
        else:
            self._progress.leave(connection)
        if client.complete:
            client.complete = False
            self._actions.append(NodeIncomplete(connection))

    def _new_lags(self, now: float) -> Iterator[NodeLags]:
        if self._published is None or now < self._look_for_lags:
            return
        self._look_for_lags = now + _LOOK_FOR_LAGS
        for connection, lag in self._progress.new_lags(now):
            client = self._clients[connection]
            if client.registration is not None:
                held, chunks = client.registration.held, self._published.chunk_count
                yield NodeLags(client.address, client.registration, held, chunks, lag)

    def _announce_to_all(self, now: float) -> None:
        self._announcements.add(now, urgent=[key for key, client in self._clients.items() if client.reads_peers])

    def _announce(self, changed: Iterable[int], now: float, urgent: Collection[int] = ()) -> None:
        """There is news for nodes whose neighbours changed. Complete nodes need no peers; urgent ones cannot wait."""
        self._announcements.add(now, [each for each in changed if not self._clients[each].complete], urgent)

    def _news(
        self,
        connections: Iterable[int],
        peers_of: Callable[[int], Collection[int]],
        published: _Published,
        freshness: Freshness,
        now: float,
    ) -> Iterator[SendNews]:
        for connection in sorted(connections):  # a set has no order that a simulation could repeat
            client = self._clients.get(connection)
            if client is not None and client.reads_peers:
                host = self._host(connection)
                peers = [
                    self._clients[peer]
                    for peer in sorted(peers_of(connection))
                    if self._named.may_name(peer, self._host(peer), connection, host, now)
                ]
                addresses = tuple((peer.address, peer.registration.port) for peer in peers if peer.registration)
                # A client that takes no part, or is complete, needs no room in the first tier.
                master_first = (
                    client.complete or connection not in self._graph or self._first_tier.admit(connection, host)
                )
                generation, size, signature = published.generation, published.manifest_size, published.signature
                news = News(generation, size, addresses, master_first, freshness, signature)
                yield SendNews(connection, news)

    def _host(self, connection: int) -> str:
        return host_of(self.address(connection))

    def _reachable(self, asker: int, peer: int) -> bool:
        return can_reach(self.address(asker), self.address(peer))

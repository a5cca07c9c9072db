"""Which peers a node connects to: those that the master names, and those that register with this node.

Both may be hostile, or name peers that do not exist. So the number of connections at once is limited, as is the number
of attempts in a second, and of those at one host that does not answer (`host_attempts`). The more attempts fail in a
row, the fewer follow. A peer whose connections fail or end rests for a time that grows, and is given up after some
tries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random

from xget_lib.dataclass import dataclass
from xget_lib.swarm.backoff import Backoff, doubled
from xget_lib.swarm.host_attempts import HostAttempts
from xget_lib.swarm.hosts import host_of
from xget_lib.swarm.messages import Address

CONNECTIONS = 64
"""Peers that a node is connected to at once, at most."""
REGISTERED = 64
"""Registered peers that a node remembers, at most."""
REGISTERED_CONNECTIONS = 48
"""Of the connections, at most so many are to peers that the master has not named. One host has at most as many of them
as are left: so there is always one for a host that has none."""
NAMED = 128
"""Peers that the master may name at once; a master of ours names some dozens at most."""
TRIES = 6
"""Connections in a row that bring nothing, after which a peer is given up."""
_REST, _LONGEST_REST = 1.5, 60.0
"""Seconds before a peer is connected to again, at first and at most; half of it at least."""
_BURST = 32
"""Attempts that may follow each other without a pause."""
_PAUSE = 0.125
"""Seconds between two attempts, after the burst."""
_SLOWER_AFTER = 16
"""Each time that so many attempts in a row have failed, the pauses between attempts double,"""
_LONGEST_PAUSE = 8.0
"""up to so many seconds."""
_REMEMBERED = 512
"""Peers whose failures are remembered, at most."""
_BAD_OF_HOST = 8
"""Peers of one host that sent wrong content, after which registrations from this host are ignored."""


@dataclass(slots=True)
class _Failures:
    """What is remembered of a peer whose connection failed or ended."""

    rest: Backoff
    until: float = 0.0
    """The peer is not connected to again before that."""
    count: int = 0


class KnownPeers:
    """The peers of one node. Owned by a `Downloader`. There is at most one connection to each peer at a time. Times are
    monotonic seconds."""

    def __init__(self, rng: Random) -> None:
        self._random = rng
        self.host_attempts = HostAttempts(rng)
        """For all generations. Shared with whatever else connects to peers."""
        self._generation = b""
        self._named: frozenset[Address] = frozenset()
        self._registered: dict[Address, bytes] = {}
        """The generation that each of them serves; the longest known first."""
        self._bad: set[Address] = set()
        """Peers that sent wrong content of this generation."""
        self._bad_of_host: Counter[str] = Counter()
        self._connected: set[Address] = set()
        """The peers with a connection, or with an attempt to make one."""
        self._failures: dict[Address, _Failures] = {}
        """The most recent last."""
        self._attempts = float(_BURST)
        """Attempts that may be made at once."""
        self._counted_at = 0.0
        self._failed_in_row = 0
        self._attempts_of_host: Counter[str] = Counter()
        """At peers that the master has not named, of hosts that are registered."""

    def begin(self, generation: bytes) -> None:
        """Another generation is downloaded from now on. There are no connections."""
        self._generation = generation
        self._bad.clear()
        self._bad_of_host.clear()
        self._connected.clear()
        self._failures.clear()
        self._attempts_of_host.clear()

    def name(self, peers: Iterable[Address]) -> None:
        """The master names the peers of this node. Replaces those that it named before."""
        self._named = frozenset(islice(peers, NAMED))

    def register(self, peer: Address, generation: bytes) -> None:
        """A peer says that it serves a generation. If too many do, one of another generation is forgotten, or one of
        the host that has most."""
        self._registered.pop(peer, None)
        if self._bad_of_host[host_of(peer[0])] >= _BAD_OF_HOST:
            return
        if len(self._registered) >= REGISTERED:
            least = self._least_useful(peer)
            if least is None:
                return
            del self._registered[least]
        self._registered[peer] = generation
        if peer in self._failures:
            # It is there again: one more try.
            self._failures[peer].count = min(self._failures[peer].count, TRIES - 1)

    def distrust(self, peer: Address) -> None:
        """A peer sent wrong content: it is not connected to again for this generation."""
        self._bad.add(peer)
        self._bad_of_host[host_of(peer[0])] += 1
        self._registered.pop(peer, None)
        self._connected.discard(peer)

    def connected(self, peer: Address) -> None:
        """A connection was made, and answered."""
        self.host_attempts.answered(peer[0])

    def useful(self, peer: Address) -> None:
        """A chunk has come from a peer."""
        self._failures.pop(peer, None)
        self._failed_in_row = 0

    def to_connect(self, now: float) -> list[Address]:
        """The peers to connect to now. They count as connected from now on."""
        self._attempts = min(_BURST, self._attempts + max(0.0, now - self._counted_at) / self._pause)
        self._counted_at = now
        found = list(islice(self._candidates(now), max(0, int(self._attempts))))
        self._attempts -= len(found)
        return found

    def lost(self, peer: Address, now: float) -> None:
        """A connection failed or ended."""
        if peer not in self._connected:
            return
        self._connected.remove(peer)
        failures = self._failures.pop(peer, None) or _Failures(Backoff(self._random, _REST, _LONGEST_REST))
        if len(self._failures) >= _REMEMBERED:
            del self._failures[next(iter(self._failures))]
        failures.count += 1
        failures.until = now + failures.rest.next()
        self._failures[peer] = failures
        self._failed_in_row += 1
        if failures.count >= TRIES:
            self._registered.pop(peer, None)

    @property
    def _pause(self) -> float:
        return doubled(_PAUSE, self._failed_in_row // _SLOWER_AFTER, _LONGEST_PAUSE)

    def _candidates(self, now: float) -> Iterator[Address]:
        """The peers that may be connected to, as far as there is room."""
        room = CONNECTIONS - len(self._connected)
        for peer in islice((each for each in sorted(self._named) if self._may_connect(each, now)), max(0, room)):
            yield self._connect(peer, now)
        others = self._connected - self._named
        of_host = Counter(host_of(peer[0]) for peer in others)
        room = min(CONNECTIONS - len(self._connected), REGISTERED_CONNECTIONS - len(others))
        waiting = self._waiting(now)
        while waiting and room > 0:
            host = min(waiting, key=lambda each: (of_host[each], self._attempts_of_host[each]))
            if of_host[host] >= room:
                break  # what is left is for hosts with fewer: there may be one later
            peer = waiting[host].pop()
            if not waiting[host]:
                del waiting[host]
            if not self.host_attempts.may_try(peer[0], now):
                continue
            room -= 1
            of_host[host] += 1
            self._attempts_of_host[host] += 1
            yield self._connect(peer, now)

    def _connect(self, peer: Address, now: float) -> Address:
        self._connected.add(peer)
        self.host_attempts.tried(peer[0], now)
        return peer

    def _waiting(self, now: float) -> dict[str, list[Address]]:
        """By host: the registered peers that may be connected to, the one known longest at the end."""
        waiting: dict[str, list[Address]] = {}
        for peer, served in reversed(self._registered.items()):
            if served == self._generation and self._may_connect(peer, now):
                waiting.setdefault(host_of(peer[0]), []).append(peer)
        return waiting

    def _may_connect(self, peer: Address, now: float) -> bool:
        if peer in self._connected or peer in self._bad or not self.host_attempts.may_try(peer[0], now):
            return False
        failures = self._failures.get(peer)
        return failures is None or (failures.until <= now and failures.count < TRIES)

    def _least_useful(self, newcomer: Address) -> Address | None:
        """The registered peer to forget for another one; None if none is less useful than that."""
        for peer, served in self._registered.items():
            if served != self._generation:
                return peer
        hosts = Counter(host_of(peer[0]) for peer in self._registered)
        most, count = hosts.most_common(1)[0]
        if count <= hosts[host_of(newcomer[0])] + 1:
            return None
        return next(peer for peer in self._registered if host_of(peer[0]) == most)

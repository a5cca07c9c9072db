"""Which readers a node uploads to: a few at a time, and each chooses its chunk only when its slot is granted.

A node that wants a chunk of a peer requests an upload slot, as a BitTorrent client waits to be unchoked. When the slot
is granted it chooses the chunk, from what it lacks at that moment. So no request waits behind others at a busy
peer while an idle peer has the same chunk, and a chunk that is sent to few nodes at once is complete there sooner
and can be passed on. In the simulator this matters most of all (32 nodes: 1.07 instead of 1.28).

A slot lasts until its holder requests the next one or passes. A slot that lasts much longer than usual (a slow link, a
client that stopped) stays valid, but is not counted any more, so that another reader gets one too.

Hosts share the slots, since one host can have many readers: the next slot goes to the host that holds fewest, expired
ones included. Of these, whoever has kept slots for much longer than the others (`host_accounts`) comes last. No host
gets the last slot if it has all others. So a host that requests slots and does not use them, or is slow, costs the
others no more than its share. Smaller differences do not count: by them, nodes with busy links would be the last to
have everything (simulator, 64 nodes: 1.10 instead of 1.08).
"""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

from xget_lib.swarm.host_accounts import HostAccounts
from xget_lib.swarm.in_transit import InTransit
from xget_lib.swarm.moving_average import MovingAverage

_PATIENCE = 8.0
"""A slot is not counted any more after this many times the usual duration."""
_LONGEST = 30.0
"""Seconds after which a slot is not counted any more, whatever is usual."""
_FIRST_USUAL = 1.0
_ROUND_TRIPS = 2.0
"""Of a slot: grant and request of the chunk, its last bytes and the next request."""

K = TypeVar("K")


class UploadSlots(Generic[K]):
    """The upload slots of one node. Keys name the readers, one for each slot that is requested; times are monotonic
    seconds."""

    def __init__(self, limit: int) -> None:
        """`limit` is the number of slots in use at once."""
        self._limit = limit
        self._granted: dict[K, tuple[str, float]] = {}
        """The host of each slot that is in use, and when it was granted."""
        self._queues: dict[str, dict[K, None]] = {}
        """By host: the readers that wait, in the order of their requests. Hosts are in the order of their oldest
        request, or of their last grant."""
        self._hosts: dict[K, str] = {}
        """The host of each reader that waits."""
        self._usual = MovingAverage(_FIRST_USUAL)
        """Seconds from a grant to the next request."""
        self._used: dict[str, float] = {}
        """By host that waits or has slots: for how many seconds it kept slots. An expired one costs nothing more."""
        self._accounts = HostAccounts()
        self._round_trips: dict[K, float] = {}
        """Of each reader that waits or has a slot."""
        self._in_transit = InTransit(_ROUND_TRIPS)

    @property
    def waiting(self) -> bool:
        """Whether a reader waits for a slot."""
        return bool(self._queues)

    def request(self, key: K, host: str, now: float, round_trip: float = 0.0) -> None:
        """A reader on a host requests a slot. The slot that it had, if any, was used and is over. `round_trip`: seconds
        that a message to the reader and its reply take at least."""
        if host not in self._used:
            self._used[host] = self._accounts.begin(self._accounts.come(host), self._used.values())
        if key in self._granted:
            # One reader that keeps a slot for long does not change much what is usual.
            self._usual.add(self._take_back(key, now))
        self._round_trips[key] = round_trip
        if key not in self._hosts:
            self._hosts[key] = host
            self._queues.setdefault(host, {})[key] = None

    def end(self, key: K, now: float) -> None:
        """A reader passes its slot, takes its request back, or is gone."""
        host = self._hosts.get(key)
        if host is not None:
            self._unqueue(key)
        if key in self._granted:
            host = self._granted[key][0]
            self._take_back(key, now)
        self._round_trips.pop(key, None)
        if host is not None and host not in self._queues and all(host != other for other, _ in self._granted.values()):
            self._accounts.gone(host, self._used.pop(host))

    def grant(self, now: float) -> list[K]:
        """The readers that are granted a slot now.

        To be called after every event, and now and then when nothing happens, since slots expire by time alone.
        """
        if not self._queues:
            return []
        expired, limit = now - self._patience, self._in_transit.widen(self._limit)
        if sum(since >= expired for _, since in self._granted.values()) >= limit:
            return []
        held = Counter(host for host, _ in self._granted.values())
        busy = Counter(host for host, since in self._granted.values() if since >= expired)
        of_one_host = max(1, limit - 1)
        granted: list[K] = []
        while busy.total() < limit:
            able = [each for each in self._queues if busy[each] < of_one_host]
            if not able:
                break
            enough = min(self._used[each] for each in able) + self._patience
            host = min(able, key=lambda each: (held[each], max(self._used[each], enough)))
            key = next(iter(self._queues[host]))
            self._unqueue(key)
            if host in self._queues:
                self._queues[host] = self._queues.pop(host)
            self._granted[key] = host, now
            held[host] += 1
            busy[host] += 1
            granted.append(key)
        return granted

    @property
    def _patience(self) -> float:
        return min(_PATIENCE * self._usual.value, _LONGEST)

    def _take_back(self, key: K, now: float) -> float:
        """A slot is over. Returns the seconds that it cost its host."""
        host, since = self._granted.pop(key)
        seconds = min(now - since, self._patience)
        self._used[host] += seconds
        # The grant goes to the reader, and its request comes back; then its next request.
        self._in_transit.add(seconds, self._round_trips[key])
        return seconds

    def _unqueue(self, key: K) -> None:
        host = self._hosts.pop(key)
        del self._queues[host][key]
        if not self._queues[host]:
            del self._queues[host]

"""Which chunk the master offers next, and to which node: each chunk as few times as possible.

All nodes share the master's link, so the master sends chunks that no node has yet. The master chooses them. A node
opens `offer` files, its *slots*; each slot asks and is granted a chunk to read. When it asks again, the former chunk
has arrived. A node also reports its wants: the chunks that it lacks and that none of its peers has. After every chunk
was granted once, the master grants a chunk again only to a node that still wants it, and only when the earlier grant is
overdue: first those that were granted least often, so that a node which takes nothing, and says at once that everything
has arrived, costs the others nothing. What was granted twice has most likely come to an honest node, whose peers do not
know it yet.

At most `limit` chunks are on their way at once: a link that few chunks share completes each of them sooner, and a node
can pass on only complete chunks. A node gets a second chunk only when no other node waits for its first, because then
the chunks that the master sends do not share the link of one node.

Hosts share the limit (`swarm.host_turns`). A chunk that takes several times as long as usual is *stuck*.

Sets of chunks are integers: bit i stands for chunk i.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice

from xget_lib.dataclass import dataclass, field
from xget_lib.swarm.backoff import doubled
from xget_lib.swarm.host_turns import Host, HostTurns, Slot
from xget_lib.swarm.in_transit import InTransit
from xget_lib.swarm.picker import bits
from xget_lib.swarm.rests import Rests
from xget_lib.swarm.usual_time import UsualTime

_FIRST_USUAL = 0.5
"""Seconds that a chunk takes, as long as none has arrived."""
_OVERDUE = 2.0
"""A grant is overdue when it has taken this many times the usual duration,"""
_OVERDUE_LEAST = 0.05
"""and at least this many seconds."""
_FIRST = 2
"""Chunks on their way before any has arrived: all nodes wait for the first."""
_STUCK = 8.0
"""A chunk is stuck when it takes this many times the usual duration: its node may have stopped."""
_STUCK_LEAST = 1.0
"""Seconds; also the limit before any chunk has arrived. Then it doubles when chunks are stuck: the link may be slow."""
_STUCK_MOST = 30.0
"""Seconds, unless twice the usual duration is longer."""
_HALVINGS = 3
"""While nothing arrives, it halves each time that as many chunks are stuck as may be on their way, so many times at
most: nodes that have stopped cost the others one such time together, not one each."""
_ROUND_TRIPS = 2.0
"""Of a chunk: the grant and the request for the data, its last bytes and the next request."""
_CANDIDATES = 64
"""Chunks that are considered for a further grant at a time, of those that were granted equally often."""
_COUNTED = 16
"""Nodes to which a chunk was granted that are counted."""
_AGAIN = 0.5
_AGAIN_MOST = 8.0
"""Seconds before a chunk is granted to the same node again. They double each time up to the second number: the node may
not be able to read it at all."""
_CONSIDERED = 256
"""Slots of one host that are considered at a time. The others come first the next time."""


@dataclass(eq=False)
class _Node:
    host: Host
    wants: int
    """Chunks that it lacks and finds at no peer, as it reported last while it had a slot."""
    granted: int = 0
    """All chunks that were granted to it; other nodes may not have them."""
    again: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By chunk that was granted to it more than once: how often, and from when it may be granted to it again."""
    on_way: int = 0
    """How many chunks are on their way to it."""
    complete: bool = False
    """Whether it has everything, and serves it."""
    slots: set[Slot] = field(default_factory=set)


@dataclass(eq=False)
class _Flight:
    """A chunk on its way to a slot."""

    chunk: int
    granted: float
    patience: float
    """Seconds after which it is stuck."""


class Offers:
    """The grants of one generation's chunks, owned by the master's Tracker.

    Times are monotonic seconds. Nodes are the caller's keys; slots are numbered within their node.
    """

    def __init__(self, chunk_count: int, limit: int, host_of: Callable[[int], Hashable]) -> None:
        """`host_of(node)` says to which host a node belongs."""
        self._limit = limit
        self._host_of = host_of
        self._all = (1 << chunk_count) - 1
        self._fresh = self._all
        """Chunks that no node was granted, or only nodes that ended."""
        self._times: dict[int, int] = {}
        """By chunk: how many nodes it was granted to, as far as they are counted."""
        self._granted = [self._all] + [0] * _COUNTED
        """The chunks that were granted to so many nodes: none, one, and so on. The last: to so many or more."""
        self._last_grant: dict[int, float] = {}
        """By chunk: when it was granted last."""
        self._nodes: dict[int, _Node] = {}
        self._hosts = HostTurns()
        self._usual = UsualTime(_FIRST_USUAL)
        """Seconds from a grant to the arrival of the chunk."""
        self._in_transit = InTransit(_ROUND_TRIPS)
        self._rests = Rests()
        self._on_way: dict[Slot, _Flight] = {}
        self._moving: dict[Slot, _Flight] = {}
        """Those of them that are not stuck."""
        self._arrived = 0
        self._stuck_in_row = 0
        """Chunks that were stuck since any arrived."""
        self.granted_count = 0
        """Grants so far."""

    @property
    def asked(self) -> bool:
        """Whether a slot waits for a grant."""
        return bool(self._hosts)

    def wants(self, node: int, chunks: int) -> None:
        """A node reports the chunks that it lacks and finds at no peer. Before its first report it wants all."""
        state = self._node(node)
        state.wants = chunks & self._all
        for slot in state.slots:
            if slot not in self._on_way:
                self._queue(slot, state.host)

    def ask(self, node: int, number: int, now: float, round_trip: float = 0.0) -> None:
        """A slot asks for a chunk; the chunk that was on its way to it has arrived. `round_trip`: seconds that a
        message to the node and its reply take at least."""
        slot, owner = (node, number), self._node(node)
        owner.slots.add(slot)
        self._queue(slot, owner.host)  # first: a host that goes on asking keeps its account
        flight = self._end_flight(slot, now)
        if flight is not None:
            seconds = now - flight.granted
            self._in_transit.add(seconds, round_trip)
            if self.granted_count > 8:
                self._rests.arrived(node, flight.granted, now, self._usual.high)
            self._usual.add(owner.host.key, seconds)
            self._arrived += 1
            self._stuck_in_row = 0
            owner.wants &= ~(1 << flight.chunk)

    def close(self, node: int, number: int, now: float) -> None:
        """A slot is closed; the chunk that was on its way to it is granted to another. With its last slot a node takes
        back its report of wants: it may have been of another generation."""
        slot, owner = (node, number), self._nodes.get(node)
        if owner is None:
            return
        owner.slots.discard(slot)
        if not owner.slots:
            owner.wants = self._all
        for queue in (owner.host.first, owner.host.second):
            queue.pop(slot, None)
        flight = self._end_flight(slot, now)
        if flight is not None:
            self._fresh |= 1 << flight.chunk
        self._hosts.place(owner.host)

    def complete(self, node: int) -> None:
        """A node holds all chunks and serves them, so those that it was granted are not lost when it ends."""
        if node in self._nodes:
            self._nodes[node].complete = True

    def leave(self, node: int, now: float) -> None:
        """A node has ended. If it was not complete, its chunks may be lost, so they are granted again."""
        state = self._nodes.get(node)
        if state is None:
            return
        for slot in list(state.slots):
            self.close(*slot, now)
        if state.complete:
            # It serves them no longer, so a node that still wants one need not wait.
            for chunk in bits(state.granted):
                self._last_grant.pop(chunk, None)
        else:
            self._fresh |= state.granted
        self._rests.leave(node)
        del self._nodes[node]
        self._hosts.leave(state.host)

    def grant(self, now: float) -> list[tuple[int, int, int]]:
        """Grant chunks to asking slots, as far as the limit allows: (node, slot, chunk) in the order granted.

        To be called after every event, and now and then without one: rests end, and grants become overdue.
        """
        self._find_stuck(now)
        self._rests.end(now)
        granted: list[tuple[int, int, int]] = []
        in_vain = self._grant(now, granted, resting=False)
        # A rest is for the others: it ends early when none of them waits for anything.
        if self._rests and not in_vain and all(slot[0] in self._rests for slot in self._moving):
            self._grant(now, granted, resting=True)
        return granted

    def _grant(self, now: float, granted: list[tuple[int, int, int]], *, resting: bool) -> bool:
        """Grant chunks to nodes that do not rest, or to all. Returns whether a node that does not rest got nothing that
        it asked for."""
        in_vain = False
        limit = self._in_transit.widen(self._limit)
        while (host := self._hosts.next(min(limit, _FIRST + self._arrived))) is not None:
            found, refused = self._choose_slot(host, now, resting=resting)
            in_vain |= refused
            if found is None:
                self._hosts.pass_turn(host)
            else:
                slot, chunk = found
                self._record(slot, chunk, now)
                granted.append((*slot, chunk))
            self._hosts.place(host)
        in_vain |= self._hosts.in_vain
        self._hosts.end_round()
        return in_vain

    def _choose_slot(self, host: Host, now: float, *, resting: bool) -> tuple[tuple[Slot, int] | None, bool]:
        """A slot of a host, and a chunk for it. It leaves the queue. And whether a node that does not rest was refused.

        A slot whose node wants nothing leaves the queue too, and is queued again when it does.
        """
        refused = False
        for queue in (host.first, host.second):
            for _ in range(min(len(queue), _CONSIDERED)):
                slot, _ = queue.popitem(last=False)
                node = self._nodes[slot[0]]
                if queue is host.first and node.on_way:
                    host.second[slot] = None
                    continue
                rests = slot[0] in self._rests
                chunk = self._choose(node, now) if resting or not rests else None
                if chunk is not None:
                    return (slot, chunk), refused
                if node.wants:
                    refused |= not rests
                    self._queue(slot, host)
        return None, refused

    def _choose(self, node: _Node, now: float) -> int | None:
        fresh = node.wants & self._fresh & ~node.granted
        if fresh:
            return (fresh & -fresh).bit_length() - 1
        overdue = now - max(_OVERDUE_LEAST, min(_OVERDUE * self._usual.low, _STUCK_MOST))
        for chunks in self._granted:
            for chunk in islice(bits(node.wants & chunks), _CANDIDATES):
                was_long_ago = self._fresh >> chunk & 1 or self._last_grant.get(chunk, overdue) <= overdue
                if was_long_ago and (chunk not in node.again or node.again[chunk][1] <= now):
                    return chunk
        return None

    def _record(self, slot: Slot, chunk: int, now: float) -> None:
        node, bit = self._nodes[slot[0]], 1 << chunk
        self._fresh &= ~bit
        self._on_way[slot] = self._moving[slot] = _Flight(chunk, now, self._patience())
        node.on_way += 1
        self._hosts.granted(node.host)
        if node.granted & bit:
            times = node.again.get(chunk, (0, 0.0))[0] + 1
            node.again[chunk] = times, now + doubled(_AGAIN, times, _AGAIN_MOST)
        else:
            self._count(chunk)
            self._last_grant[chunk] = now  # again, it keeps the chunk from nobody: the node may never take it
        node.granted |= bit
        self.granted_count += 1

    def _count(self, chunk: int) -> None:
        """A chunk was granted to one node more."""
        times, bit = self._times.get(chunk, 0), 1 << chunk
        if times < _COUNTED:
            self._times[chunk] = times + 1
            self._granted[times] &= ~bit
            self._granted[times + 1] |= bit

    def _patience(self) -> float:
        """Seconds after which a chunk that is granted now will be stuck."""
        if not self._usual.known:
            return doubled(_STUCK_LEAST, self._stuck_in_row // _FIRST, _STUCK_MOST)
        usual, halvings = self._usual.low, min(self._stuck_in_row // self._limit, _HALVINGS)
        return max(_STUCK_LEAST, min(_STUCK * usual, max(_STUCK_MOST, 2 * usual)) * 0.5**halvings)

    def _find_stuck(self, now: float) -> None:
        for slot, flight in list(self._moving.items()):
            if now - flight.granted > flight.patience:
                del self._moving[slot]
                self._hosts.stuck(self._nodes[slot[0]].host)
                self._stuck_in_row += 1

    def _end_flight(self, slot: Slot, now: float) -> _Flight | None:
        """Nothing is on its way to a slot any more. Returns what was."""
        flight = self._on_way.pop(slot, None)
        if flight is not None:
            node = self._nodes[slot[0]]
            node.on_way -= 1
            seconds = min(now - flight.granted, flight.patience)  # stuck, it has cost the others nothing
            self._hosts.ended(node.host, seconds, stuck=self._moving.pop(slot, None) is None)
        return flight

    def _node(self, node: int) -> _Node:
        if node not in self._nodes:
            self._nodes[node] = _Node(self._hosts.join(self._host_of(node)), self._all)
        return self._nodes[node]

    def _queue(self, slot: Slot, host: Host) -> None:
        """A slot asks."""
        if slot not in host.second:
            host.first[slot] = None  # it keeps its position if it is in the queue
        self._hosts.place(host)

"""Which chunk the master offers next, and to which node: each chunk as few times as possible.

All nodes share the master's link, so the master sends chunks that no node has yet. The master chooses them. A node
opens `offer` files, its *slots*; each slot asks and is granted a chunk to read. When it asks again, the former chunk
has arrived. A node also reports its wants: the chunks that it lacks and that none of its peers has. After every chunk
was granted once, the master grants a chunk again only to a node that still wants it, and only when the earlier grant is
overdue.

At most `limit` chunks are on their way at once: a link that few chunks share completes each of them sooner, and a node
can pass on only complete chunks. A node gets a second chunk only when no other node waits for its first, because then
the chunks that the master sends do not share the link of one node.

Sets of chunks are integers: bit i stands for chunk i.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice

from xget_lib.swarm.moving_average import MovingAverage
from xget_lib.swarm.picker import bits

_OVERDUE = 2.0
"""A grant is overdue when it has taken this many times the usual duration."""
_SLOW = 2.0
"""A node is slow when its chunk took this many times the usual duration."""
_PAUSE = 8.0
"""A slow node gets no grant for this many times the duration of its chunk: all others wait for its chunks."""
_FIRST = 2
"""Chunks on their way before any has arrived: all nodes wait for the first."""
_STUCK = 8.0
"""A chunk that takes this many times the usual duration does not count against the limit: its node may have stopped."""
_CANDIDATES = 64
"""Chunks that are considered for a second grant to a node at a time."""

_Slot = tuple[int, int]
"""Node, number. A slot asks unless a chunk is on its way to it."""


@dataclass
class _Node:
    wants: int
    """Chunks that it lacks and finds at no peer, as it reported last."""
    granted: int = 0
    """All chunks that were granted to it; other nodes may not have them."""
    complete: bool = False
    """Whether it has everything, and serves it."""
    slots: set[_Slot] = field(default_factory=set)
    paused_until: float = 0.0


class Offers:
    """The grants of one generation's chunks, owned by the master's Tracker.

    Times are monotonic seconds. Nodes are the caller's keys; slots are numbered within their node.
    """

    def __init__(self, chunk_count: int, limit: int) -> None:
        self._limit = limit
        self._all = (1 << chunk_count) - 1
        self._fresh = self._all
        """Chunks that no node was granted, or only nodes that ended."""
        self._grants: dict[int, int] = {}
        """By chunk: how many times it was granted."""
        self._last_grant: dict[int, float] = {}
        """By chunk: when it was granted last."""
        self._nodes: dict[int, _Node] = {}
        self._first_queue: OrderedDict[_Slot, None] = OrderedDict()
        """Slots that ask, of nodes that had nothing on its way when they asked."""
        self._second_queue: OrderedDict[_Slot, None] = OrderedDict()
        """Slots that ask, of nodes that have a chunk on its way."""
        self._usual = MovingAverage(1.0)
        """Seconds from a grant to the arrival of the chunk."""
        self._on_way: dict[_Slot, tuple[int, float]] = {}
        """By slot: the chunk that is on its way to it, and when it was granted."""
        self._arrived = 0
        self.granted_count = 0
        """Grants so far."""

    @property
    def asked(self) -> bool:
        """Whether a slot waits for a grant."""
        return bool(self._first_queue or self._second_queue)

    def wants(self, node: int, chunks: int) -> None:
        """A node reports the chunks that it lacks and finds at no peer. Before its first report it wants all."""
        state = self._node(node)
        state.wants = chunks & self._all
        for slot in state.slots:
            if slot not in self._on_way:
                self._queue(slot)

    def ask(self, node: int, number: int, now: float) -> None:
        """A slot asks for a chunk; the chunk that was on its way to it has arrived."""
        slot, owner = (node, number), self._node(node)
        owner.slots.add(slot)
        if slot in self._on_way:
            chunk, granted = self._on_way.pop(slot)
            self._measure(owner, now - granted, now)
            owner.wants &= ~(1 << chunk)
        self._queue(slot)

    def close(self, node: int, number: int) -> None:
        """A slot is closed; the chunk that was on its way to it is granted to another."""
        slot = (node, number)
        if node in self._nodes:
            self._nodes[node].slots.discard(slot)
        for queue in (self._first_queue, self._second_queue):
            queue.pop(slot, None)
        if slot in self._on_way:
            chunk, _ = self._on_way.pop(slot)
            self._fresh |= 1 << chunk

    def complete(self, node: int) -> None:
        """A node holds all chunks and serves them, so those that it was granted are not lost when it ends."""
        if node in self._nodes:
            self._nodes[node].complete = True

    def leave(self, node: int) -> None:
        """A node has ended. If it was not complete, its chunks may be lost, so they are granted again."""
        state = self._nodes.get(node)
        if state is None:
            return
        for slot in list(state.slots):
            self.close(*slot)
        if state.complete:
            # It serves them no longer, so a node that still wants one need not wait.
            for chunk in bits(state.granted):
                self._last_grant.pop(chunk, None)
        else:
            self._fresh |= state.granted
        del self._nodes[node]

    def grant(self, now: float) -> list[tuple[int, int, int]]:
        """Grant chunks to asking slots, as far as the limit allows: (node, slot, chunk) in the order granted.

        To be called after every event, and now and then without one: pauses end, and grants become overdue.
        """
        granted: list[tuple[int, int, int]] = []
        room = self._room(now)
        for queue in (self._first_queue, self._second_queue):
            for _ in range(len(queue)):
                if len(granted) >= room:
                    return granted
                slot, _ = queue.popitem(last=False)
                node = self._nodes[slot[0]]
                if queue is self._first_queue and any(each in self._on_way for each in node.slots):
                    self._second_queue[slot] = None
                    continue
                chunk = self._choose(node.wants, now) if node.paused_until <= now else None
                if chunk is not None:
                    granted.append((*slot, chunk))
                    self._record(node, slot, chunk, now)
                elif node.wants:
                    self._queue(slot)
                # A slot whose node wants nothing is queued again when it does.
        return granted

    def _measure(self, node: _Node, seconds: float, now: float) -> None:
        if seconds > _SLOW * self._usual.value and self.granted_count > 8 and self._others_want(node, now):
            node.paused_until = now + _PAUSE * seconds
        self._usual.add(seconds)
        self._arrived += 1

    def _others_want(self, node: _Node, now: float) -> bool:
        """Whether there is another node to grant chunks to meanwhile."""
        return any(other.wants and other.paused_until <= now for other in self._nodes.values() if other is not node)

    def _choose(self, wants: int, now: float) -> int | None:
        fresh = wants & self._fresh
        if fresh:
            return (fresh & -fresh).bit_length() - 1
        overdue = now - _OVERDUE * self._usual.value
        candidates = islice(bits(wants), _CANDIDATES)
        ready = (chunk for chunk in candidates if self._last_grant.get(chunk, overdue) <= overdue)
        return min(ready, key=lambda chunk: self._grants.get(chunk, 0), default=None)

    def _record(self, node: _Node, slot: _Slot, chunk: int, now: float) -> None:
        bit = 1 << chunk
        self._fresh &= ~bit
        self._grants[chunk] = self._grants.get(chunk, 0) + 1
        self._last_grant[chunk] = now
        self._on_way[slot] = chunk, now
        node.granted |= bit
        self.granted_count += 1

    def _room(self, now: float) -> int:
        """How many chunks may be granted now."""
        moving = sum(now - granted <= _STUCK * self._usual.value for _, granted in self._on_way.values())
        return min(self._limit, _FIRST + self._arrived) - moving

    def _node(self, node: int) -> _Node:
        if node not in self._nodes:
            self._nodes[node] = _Node(self._all)
        return self._nodes[node]

    def _queue(self, slot: _Slot) -> None:
        """A slot asks."""
        if slot not in self._second_queue:
            self._first_queue[slot] = None  # it keeps its position if it is in the queue

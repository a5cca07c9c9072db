"""Which chunk the master gives out next, and to whom: each chunk as few times as possible.

The master's link is the one thing that everybody shares, so it carries what no node has yet. Clients do not choose
at the master; they hold out *slots* (an open `offer` file each) and are told a chunk to take. A slot that asks again
says that its former chunk has arrived. Nodes say what they take: what they lack and none of their peers has. Nobody
knows better than this class which chunk has been given to nobody; and when all have been given out once, the nodes
have them all between them. Then a chunk is given again only to a node that still finds it nowhere, and not while the
last hand-out may still be under way.

Only so many slots are busy at once (`limit`): a link shared by few chunks completes each of them sooner, and nodes
can pass a chunk on only when it is complete. So a second one goes to a node only where no other asks for its first: the
more receivers, the less they are in the way of what the master sends.

Sets of chunks are integers, bit i for chunk i.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from xget_lib.swarm.moving_average import MovingAverage
from xget_lib.swarm.picker import bits

_PATIENCE = 2.0
"""How many times as long as usual a hand-out may take before the same chunk is given to somebody else."""
_SLOW = 2.0
"""A node is slow when a hand-out to it took so many times as long as usual."""
_REST = 8.0
"""So many times as long as that it is then given nothing: what a slow node is given, everybody waits for."""
_FIRST = 2
"""Chunks on their way before any has arrived: all wait for the first, and nothing shares the receivers' links yet."""
_STUCK = 8.0
"""A hand-out that takes so many times as long as usual does not count against the limit: its node may have stopped."""
_LOOKED_AT = 64
"""Chunks that are considered for a second hand-out to a node at a time."""

_Key = tuple[int, int]
"""A slot: node, number."""


@dataclass
class _Slot:
    chunk: int | None = None
    """On its way to this slot."""
    given: float = 0.0
    asking: bool = False
    queued: bool = False


@dataclass
class _Node:
    takes: int
    """What it lacks and finds nowhere, as it says."""
    alone: int = 0
    """What was given to it, and maybe to nobody else."""
    whole: bool = False
    """Whether it has everything, and serves it."""
    slots: set[_Key] = field(default_factory=set)
    rests: float = 0.0
    """Until when it is given nothing."""


class Offers:
    """The hand-out of one generation's chunks. Times are monotonic seconds; slots are numbered within their node."""

    def __init__(self, chunk_count: int, limit: int) -> None:
        self._limit = limit
        self._all = (1 << chunk_count) - 1
        self._fresh = self._all
        self._times: dict[int, int] = {}
        self._last: dict[int, float] = {}
        self._slots: dict[_Key, _Slot] = {}
        self._nodes: dict[int, _Node] = {}
        self._asking: deque[_Key] = deque()
        self._asking_more: deque[_Key] = deque()
        """Of nodes that have a chunk on their way."""
        self._usual = MovingAverage(1.0)
        self._on_way: dict[_Key, float] = {}
        """Slots that a chunk is on its way to, since when."""
        self._arrived = 0
        self.given = 0
        """Hand-outs so far."""

    @property
    def busy(self) -> int:
        """Chunks on their way."""
        return len(self._on_way)

    @property
    def fresh(self) -> int:
        """How many chunks have not been given to anybody."""
        return self._fresh.bit_count()

    def takes(self, node: int, chunks: int) -> None:
        """A node says what it lacks and none of its peers has. Before it says anything, that is everything."""
        state = self._node(node)
        state.takes = chunks & self._all
        for key in state.slots:
            self._queue(key)

    def ask(self, node: int, slot: int, now: float) -> None:
        """A slot is free; what was on its way there has arrived."""
        state = self._slots.setdefault((node, slot), _Slot())
        self._node(node).slots.add((node, slot))
        if state.chunk is not None:
            self._measure(self._node(node), now - state.given, now)
            self._node(node).takes &= ~(1 << state.chunk)
            state.chunk = None
            del self._on_way[node, slot]
        state.asking = True
        self._queue((node, slot))

    def close(self, node: int, slot: int) -> None:
        """The slot is gone; what was on its way there is given to somebody else."""
        state = self._slots.pop((node, slot), None)
        if state is None:
            return
        self._nodes[node].slots.discard((node, slot))
        if state.chunk is not None:
            self._fresh |= 1 << state.chunk
            del self._on_way[node, slot]

    def leave(self, node: int) -> None:
        """A node is gone before it had everything: what was given to it may be lost, so it is given out again."""
        state = self._nodes.get(node)
        if state is None:
            return
        for key in list(state.slots):
            self.close(*key)
        if state.whole:
            # It passes them on no more, so nothing is to be waited for.
            for chunk in bits(state.alone):
                self._last.pop(chunk, None)
        else:
            self._fresh |= state.alone
        del self._nodes[node]

    def finished(self, node: int) -> None:
        """A node has everything and serves it: what was given to it is not lost when it leaves."""
        if node in self._nodes:
            self._nodes[node].whole = True

    def grant(self, now: float) -> list[tuple[int, int, int]]:
        """Give chunks to asking slots, as far as the limit allows: (node, slot, chunk) in the order given.

        To be called after anything happened, and now and then when nothing does: patience ends by itself.
        """
        granted: list[tuple[int, int, int]] = []
        room = self._room(now)
        for queue in (self._asking, self._asking_more):
            for _ in range(len(queue)):
                if len(granted) >= room:
                    return granted
                key = queue.popleft()
                state = self._slots.get(key)
                if state is None:
                    continue
                node = self._nodes[key[0]]
                if queue is self._asking and state.asking and self._has_one_on_way(node):
                    self._asking_more.append(key)
                    continue
                state.queued = False
                if not state.asking:
                    continue
                chunk = self._choose(node.takes, now) if node.rests <= now else None
                if chunk is not None:
                    granted.append((*key, chunk))
                    self._on_way[key] = now
                    self._give(node, state, chunk, now)
                elif node.takes:
                    self._queue(key)
                # A slot whose node takes nothing is queued again when it does.
        return granted

    def _has_one_on_way(self, node: _Node) -> bool:
        return any(key in self._on_way for key in node.slots)

    def _measure(self, node: _Node, took: float, now: float) -> None:
        if took > _SLOW * self._usual.value and self.given > 8 and self._others_take(node, now):
            node.rests = now + _REST * took
        self._usual.add(took)
        self._arrived += 1

    def _others_take(self, node: _Node, now: float) -> bool:
        """Whether there is somebody to give to instead."""
        return any(other.takes and other.rests <= now for other in self._nodes.values() if other is not node)

    def _choose(self, takes: int, now: float) -> int | None:
        fresh = takes & self._fresh
        if fresh:
            return (fresh & -fresh).bit_length() - 1
        overdue = now - _PATIENCE * self._usual.value
        ready = [
            c for c, _ in zip(bits(takes), range(_LOOKED_AT), strict=False) if self._last.get(c, overdue) <= overdue
        ]
        return min(ready, key=lambda c: self._times.get(c, 0), default=None)

    def _give(self, node: _Node, slot: _Slot, chunk: int, now: float) -> None:
        bit = 1 << chunk
        self._fresh &= ~bit
        self._times[chunk] = self._times.get(chunk, 0) + 1
        self._last[chunk] = now
        node.alone |= bit
        slot.chunk, slot.given, slot.asking = chunk, now, False
        self.given += 1

    def _room(self, now: float) -> int:
        moving = sum(now - since <= _STUCK * self._usual.value for since in self._on_way.values())
        return min(self._limit, _FIRST + self._arrived) - moving

    def _node(self, node: int) -> _Node:
        if node not in self._nodes:
            self._nodes[node] = _Node(self._all)
        return self._nodes[node]

    def _queue(self, key: _Key) -> None:
        state = self._slots[key]
        if state.asking and not state.queued:
            state.queued = True
            self._asking.append(key)

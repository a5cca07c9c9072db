"""The master, as far as the swarm goes: production's `Tracker` in virtual time, with what its messages cost.

Each message costs the master some processor time, one after the other: with ten thousand nodes that is a limit of its
own. Clients that connect alternate with those that are connected, as accepting does with all else in the real one. The
bytes of all small messages are counted as 9P has them, in both directions, and those of the manifests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from test.sim.clock import Clock
from test.sim.links import Network, Port
from xget_lib.swarm.messages import Address, News, Registration
from xget_lib.swarm.tracker import SendGrant, SendNews, Tracker
from xget_lib.swarm.tuning import Tuning

if TYPE_CHECKING:
    from test.sim.node import Node

TREAD, RREAD = 23, 11
TWRITE, RWRITE = 23, 11
OPENED = 82
"""Bytes to walk to a file and open it."""
GREETED = 19 + 19 + 28 + 20
"""Bytes of Tversion, Tattach and their answers."""
GENERATION = bytes(32)
MESSAGE_COST = 50e-6
"""Seconds of the master's processor for a small message."""

_Message = tuple[Callable[..., None], tuple[Any, ...]]


class Master:
    """The master and its link. Nodes call `receive` with what the master is to do when their message has come."""

    def __init__(
        self,
        clock: Clock,
        network: Network,
        port: Port,
        chunks: int,
        manifest: int,
        max_direct: int,
        tuning: Tuning,
        rng: Random,
    ) -> None:
        """`manifest` is its size in bytes."""
        self.port = port
        self.manifest = manifest
        self.traffic = {"greetings": 0, "news": 0, "registrations": 0, "offers": 0, "takes": 0, "manifests": 0}
        """Bytes of small messages and of manifests."""
        self.messages = 0
        self._clock = clock
        self._network = network
        self._tracker = Tracker(max_direct, tuning, rng)
        self._tracker.published(GENERATION, manifest, chunks, clock.now)
        self._nodes: dict[int, Node] = {}
        self._by_port: dict[int, Node] = {}
        self._queues: tuple[deque[_Message], deque[_Message]] = deque(), deque()
        """Messages of clients that are connected, and of those that connect."""
        self._serves_connecting = False
        self._working = False
        self._free = 0.0
        """When the processor will have done all that it has to do."""
        self._next_tick = float("inf")

    def receive(self, kind: str, size: int, act: Callable[..., None], *arguments: Any) -> None:
        """A node sends a small message now. It is handled after the latency, when the processor is free."""
        self.traffic[kind] += size
        self.messages += 1
        self._clock.after(self._network.latency, self._queue, kind == "greetings", (act, arguments))

    def connected(self, files: int) -> None:
        """A node makes a further connection and opens so many files."""
        self.receive("greetings", GREETED, lambda: None)
        self.opened(files)

    def opened(self, files: int) -> None:
        """A node walked to some files and opened them: a worker's work, which costs the master nothing."""
        self.traffic["greetings"] += files * OPENED

    def sends_manifest(self) -> None:
        self.connected(1)
        self.traffic["manifests"] += self.manifest + TREAD + RREAD

    # What nodes say: events of the tracker.

    def join(self, node: Node) -> None:
        """A node has connected, opened `peers` and said where it serves."""
        self._nodes[node.key] = self._by_port[port_of(node)] = node
        self._tracker.connected(node.key, host(node.key))
        self._tracker.peers_opened(node.key, self._clock.now)
        self.register(node, 0)

    def register(self, node: Node, held: int, reached: Collection[Address] = ()) -> None:
        self._tracker.registered(node.key, Registration(port_of(node), GENERATION, held), self._clock.now)
        self._tracker.peers_reached(node.key, reached, self._clock.now)

    def leave(self, node: Node) -> None:
        self._tracker.ended(node.key, self._clock.now)

    def ask(self, node: Node, slot: int) -> None:
        self._tracker.slot_asked(node.key, slot, self._clock.now, 2 * self._network.latency)

    def close(self, node: Node, slots: Iterable[int]) -> None:
        for slot in slots:
            self._tracker.slot_closed(node.key, slot, self._clock.now)

    def takes(self, node: Node, chunks: int) -> None:
        self._tracker.wants(node.key, chunks)

    # The processor.

    def _queue(self, connects: bool, message: _Message) -> None:
        self._queues[connects].append(message)
        self._work()

    def _work(self) -> None:
        if not self._working and any(self._queues):
            self._working = True
            self._clock.at(self._spend(), self._act)

    def _spend(self) -> float:
        """Spend the processor time of a message; when that will have passed."""
        self._free = max(self._free, self._clock.now) + MESSAGE_COST
        return self._free

    def _act(self) -> None:
        self._serves_connecting = not self._serves_connecting
        first, other = self._queues[self._serves_connecting], self._queues[not self._serves_connecting]
        act, arguments = (first or other).popleft()
        act(*arguments)
        self._tick()
        self._working = False
        self._work()

    def _tick(self) -> None:
        """Carry out what the tracker decides, and come back when it says so."""
        for action in self._tracker.tick(self._clock.now):
            match action:
                case SendGrant(key, slot, chunk):
                    self.traffic["offers"] += RREAD + len(f"{chunk}\n")
                    self._reply(self._nodes[key].granted, slot, chunk)
                case SendNews(key, news):
                    self._send_news(self._nodes[key], news)
        wait = self._tracker.wait(self._clock.now)
        if wait is not None and self._clock.now + wait < self._next_tick:
            self._next_tick = self._clock.now + wait
            self._clock.at(self._next_tick, self._wake)

    def _wake(self) -> None:
        self._next_tick = float("inf")
        self._tick()

    def _send_news(self, node: Node, news: News) -> None:
        self.traffic["news"] += TREAD + RREAD + len(news.encode())
        self._reply(node.hear, [self._by_port[port] for _, port in news.peers], news.master_first)

    def _reply(self, act: Callable[..., None], *arguments: Any) -> None:
        self.messages += 1
        self._clock.at(self._spend() + self._network.latency, act, *arguments)


def port_of(node: Node) -> int:
    """The port that stands for a node in the lines about it."""
    return node.key % 65535 + 1


def host(key: int) -> str:
    """The address of a node, of one length for all of them."""
    return f"10.{100 + key // 10000 % 100}.{100 + key // 100 % 100}.{100 + key % 100}"

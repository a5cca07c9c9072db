"""The master, as far as the swarm goes: what `master/tracker_io.py` does around the decisions, in virtual time.

Every message costs the master some processor time, one after the other: with ten thousand nodes that is a limit of
its own. Who connects takes turns with those who are connected, as accepting does with all else in the real one. Bytes
of all small messages are counted as 9P has them, both directions, and those of the manifests that it sends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from random import Random
from typing import TYPE_CHECKING, Any

from test.sim.clock import Clock
from test.sim.links import Network, Port
from xget_lib.swarm.announce_queue import AnnounceQueue
from xget_lib.swarm.first_tier import FirstTier
from xget_lib.swarm.messages import News
from xget_lib.swarm.offers import Offers
from xget_lib.swarm.peer_graph import PeerGraph
from xget_lib.swarm.registry import Node as Registered
from xget_lib.swarm.registry import Registry
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
ADDRESS = "10.123.123.123"
TICK = 0.2
MESSAGE_COST = 50e-6
"""Seconds of the master's processor for a small message."""

_Message = tuple[Callable[..., None], tuple[Any, ...]]


class Master:
    """The master and its link."""

    def __init__(
        self, clock: Clock, network: Network, port: Port, chunks: int, manifest: int, tuning: Tuning, source: Random
    ) -> None:
        self.port = port
        self.chunks = chunks
        self.traffic = {"greetings": 0, "news": 0, "reports": 0, "offers": 0, "takes": 0, "manifests": 0}
        self.messages = 0
        self.offers = Offers(chunks, tuning.direct)
        self._registry = Registry()
        self._direct = FirstTier(tuning.takers)
        self._neighbours = PeerGraph(tuning.degree, source, lambda asker, peer: True)
        self._clock = clock
        self._network = network
        self.manifest = manifest
        self._tuning = tuning
        self._nodes: dict[int, Node] = {}
        self._whole: set[int] = set()
        self._untold = AnnounceQueue(tuning.news_pause, tuning.news_later, tuning.news_most)
        self._telling = float("inf")
        self._come: tuple[deque[_Message], deque[_Message]] = deque(), deque()
        """From those who are connected, and from those who connect."""
        self._turn = False
        self._working = False
        self._free = 0.0
        clock.after(TICK, self._tick)

    def receive(self, kind: str, size: int, act: Callable[..., None], *arguments: Any) -> None:
        """A node sends a small message, now: it is acted on when it has come and its turn is there."""
        self.traffic[kind] += size
        self.messages += 1
        self._clock.after(self._network.latency, self._queue, kind == "greetings", (act, arguments))

    def connected(self, files: int) -> None:
        """A node makes a further connection and opens so many files."""
        self.receive("greetings", GREETED, lambda: None)
        self.opened(files)

    def opened(self, files: int) -> None:
        """Some files were walked to and opened: that is a worker's work, and costs the master nothing."""
        self.traffic["greetings"] += files * OPENED

    def sends_manifest(self) -> None:
        self.connected(1)
        self.traffic["manifests"] += self.manifest + TREAD + RREAD

    def join(self, node: Node) -> None:
        """A node has connected, opened `peers` and said where it serves."""
        self._nodes[node.key] = node
        self.register(node, 0)

    def register(self, node: Node, held: int) -> None:
        if node.key not in self._nodes:
            return
        self._registry.put(Registered(node.key, ADDRESS, node.key & 0xFFFF, GENERATION, held, self._clock.now))
        self._tell_soon(self._neighbours.join(node.key), {node.key})
        if held >= self.chunks:
            self.offers.finished(node.key)
            self._whole.add(node.key)
            self._direct.leave(node.key)

    def leave(self, node: Node) -> None:
        if self._nodes.pop(node.key, None) is not None:
            self.offers.leave(node.key)
            self._direct.leave(node.key)
            self._registry.remove(node.key)
            self._tell_soon(self._neighbours.leave(node.key))

    def ask(self, node: Node, slot: int) -> None:
        if node.key in self._nodes:
            self.offers.ask(node.key, slot, self._clock.now)

    def takes(self, node: Node, chunks: int) -> None:
        if node.key in self._nodes:
            self.offers.takes(node.key, chunks)

    def _queue(self, connects: bool, message: _Message) -> None:
        self._come[connects].append(message)
        self._wake()

    def _wake(self) -> None:
        if not self._working and any(self._come):
            self._working = True
            self._clock.at(self._busy(), self._act)

    def _busy(self) -> float:
        """Spend the processor time of a message; when that will have passed."""
        self._free = max(self._free, self._clock.now) + MESSAGE_COST
        return self._free

    def _act(self) -> None:
        self._turn = not self._turn
        act, arguments = (self._come[self._turn] or self._come[not self._turn]).popleft()
        act(*arguments)
        self._grant()
        self._working = False
        self._wake()

    def _grant(self) -> None:
        for key, slot, chunk in self.offers.grant(self._clock.now):
            self.traffic["offers"] += RREAD + len(f"{chunk}\n")
            self._reply(self._nodes[key].granted, slot, chunk)

    def _tell_soon(self, keys: set[int], urgent: Collection[int] = ()) -> None:
        if keys:
            self._untold.add(self._clock.now, keys - self._whole, urgent)
            self._tell_when_due()

    def _tell_when_due(self) -> None:
        wait = self._untold.wait(self._clock.now)
        if wait is not None and self._clock.now + wait < self._telling:
            self._telling = self._clock.now + wait
            self._clock.at(self._telling, self._tell_news)

    def _tell_news(self) -> None:
        self._telling = float("inf")
        urgent, others = self._untold.take(self._clock.now)
        for key in sorted(urgent & self._nodes.keys()):
            self._tell(key, sorted(self._neighbours.sought(key)))
        for key in others:
            if key in self._nodes:
                self._tell(key, sorted(self._neighbours.of(key)))
        self._tell_when_due()

    def _tell(self, key: int, neighbours: list[int]) -> None:
        direct = self._direct.includes(key)
        peers = tuple((ADDRESS, peer & 0xFFFF) for peer in neighbours)
        line = News(GENERATION, self.manifest, peers, direct).encode()
        self.traffic["news"] += TREAD + RREAD + len(line)
        known = [self._nodes[peer] for peer in neighbours if peer in self._nodes]
        self._reply(self._nodes[key].hear, known, direct)

    def _reply(self, act: Callable[..., None], *arguments: Any) -> None:
        self.messages += 1
        self._clock.at(self._busy() + self._network.latency, act, *arguments)

    def _tick(self) -> None:
        self._grant()
        self._clock.after(TICK, self._tick)

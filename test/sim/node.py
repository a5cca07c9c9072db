"""A client, as far as the swarm goes: what `node/transfer.py` does around the picker, in virtual time."""

from __future__ import annotations

from collections.abc import Hashable
from random import Random

from test.sim.clock import Clock
from test.sim.links import Connection, Network, Port, Request
from test.sim.master import GENERATION, GREETED, OPENED, RWRITE, TREAD, TWRITE, Master
from xget_lib.swarm import first_tier
from xget_lib.swarm.first_tier import Sources
from xget_lib.swarm.messages import Report
from xget_lib.swarm.pace import Pace
from xget_lib.swarm.picker import Picker
from xget_lib.swarm.tuning import Tuning
from xget_lib.swarm.upload_slots import UploadSlots
from xget_lib.swarm.want_report import WantReport

MASTER = -1
SPAWN = 0.005
"""Seconds to make a connection ready at both ends, besides its round trips."""
ROUND_TRIPS = 7
"""Of a new connection: TCP, version, attach, and to walk to and open two files."""
NEWS_COST = 0.0005
"""Seconds between a change and the news about it, besides the way."""
MANIFEST = -1
"""What a request for the manifest is for, instead of a chunk."""
VERIFY_BASE = 0.001
VERIFY_RATE = 1e9
"""Verifying and writing a chunk takes so many seconds, and goes at so many bytes a second."""
TICK = 0.25


class Supplier:
    """A server that content is taken from."""

    __slots__ = ("connection", "fetches", "key")

    def __init__(self, key: int, connection: Connection) -> None:
        self.key = key
        self.connection = connection
        self.fetches: dict[int, Request] = {}


class Peer(Supplier):
    """Another node, which gives turns."""

    __slots__ = ("asked", "node")

    def __init__(self, connection: Connection, node: Node) -> None:
        super().__init__(node.key, connection)
        self.node = node
        self.asked = False
        """Whether a turn is asked for, or had."""


class Node:
    """One client and its link."""

    def __init__(
        self,
        key: int,
        clock: Clock,
        network: Network,
        port: Port,
        head: Master,
        sizes: list[int],
        tuning: Tuning,
        seed: int,
    ) -> None:
        """`sizes` are those of the chunks, in bytes."""
        self.key = key
        self.port = port
        self.held = 0
        self.begun = clock.now
        self.finished: float | None = None
        self.readers: list[Node] = []
        self.twice = 0
        self._clock = clock
        self._network = network
        self._head = head
        self._sizes = sizes
        self._tuning = tuning
        self._random = Random(seed)
        self._picker = Picker((1 << len(sizes)) - 1, Random(seed + 1))
        self._master = Supplier(MASTER, Connection(head.port, port))
        self.has_manifest = False
        self._direct = False
        self._came = 0.0
        """When a chunk came last."""
        self._slots = 0
        self._news: list[Node] | None = None
        self._introduced: list[Node] = []
        """Peers that said they know this node."""
        self._sources: Sources[Node] | None = None
        self._asking = 0
        """Peers that were asked for a turn, and have not given it."""
        self._slot_of: dict[int, int] = {}
        self._peers: dict[int, Peer] = {}
        self._others: list[Peer] = []
        self._wanted: set[int] = set()
        self._flights = tuning.flights
        self._missed = WantReport(len(sizes), self._picker.lacking)
        self._pace = Pace(tuning.have_chunks, tuning.have_least, tuning.have_most)
        self._turns: UploadSlots[Node] = UploadSlots(tuning.uploads)
        self._told_held = 0
        self._telling = False
        self._reporting = False
        self._reported = 0

    @property
    def lacking(self) -> int:
        return self._picker.lacking

    def start(self) -> None:
        """Connect to the master."""
        self.begun = self._clock.now
        self._clock.after(SPAWN + 8 * self._network.latency, self._join)

    def _join(self) -> None:
        if self.port.alive:
            line = len(Report(self.key % 65535 + 1, b"", 0).encode())
            self._head.receive("greetings", GREETED + OPENED + TWRITE + RWRITE + line, self._head.join, self)

    def hear(self, peers: list[Node], takes_directly: bool) -> None:
        """News from the master: who else serves."""
        if not self.port.alive:
            return
        first = self._news is None
        self._news = peers
        if first:
            self._direct = takes_directly
            self._sources = Sources([] if takes_directly else peers, self._head.manifest, self._random, self._clock.now)
            self._ask_for_manifest()
        elif self.has_manifest:
            self._meet_new(peers)

    def _ask_for_manifest(self) -> None:
        assert self._sources is not None
        peer = self._sources.next(self._clock.now)
        self._clock.after(SPAWN + 2 * ROUND_TRIPS * self._network.latency, self._get_manifest, peer)

    def _get_manifest(self, peer: Node | None) -> None:
        if not self.port.alive:
            return
        if peer is None:
            self._head.sends_manifest()
        elif not (peer.port.alive and peer.has_manifest):
            self._clock.after(first_tier.PAUSE, self._ask_for_manifest)
            return
        sender = self._head.port if peer is None else peer.port
        request = Request(MANIFEST, self._head.manifest, self._got_manifest)
        self._network.send(Connection(sender, self.port), request)

    def _got_manifest(self, request: Request) -> None:
        self.has_manifest = True
        assert self._news is not None
        self._meet_new(self._news + self._introduced)
        self._came = self._clock.now
        self._rely(0.0 if self._direct else first_tier.patience(self._random))
        self._report_soon()
        self._tick()

    def introduced(self, peer: Node) -> None:
        """A peer says where it serves."""
        self._introduced.append(peer)
        if self.has_manifest:
            self._meet_new([peer])

    # Peers.

    def _meet_new(self, peers: list[Node]) -> None:
        new = [peer for peer in peers if peer.key not in self._wanted]
        self._wanted.update(peer.key for peer in peers)
        for peer in new:
            self._clock.after(SPAWN + 2 * ROUND_TRIPS * self._network.latency, self._meet, peer)

    def _meet(self, peer: Node) -> None:
        if not (self.port.alive and peer.port.alive) or peer.key in self._peers or self.finished is not None:
            return
        supplier = Peer(Connection(peer.port, self.port), peer)
        self._peers[peer.key] = supplier
        self._others.append(supplier)
        peer.readers.append(self)
        self._clock.after(self._network.latency, peer.introduced, self)
        self._clock.after(self._network.latency, self.learn, peer, peer.held)

    def learn(self, peer: Node, held: int) -> None:
        """A peer says what it holds."""
        supplier = self._peers.get(peer.key)
        if supplier is not None and self.finished is None:
            self._picker.peer_has(peer.key, held)
            self._fill(supplier)

    def lose(self, peer: Node) -> None:
        """A connection has ended."""
        supplier = self._peers.pop(peer.key, None)
        if supplier is None:
            return
        self._others.remove(supplier)
        if supplier.asked and not supplier.fetches:
            self._asking -= 1
        for request in supplier.fetches.values():
            request.cancelled = True
        self._picker.peer_gone(peer.key)
        self._fill_all()

    def die(self) -> None:
        """Killed: every connection ends."""
        self.port.alive = False
        for reader in self.readers:
            self._clock.after(self._network.latency, reader.lose, self)
        for supplier in self._others:
            self._clock.after(self._network.latency, supplier.node.passed, self)
        self._head.receive("reports", 0, self._head.leave, self)

    def _tell_have(self) -> None:
        self._telling = False
        if self._told_held != self.held and self.port.alive:
            self._told_held = self.held
            self._telling = True
            self._clock.after(self._network.latency + NEWS_COST, self._told_have, self.held)
            self._clock.after(self._pace.pause, self._tell_have)

    def _told_have(self, held: int) -> None:
        if self.port.alive:
            for reader in self.readers:
                reader.learn(self, held)

    # UploadSlots: this node's as a sender, and what it does with those it is given.

    def wanted(self, client: Node) -> None:
        """A client asks for a turn."""
        self._turns.ask(client, self._clock.now)
        self._give_turns()

    def passed(self, client: Node) -> None:
        """A client wants no turn any more."""
        self._turns.end(client)
        self._give_turns()

    def _give_turns(self) -> None:
        if self.port.alive:
            for client in self._turns.grant(self._clock.now):
                self._clock.after(self._network.latency + NEWS_COST, client.turn, self)

    def turn(self, peer: Node) -> None:
        supplier = self._peers.get(peer.key)
        if supplier is None:
            self._clock.after(self._network.latency, peer.passed, self)
            return
        self._asking -= 1
        if self._picker.flights < self._flights and self.finished is None:
            chunk = self._picker.pick(peer.key, self._clock.now)
            if chunk is not None:
                self._fetch(supplier, chunk)
            else:
                self._pass(supplier)
        else:
            self._pass(supplier)

    def _end_turn(self, supplier: Peer) -> None:
        """A turn was used: ask for the next, or pass."""
        supplier.asked = False
        self._fill(supplier)
        if not supplier.asked:
            self._pass(supplier)

    def _pass(self, supplier: Peer) -> None:
        supplier.asked = False
        self._clock.after(self._network.latency, supplier.node.passed, self)

    def _fill(self, supplier: Peer) -> None:
        """Ask a peer for a turn, if it would be used."""
        if supplier.asked or self.finished is not None or not self._may_ask():
            return
        if self._picker.wants(supplier.key, self._clock.now):
            supplier.asked = True
            self._asking += 1
            self._clock.after(self._network.latency + NEWS_COST, supplier.node.wanted, self)

    def _may_ask(self) -> bool:
        return self._asking < self._tuning.asks * (self._flights - self._picker.flights)

    def _fill_all(self) -> None:
        if self._may_ask() and self.finished is None:
            self._random.shuffle(self._others)
            for supplier in self._others:
                self._fill(supplier)

    # The master.

    def _rely(self, patience: float) -> None:
        """Turn to the master when nothing has come from peers for so many seconds."""
        if self.finished is not None or not self.port.alive:
            return
        left = self._came + patience - self._clock.now
        if left > 0:
            self._clock.after(left, self._rely, patience)
        else:
            self._open_slot()
            self._tell_takes()

    def _open_slot(self) -> None:
        """Hold one more slot at the master."""
        self._head.opened(1)
        self._ask(self._slots)
        self._slots += 1

    def _ask(self, slot: int) -> None:
        if self.port.alive:
            self._head.receive("offers", TREAD, self._head.ask, self, slot)

    def granted(self, slot: int, chunk: int) -> None:
        """The master offers a chunk to a slot."""
        if not self.port.alive or self.finished is not None:
            return
        wait = 0.0
        if self._slots == 1:
            # The connection for the master's content is made when there is some to get.
            self._head.connected(1)
            wait = SPAWN + 2 * (ROUND_TRIPS - 2) * self._network.latency
            while self._slots < self._tuning.slots:
                self._open_slot()
        if not self._picker.take(chunk, MASTER, self._clock.now):
            self._ask_again(chunk, slot)
        else:
            self._slot_of[chunk] = slot
            self._clock.after(wait, self._fetch, self._master, chunk)

    def _ask_again(self, chunk: int, slot: int) -> None:
        """The slot of a chunk asks for another, and the master takes that one for arrived."""
        self._missed.asked(chunk)
        self._ask(slot)

    def _tell_takes(self) -> None:
        if self.port.alive and self.finished is None:
            unavailable = self._picker.unavailable
            if self._missed.tells(unavailable):
                size = TWRITE + RWRITE + (len(self._sizes) + 7) // 8
                self._head.receive("takes", size, self._head.takes, self, unavailable)
            self._clock.after(self._tuning.takes_pause, self._tell_takes)

    def _report_soon(self) -> None:
        if not self._reporting:
            self._reporting = True
            self._clock.after(self._tuning.report_pause, self._report)

    def _report(self) -> None:
        self._reporting = False
        if self.port.alive:
            count = self.held.bit_count()
            line = len(Report(self.key % 65535 + 1, GENERATION, count).encode())
            self._head.receive("reports", TWRITE + RWRITE + line, self._head.register, self, count)

    # Chunks.

    def _fetch(self, supplier: Supplier, chunk: int) -> None:
        def arrived(request: Request) -> None:
            self._arrived(supplier, request)

        request = Request(chunk, self._sizes[chunk], arrived)
        supplier.fetches[chunk] = request
        self._clock.after(self._network.latency, self._network.send, supplier.connection, request)

    def _arrived(self, supplier: Supplier, request: Request) -> None:
        del supplier.fetches[request.chunk]
        size = self._sizes[request.chunk]
        self._clock.after(VERIFY_BASE + size / VERIFY_RATE, self._keep, supplier, request.chunk)
        if isinstance(supplier, Peer):
            self._end_turn(supplier)
        else:
            self._ask_again(request.chunk, self._slot_of.pop(request.chunk))

    def _keep(self, supplier: Supplier, chunk: int) -> None:
        if not self.port.alive:
            return
        if self.held >> chunk & 1:
            self.twice += 1
        self.held |= 1 << chunk
        self._came = self._clock.now
        self._pace.came(self._clock.now)
        for key in self._picker.done(chunk, self._clock.now):
            self._stop(key, chunk)
        if not self._picker.lacking and self.finished is None:
            self.finished = self._clock.now
            self._report()
        else:
            self._report_soon()
        if not self._telling:
            self._tell_have()
        self._fill_all()

    def _stop(self, key: Hashable, chunk: int) -> None:
        peer = self._peers.get(key)  # type: ignore[call-overload]  # keys are ours: numbers
        supplier = peer or self._master
        request = supplier.fetches.pop(chunk, None)
        if request is not None:
            self._network.cancel(supplier.connection, request)
            if peer is not None:
                self._end_turn(peer)
            else:
                self._ask_again(chunk, self._slot_of.pop(chunk))

    def _tick(self) -> None:
        if self.finished is None:
            self._fill_all()
        if self.port.alive:
            self._give_turns()
            self._clock.after(TICK, self._tick)

"""A node of the simulated swarm: a production `Downloader` and `Uploader`, and the time that their actions take.

This is `node/transfer.py` and `node/child.py` in virtual time. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf
from random import Random

from test.sim.clock import Clock
from test.sim.links import Connection, Network, Port, Request
from test.sim.master import GENERATION, GREETED, OPENED, RWRITE, TREAD, TWRITE, Master, host, port_of
from xget_lib.errors import PieceMismatch
from xget_lib.swarm import actions, first_tier
from xget_lib.swarm.actions import MASTER, Action, UploadAction
from xget_lib.swarm.downloader import Downloader
from xget_lib.swarm.first_tier import ManifestSources
from xget_lib.swarm.messages import REACHED_LIMIT, Address, Registration
from xget_lib.swarm.tuning import Tuning, buffer_count
from xget_lib.swarm.turns import Turns
from xget_lib.swarm.uploader import Uploader

SPAWN = 0.005
"""Seconds to make a connection ready at both ends, besides its round trips."""
ROUND_TRIPS = 7
"""Of a new connection: TCP, version, attach, and to walk to and open two files."""
NEWS_COST = 0.0005
"""Seconds between a change and the message about it, besides the latency."""
MANIFEST = -1
"""What a request for the manifest is for, instead of a chunk."""
VERIFY_BASE = 0.001
VERIFY_RATE = 1e9
"""To verify and write a chunk takes so many seconds, and goes at so many bytes a second."""
SLOTS = 16
"""At the master at the same time, at most."""
TURNS = 16
"""At one peer."""
MANIFEST_COMES = 5.0
"""Seconds that a peer has to send the manifest: `node/fetch_manifest.py`."""
CONNECT = 10.0
"""Seconds after which a node gives up to connect: `node/peer_link.py`."""
WRONG = PieceMismatch(b"file", 0, "a peer")


class Node:
    """One client and its link. `test.sim.hostile` has those that break the rules."""

    sends_right_content = True
    answers = True
    """Whether it says anything to those that connect to it."""

    def __init__(
        self,
        key: int,
        clock: Clock,
        network: Network,
        port: Port,
        master: Master,
        sizes: list[int],
        tuning: Tuning,
        seed: int,
    ) -> None:
        """`sizes` are those of the chunks, in bytes."""
        self.key = key
        self.port = port
        self.address = host(key), port_of(self)
        self.held = 0
        self.begun = clock.now
        self.finished: float | None = None
        self.twice = 0
        self.has_manifest = False
        self._clock = clock
        self._network = network
        self._master = master
        self._sizes = sizes
        self._random = Random(seed)
        self._downloader = Downloader(tuning, Random(seed + 1), clock.now)
        self._uploader = Uploader(tuning, clock.now)
        self._next_tick = inf
        self._sources: ManifestSources[Node] | None = None
        self._nodes: dict[Address, Node] = {}
        """Those that this node has heard of."""
        self._reached: list[Address] = []
        """Those that it has connected to, and not told the master."""
        self._readers: dict[int, Node] = {}
        self._connections: dict[Address, Connection] = {}
        self._turns: dict[Address, Turns] = {}
        self._requests: dict[tuple[Address, int], Request] = {}
        self._slots_before = 0
        """The number of slots at the master that were closed. The master knows each by a number of its own."""
        self._content_ready = 0.0
        """When the connection for the master's content is ready."""

    def start(self) -> None:
        """Connect to the master."""
        self.begun = self._clock.now
        self._clock.after(SPAWN + 8 * self._network.latency, self._join)

    def die(self) -> None:
        """Killed: every connection ends."""
        self.port.alive = False
        for reader in self._readers.values():
            self._clock.after(self._network.latency, reader.lose, self)
        self._leave_peers()
        self._master.receive("registrations", 0, self._master.leave, self)

    # Before the download.

    def _join(self) -> None:
        if self.port.alive:
            line = len(Registration(port_of(self), b"", 0).encode())
            self._master.receive("greetings", GREETED + OPENED + TWRITE + RWRITE + line, self._master.join, self)

    def hear(self, peers: list[Node], master_first: bool) -> None:
        """News from the master: who else serves."""
        if not self.port.alive:
            return
        self._nodes.update((peer.address, peer) for peer in peers)
        self._carry_out(self._downloader.master_named([peer.address for peer in peers], master_first, self._clock.now))
        if self._sources is None:
            self._sources = ManifestSources(
                [] if master_first else peers, self._master.manifest, self._random, self._clock.now
            )
            self._carry_out(self._downloader.master_connected(self._clock.now, 2 * self._network.latency))
            self._ask_for_manifest()

    def _ask_for_manifest(self) -> None:
        assert self._sources is not None
        peer = self._sources.next(self._clock.now)
        self._clock.after(SPAWN + 2 * ROUND_TRIPS * self._network.latency, self._get_manifest, peer)

    def _get_manifest(self, peer: Node | None) -> None:
        if not self.port.alive:
            return
        if peer is None:
            self._master.sends_manifest()
        elif not (peer.port.alive and peer.has_manifest):
            self._clock.after(first_tier.PAUSE, self._ask_for_manifest)
            return
        sender = self._master.port if peer is None else peer.port
        request = Request(MANIFEST, self._master.manifest, self._got_manifest)
        self._network.send(Connection(sender, self.port), request)
        if peer is not None:
            self._clock.after(MANIFEST_COMES, self._manifest_overdue, request)

    def _manifest_overdue(self, request: Request) -> None:
        if self.port.alive and not self.has_manifest:
            request.cancelled = True
            self._ask_for_manifest()

    def _got_manifest(self, request: Request) -> None:
        self.has_manifest = True
        count, now = len(self._sizes), self._clock.now
        self._carry_out(self._uploader.serves(GENERATION, 0, now))
        buffers = buffer_count(max(self._sizes))
        self._carry_out(self._downloader.begin(GENERATION, count, (1 << count) - 1, buffers, now))

    # What the downloader decides.

    def _carry_out(self, decided: Sequence[Action | UploadAction]) -> None:
        clock, latency = self._clock, self._network.latency
        for action in decided:
            match action:
                case actions.RequestSlot(peer):
                    reading = sum(source == peer for source, _ in self._requests)
                    turn = self._turns[peer].request(reading)
                    clock.after(latency + NEWS_COST, self._nodes[peer].slot_requested, self, turn)
                case actions.PassSlot(peer):
                    clock.after(latency, self._nodes[peer].slot_ended, self, self._turns[peer].give_back())
                case actions.GrantUploadSlot(key):
                    reader, turn = divmod(key, TURNS)
                    if reader in self._readers:
                        clock.after(latency + NEWS_COST, self._readers[reader].slot_granted, self, turn)
                case actions.Fetch(source, chunk):
                    self._fetch(source, chunk)
                case actions.Cancel(source, chunk):
                    self._network.cancel(self._connections[source], self._requests.pop((source, chunk)))
                case actions.Announce():
                    clock.after(latency + NEWS_COST, self._announced, self.held)
                case actions.Connect(peer):
                    clock.after(SPAWN + 2 * ROUND_TRIPS * latency, self._connect, self._nodes[peer])
                case actions.AskMasterSlot(slot):
                    self._master.receive("offers", TREAD, self._master.ask, self, self._slots_before + slot)
                case actions.CloseMasterSlots():
                    slots = range(self._slots_before, self._slots_before + SLOTS)
                    self._master.receive("offers", TREAD, self._master.close, self, slots)
                    self._slots_before += SLOTS
                case actions.OpenMasterSlot(slot):
                    self._master.opened(1)
                    clock.after(2 * latency, self._slot_opened, slot, self._slots_before)
                case actions.SendWants(chunks):
                    size = TWRITE + RWRITE + (len(self._sizes) + 7) // 8
                    self._master.receive("takes", size, self._master.takes, self, chunks)
                case actions.SendRegistration():
                    count = self.held.bit_count()
                    reached, self._reached = self._reached[:REACHED_LIMIT], self._reached[REACHED_LIMIT:]
                    line = Registration(port_of(self), GENERATION, count, reached=tuple(reached)).encode()
                    size = TWRITE + RWRITE + len(line)
                    self._master.receive("registrations", size, self._master.register, self, count, reached)
                case actions.Finished():
                    self.finished = clock.now
                    self._leave_peers()
                    self._downloader.end()
                    self._carry_out(self._uploader.completed(clock.now))
                case actions.Disconnect(peer):
                    self._disconnect(self._nodes[peer])
                case actions.SendRemark() | actions.Suspended():
                    pass
                case _:
                    raise AssertionError(f"nothing goes wrong here, but {action}")
        due = min(self._downloader.next_tick, self._uploader.next_tick)
        if due < self._next_tick:
            self._next_tick = due
            clock.at(self._next_tick, self._tick, self._next_tick)

    def _tick(self, moment: float) -> None:
        if self.port.alive and moment == self._next_tick:
            self._next_tick = inf
            self._carry_out([*self._uploader.tick(moment), *self._downloader.tick(moment)])

    # Peers.

    def registered(self, peer: Node) -> None:
        """A peer says where it serves."""
        if self.port.alive:
            self._nodes[peer.address] = peer
            self._carry_out(self._downloader.peer_registered(peer.address, GENERATION, self._clock.now))

    def _connect(self, peer: Node) -> None:
        if self.finished is not None or not self.port.alive:
            return
        if not peer.answers:
            self._clock.after(CONNECT, self._not_connected, peer)
            return
        if not peer.port.alive:
            self._not_connected(peer)
            return
        self._connections[peer.address] = Connection(peer.port, self.port)
        peer._readers[self.key] = self
        self._turns[peer.address] = Turns()
        self._downloader.peer_connected(peer.address, 2 * self._network.latency)
        self._reached.append(peer.address)
        self._clock.after(self._network.latency, peer.registered, self)
        self._clock.after(self._network.latency, self.learn, peer, peer.held)

    def _not_connected(self, peer: Node) -> None:
        if self.finished is None and self.port.alive:
            self._carry_out(self._downloader.peer_gone(peer.address, self._clock.now))

    def learn(self, peer: Node, held: int) -> None:
        """A peer says what it holds."""
        if self.port.alive:
            self._carry_out(self._downloader.peer_has(peer.address, held, self._clock.now))

    def lose(self, peer: Node) -> None:
        """A connection has ended."""
        if self.port.alive and peer.address in self._connections:
            self._disconnect(peer)
            self._carry_out(self._downloader.peer_gone(peer.address, self._clock.now))

    def stalled(self, peer: Node, request: Request) -> None:
        """Nothing has arrived for too long of what was asked for: the connection is closed, unless it was cancelled."""
        if self._requests.get((peer.address, request.chunk)) is request:
            self.lose(peer)

    def _disconnect(self, peer: Node) -> None:
        """Close the connection to a peer, with what is being read."""
        if self._connections.pop(peer.address, None) is not None:
            for key in [key for key in self._requests if key[0] == peer.address]:
                self._requests.pop(key).cancelled = True
            self._clock.after(self._network.latency, peer.reader_gone, self)

    def _leave_peers(self) -> None:
        for address in self._connections:
            if address != MASTER:
                self._clock.after(self._network.latency, self._nodes[address].reader_gone, self)
        self._connections.clear()

    # Readers.

    def _announced(self, held: int) -> None:
        if self.port.alive:
            for reader in list(self._readers.values()):
                reader.learn(self, held)

    def reader_gone(self, reader: Node) -> None:
        self._readers.pop(reader.key, None)
        for turn in range(TURNS):
            self.slot_ended(reader, turn)

    def slot_requested(self, reader: Node, turn: int) -> None:
        if self.port.alive and reader.key in self._readers:
            key, round_trip = reader.key * TURNS + turn, 2 * self._network.latency
            self._carry_out(self._uploader.slot_requested(key, reader.address[0], self._clock.now, round_trip))

    def slot_ended(self, reader: Node, turn: int) -> None:
        if self.port.alive:
            self._carry_out(self._uploader.slot_ended(reader.key * TURNS + turn, self._clock.now))

    def slot_granted(self, peer: Node, turn: int) -> None:
        if self.port.alive and peer.address in self._connections:
            self._turns[peer.address].granted(turn)
            self._carry_out(self._downloader.slot_granted(peer.address, self._clock.now))

    # The master.

    def _slot_opened(self, slot: int, slots_before: int) -> None:
        if self.port.alive and slots_before == self._slots_before:
            self._carry_out(self._downloader.master_slot_opened(slot, self._clock.now))

    def granted(self, slot: int, chunk: int) -> None:
        """The master offers a chunk to a slot, which may be closed meanwhile."""
        if self.port.alive and slot >= self._slots_before:
            self._carry_out(self._downloader.chunk_offered(slot - self._slots_before, chunk, self._clock.now))

    # Chunks.

    def _fetch(self, source: Address, chunk: int) -> None:
        def arrived(request: Request) -> None:
            self._arrived(source, chunk)

        sent = self._clock.now
        if source == MASTER:
            if MASTER not in self._connections:
                self._connections[MASTER] = Connection(self._master.port, self.port)
                self._master.connected(1)
                self._content_ready = sent + SPAWN + 2 * (ROUND_TRIPS - 2) * self._network.latency
            sent = max(sent, self._content_ready)
        request = self._requests[source, chunk] = Request(chunk, self._sizes[chunk], arrived)
        connection = self._connections[source]
        send = self._network.send if source == MASTER else partial(self._nodes[source].asked, self)
        self._clock.at(sent + self._network.latency, send, connection, request)

    def asked(self, reader: Node, connection: Connection, request: Request) -> None:
        """A reader asks for a chunk."""
        self._network.send(connection, request)

    def refused(self, peer: Node, chunk: int) -> None:
        """A peer does not send a chunk."""
        if self.port.alive and self._requests.pop((peer.address, chunk), None) is not None:
            self._carry_out(self._downloader.chunk_failed(peer.address, chunk, self._clock.now))

    def _arrived(self, source: Address, chunk: int) -> None:
        del self._requests[source, chunk]
        right = source == MASTER or self._nodes[source].sends_right_content
        verified = self._written if right else self._wrong
        self._clock.after(VERIFY_BASE + self._sizes[chunk] / VERIFY_RATE, verified, source, chunk)
        self._carry_out(self._downloader.chunk_arrived(source, chunk, self._clock.now))

    def _wrong(self, source: Address, chunk: int) -> None:
        if self.port.alive:
            self._carry_out(self._downloader.chunk_wrong(source, chunk, WRONG, self._clock.now))

    def _written(self, source: Address, chunk: int) -> None:
        if not self.port.alive:
            return
        if self.held >> chunk & 1:
            self.twice += 1
        self.held |= 1 << chunk
        self._carry_out(self._uploader.held_changed(self._clock.now))
        self._carry_out(self._downloader.chunk_written(source, chunk, self._clock.now))

"""How a node downloads: carries out what its `Downloader` decides, and reports to it what happens.

Greenlets and callbacks turn 9P replies into events of the `Downloader`; `_carry_out` turns its actions into 9P
requests. Chunks are verified and written in threads, small ones in the loop if the disk is quick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from logging import INFO, WARNING
from random import Random

import gevent

from xget_lib.download.download import Download
from xget_lib.errors import LinkLost, NinepError, NotAdmitted, PieceMismatch, ProtocolViolation, XGetError
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.net.threads import in_thread
from xget_lib.ninep import messages
from xget_lib.node.awake import now
from xget_lib.node.disk_speed import DiskSpeed
from xget_lib.node.master_link import MasterLink
from xget_lib.node.master_slots import Failure, MasterSlots
from xget_lib.node.peer_link import PeerLink
from xget_lib.node.source import CHECK_EVERY, ChunkRead, Source
from xget_lib.node.ticker import Ticker
from xget_lib.node.transfer_run import NewGeneration, TransferRun, TransferStats
from xget_lib.report.log import LOGGER
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.swarm import actions
from xget_lib.swarm.downloader import Downloader
from xget_lib.swarm.host_attempts import HostAttempts
from xget_lib.swarm.messages import Address, Fetched, News
from xget_lib.swarm.tuning import TUNING, buffer_count


class Transfer:
    """One for the life of a node. `run` downloads a generation."""

    def __init__(self, master: MasterLink, retries: int) -> None:
        self.master = master
        self._downloader = Downloader(TUNING, Random(), now(), retries=retries)
        self._ticker = Ticker(self._downloader, self._act)
        self._newest: bytes | None = None
        """The generation that the master named last."""
        self._run: TransferRun | None = None
        self._peers: dict[Address, PeerLink] = {}
        self._slots: MasterSlots | None = None
        self._actions: deque[actions.Action] = deque()
        self._acting = False
        self._suspended_log, self._stalled_log = RateLimitedLog(1), RateLimitedLog(1)
        self._disk = DiskSpeed()
        self._writing = 0
        """Chunks that are being verified and written."""

    @property
    def sources(self) -> int:
        """The number of servers that content can come from now."""
        return self._downloader.sources

    @property
    def fetched(self) -> Fetched | None:
        """What has arrived in this run; None if there is none."""
        return self._run.stats.reported if self._run is not None else None

    @property
    def host_attempts(self) -> HostAttempts:
        """Of all connections of this node to peers."""
        return self._downloader.host_attempts

    @property
    def peers(self) -> list[Address]:
        """The peers that this node is connected to."""
        return list(self._peers)

    @property
    def receiving(self) -> int:
        """The bytes that have arrived of the chunks that are being read."""
        return sum(source.receiving for source in self._reading)

    @property
    def disk_is_busy(self) -> bool:
        """Whether content is being written, and none is being read."""
        return self._writing > 0 and not self._reading

    @property
    def _reading(self) -> list[Source]:
        """The connections on which content is expected."""
        master = self._slots.content if self._slots is not None else None
        return [source for source in (*self._peers.values(), master) if source is not None and source.reads]

    def run(
        self,
        download: Download,
        manifest: Manifest,
        lacking: Bitmap,
        *,
        stats: TransferStats,
        on_written: Callable[[int], None],
    ) -> None:
        """Fetch the chunks in `lacking`, verify and write them. Raises XGetError, or NewGeneration.

        `on_written` is called with each chunk of which all is on disk and verified.
        """
        if lacking.count and self._newest not in (None, manifest.generation):
            raise NewGeneration
        generation, layout = manifest.generation, manifest.layout
        run = self._run = TransferRun(download, generation, layout, stats, on_written)
        run.spawn(self._watch_sources)
        buffers = buffer_count(layout.chunk_size)
        try:
            self._act(self._downloader.begin(generation, layout.chunk_count, lacking.as_int(), buffers, now()))
            run.outcome.get()
        finally:
            self._run = None
            gevent.killall(list(run.tasks))
            self._close_slots()
            for peer in list(self._peers.values()):
                peer.close()
            self._peers.clear()
            self._downloader.end()

    def fail(self, error: BaseException) -> None:
        """End `run` with an error."""
        if self._run is not None:
            self._run.fail(error)

    # Events from the master, and from peers that register with this node.

    def master_named(self, news: News) -> None:
        self._newest = news.generation
        if self._run is not None and self._run.generation != news.generation:
            self.fail(NewGeneration())
        self._act(self._downloader.master_named(news.peers, news.master_first, now()))

    def master_connected(self) -> None:
        for address in self._peers:
            self.master.peer_reached(address)  # it may be another master, which knows nothing
        round_trip = self.master.link.round_trip if self.master.link is not None else 0.0
        self._act(self._downloader.master_connected(now(), round_trip))

    def master_lost(self) -> None:
        self._close_slots()
        self._act(self._downloader.master_lost(now()))

    def peer_registered(self, peer: Address, generation: bytes) -> None:
        self._act(self._downloader.peer_registered(peer, generation, now()))

    # Actions.

    def _act(self, decided: Sequence[actions.Action]) -> None:
        """Carry out actions in order. Actions that follow from them are appended, even while one of them waits."""
        self._actions.extend(decided)
        if not self._acting:
            self._acting = True
            try:
                while self._actions:
                    self._carry_out(self._actions.popleft())
            except Exception as error:
                # A bug must end the run, not stop it in silence.
                self.fail(error)
                raise
            finally:
                self._acting = False
        self._ticker.update()

    def _carry_out(self, action: actions.Action) -> None:
        run, slots = self._run, self._slots
        if run is None:
            return
        match action:
            case actions.RequestSlot(address) if address in self._peers:
                peer = self._peers[address]
                peer.request_slot(lambda: self._granted(peer))
            case actions.PassSlot(address) if address in self._peers:
                self._peers[address].pass_slot()
            case actions.Fetch(address, chunk) if address in self._peers:
                self._read(run, self._peers[address], chunk)
            case actions.Fetch(actions.MASTER, chunk) if slots is not None:
                slots.use_content(chunk, lambda source: self._read(run, source, chunk))
            case actions.Cancel(address, chunk) if address in self._peers:
                run.cancel(self._peers[address], chunk)
            case actions.Cancel(actions.MASTER, chunk) if slots is not None:
                slots.cancel(chunk)
                if slots.content is not None:
                    run.cancel(slots.content, chunk)
            case actions.Connect(address):
                run.spawn(self._attend_peer, run, address)
            case actions.Disconnect(address):
                self._close_peer(run, address)
            case actions.OpenMasterSlot(slot):
                self._open_slot(slot)
            case actions.CloseMasterSlots():
                self._close_slots()
            case actions.AskMasterSlot(slot) if slots is not None:
                slots.ask(slot, lambda line: self._offered(slots, slot, line))
            case actions.SendWants(chunks) if slots is not None:
                slots.send_wants(chunks.to_bytes((run.layout.chunk_count + 7) // 8, "little"))
            case actions.SendRemark(text):
                gevent.spawn(self.master.remark, text)
            case actions.Suspended(address, why):
                name = f"{address[0]}:{address[1]}"
                self._suspended_log.log(INFO, name, "%s: %s; using other servers", name, why)
            case actions.GiveUp(chunk, source):
                run.download.give_up(chunk, source)
            case actions.Finished():
                run.finish()

    # Peers.

    def _attend_peer(self, run: TransferRun, address: Address) -> None:
        """Connect to a peer and read what it holds until the connection ends."""
        try:
            peer = PeerLink.connect(address, self.master.credentials, self.master.limit)
            self._peers[address] = peer
            self._downloader.peer_connected(address, peer.link.round_trip)
            self.master.peer_reached(address)
            registration = self.master.peer_registration(run.generation)
            if registration is not None:
                run.spawn(peer.register, registration)
            for held in peer.read_have(run.generation, run.layout.chunk_count):
                self._act(self._downloader.peer_has(address, held, now()))
        except (LinkLost, NinepError, ProtocolViolation) as error:
            LOGGER.debug("peer %s:%d: %s", *address, error)
            self._close_peer(run, address)
            self._act(self._downloader.peer_gone(address, now()))

    def _granted(self, peer: PeerLink) -> None:
        if self._peers.get(peer.address) is peer:
            self._act(self._downloader.slot_granted(peer.address, now()))

    def _close_peer(self, run: TransferRun, address: Address) -> None:
        peer = self._peers.pop(address, None)
        if peer is not None:
            run.free_buffers += peer.cancel_all()
            gevent.spawn(peer.close)

    # The master.

    def _open_slot(self, slot: int) -> None:
        if self._slots is None and self.master.link is not None:
            self._slots = MasterSlots(
                self.master.link, self.master.address, self._slots_failed, self.master.credentials, self.master.limit
            )
        if self._slots is not None:
            self._slots.open(slot, lambda: self._act(self._downloader.master_slot_opened(slot, now())))

    def _offered(self, slots: MasterSlots, slot: int, line: bytes) -> None:
        if self._run is None or slots is not self._slots:
            return
        try:
            chunk = int(line)
        except ValueError:
            chunk = -1
        if 0 <= chunk < self._run.layout.chunk_count:
            self._act(self._downloader.chunk_offered(slot, chunk, now()))
        else:
            slots.fail(LinkLost(f"{self.master.host}:{self.master.port}", "invalid offer: not a chunk number"))

    def _slots_failed(self, slots: MasterSlots, error: Failure) -> None:
        if self._run is None or slots is not self._slots:
            return
        self._close_slots()
        if isinstance(error, NotAdmitted):
            self.master.content_refusal = error  # what to say if no peer has the content either
        if isinstance(error, NinepError):
            # A server that offers nothing is a child, as good as any peer.
            LOGGER.info("%s:%d: %s", *self.master.address, error)
            self.peer_registered(self.master.address, self._run.generation)
        else:
            LOGGER.debug("the slots at the master are lost: %s", error)
        self._act(self._downloader.master_slots_lost(now()))

    def _close_slots(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            buffers = slots.content.cancel_all() if slots.content is not None else []
            if self._run is not None:
                self._run.free_buffers += buffers
            slots.close()

    # Chunks.

    def _read(self, run: TransferRun, source: Source, chunk: int) -> None:
        if source.address == actions.MASTER:
            self.master.content_refusal = None
        read = ChunkRead(source, chunk, run.download.missing(chunk), run.take_buffer(), self._read_ended)
        try:
            read.start(run.layout)
        except LinkLost as error:
            run.free_buffers.append(read.cancel())
            self._give_up(source, error)

    def _read_ended(self, read: ChunkRead, why: messages.Rerror | LinkLost | None) -> None:
        run, source = self._run, read.source
        if run is None:
            return
        if why is None:
            run.stats.add(read)
            self._act(self._downloader.chunk_arrived(source.address, read.chunk, now()))
            if self._disk.may_write_in_loop(read.length, sum(map(len, read.runs))):
                self._write_in_loop(run, read)
            else:
                run.spawn(self._write, run, read, lambda write: in_thread(self._disk.watch, write))
            return
        LOGGER.debug("chunk %d not received from %s: %s", read.chunk, source.link.name, why)
        run.free_buffers.append(read.buffer)
        if isinstance(why, LinkLost):
            self._give_up(source, why)
        else:
            self._act(self._downloader.chunk_failed(source.address, read.chunk, now()))

    def _write_in_loop(self, run: TransferRun, read: ChunkRead) -> None:
        try:
            self._write(run, read, self._disk.watch)
        except Exception as error:
            # A bug must not end the connection that the chunk came from, but the run, as one in a task does.
            run.fail(error)

    def _write(self, run: TransferRun, read: ChunkRead, call: Callable[[Callable[[], None]], None]) -> None:
        """Verify and write a chunk that has arrived. `call` does it here or in a thread."""
        source, chunk = read.source.address, read.chunk
        self._writing += 1
        try:
            call(partial(run.write, read))
        except PieceMismatch as error:
            LOGGER.warning("%s", error)
            run.take_back(read)
            if source == actions.MASTER:
                gevent.spawn(self.master.report_wrong, chunk)
            self._act(self._downloader.chunk_wrong(source, chunk, error, now()))
            return
        except XGetError as error:
            run.fail(error)
            return
        finally:
            self._writing -= 1
            run.free_buffers.append(read.buffer)
        if run.download.missing(chunk):
            self._act(self._downloader.chunk_incomplete(source, chunk, now()))
            return
        if run.download.chunk_complete(chunk):
            run.on_written(chunk)
        self._act(self._downloader.chunk_written(source, chunk, now()))

    def _give_up(self, source: Source, error: LinkLost) -> None:
        """The connection for content is lost: close the other connection to the same server too."""
        if isinstance(source, PeerLink):
            source.end()
        elif self._slots is not None and source is self._slots.content:
            self._slots.fail(error)

    def _watch_sources(self) -> None:
        """Close the connections to servers that were asked for something and send too little, or nothing."""
        while True:
            gevent.sleep(CHECK_EVERY)
            moment = now()
            master = self._slots.content if self._slots is not None else None
            for source in [*self._peers.values(), master]:
                if source is not None and source.is_stalled(moment):
                    self._close_stalled(source, "too little data received")
                elif isinstance(source, PeerLink) and source.is_mute(moment):
                    self._close_stalled(source, "no answer")

    def _close_stalled(self, source: Source, why: str) -> None:
        name = source.link.name
        self._stalled_log.log(WARNING, name, "%s: %s; closing the connection", name, why)
        self._give_up(source, LinkLost(name, why))

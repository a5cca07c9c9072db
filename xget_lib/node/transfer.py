"""The node's part in the swarm: carries out what its `Downloader` decides, and reports what happens to it.

Greenlets and callbacks turn 9P replies into events of the `Downloader`; `_carry_out` turns its actions into 9P
requests. Verifying and writing happen in threads, all else in the loop.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Protocol

import gevent
from gevent.event import AsyncResult, Event

from xget_lib.download.download import Download
from xget_lib.errors import LinkLost, NinepError, PieceMismatch, ProtocolViolation, XGetError
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import Manifest
from xget_lib.net.waiting import in_thread
from xget_lib.ninep import messages
from xget_lib.node.master_link import MasterLink
from xget_lib.node.master_slots import Failure, MasterSlots
from xget_lib.node.peer_link import PeerLink
from xget_lib.node.source import ChunkRead, Source
from xget_lib.report.log import LOGGER
from xget_lib.swarm.actions import (
    MASTER,
    Action,
    Announce,
    AskMasterSlot,
    Cancel,
    Connect,
    Disconnect,
    Failed,
    Fetch,
    Finished,
    GrantUploadSlot,
    OpenMasterSlot,
    PassSlot,
    RequestSlot,
    SendRemark,
    SendReport,
    SendWants,
)
from xget_lib.swarm.downloader import Downloader
from xget_lib.swarm.messages import Address, News
from xget_lib.swarm.tuning import TUNING, buffer_count

_SILENCE_EVERY = 1.0


class NewGeneration(Exception):
    """The master serves another generation now."""


class Readers(Protocol):
    """The server of the node, for those who read from it."""

    def grant_upload_slot(self, key: int) -> None:
        """Tell a reader that it may take a chunk now."""

    def announce(self) -> None:
        """Tell the readers of `have` that it has changed."""


@dataclass
class TransferStats:
    """What has arrived, for the summary. Bytes of content."""

    fetched: int = 0
    from_master: int = 0
    peers: set[Address] = field(default_factory=set)

    def add(self, read: ChunkRead) -> None:
        """A chunk has arrived. It counts before it is verified: the last one must be in the summary."""
        self._count(read, +1)
        if read.source.address != MASTER:
            self.peers.add(read.source.address)

    def take_back(self, read: ChunkRead) -> None:
        """It was not the right content."""
        self._count(read, -1)

    def _count(self, read: ChunkRead, sign: int) -> None:
        self.fetched += sign * read.length
        if read.source.address == MASTER:
            self.from_master += sign * read.length


@dataclass
class _Content:
    """What is being downloaded, and where it goes."""

    download: Download
    generation: bytes
    layout: Layout
    stats: TransferStats
    on_written: Callable[[int], None]
    outcome: AsyncResult[None] = field(default_factory=AsyncResult)
    free: list[memoryview] = field(default_factory=list)
    """Buffers that are not in use. The `Downloader` counts those that are."""
    tasks: set[gevent.Greenlet[..., None]] = field(default_factory=set)

    def take_buffer(self) -> memoryview:
        return self.free.pop() if self.free else memoryview(bytearray(self.layout.chunk_size))


class Transfer:
    """One for the life of a node. `run` downloads a generation; the readers are served all the time."""

    def __init__(self, master: MasterLink, retries: int) -> None:
        self.readers: Readers | None = None
        self._downloader = Downloader(TUNING, Random(), time.monotonic(), retries=retries)
        self._master = master
        self._newest: bytes | None = None
        """The generation that the master named last."""
        self._content: _Content | None = None
        self._peers: dict[Address, PeerLink] = {}
        self._slots: MasterSlots | None = None
        self._actions: deque[Action] = deque()
        self._acting = False
        self._wake = Event()
        self._next_tick = inf
        gevent.spawn(self._keep_time)

    @property
    def sources(self) -> int:
        """The number of servers that content can come from now."""
        return self._downloader.sources

    def run(
        self,
        download: Download,
        manifest: Manifest,
        lacking: Bitmap,
        *,
        stats: TransferStats,
        on_written: Callable[[int], None],
    ) -> None:
        """Get the chunks in `lacking`, verify and write them. Raises XGetError, or NewGeneration.

        `on_written` is called with each chunk of which all is on disk and verified.
        """
        if lacking.count and self._newest not in (None, manifest.generation):
            raise NewGeneration
        content = self._content = _Content(download, manifest.generation, manifest.layout, stats, on_written)
        buffers = buffer_count(manifest.layout.chunk_size)
        now = time.monotonic()
        try:
            self._spawn(self._watch_silence)
            count = manifest.layout.chunk_count
            self._act(self._downloader.begin(manifest.generation, count, lacking.as_int(), buffers, now))
            content.outcome.get()
        finally:
            self._content = None
            gevent.killall(list(content.tasks))
            self._close_slots()
            for peer in list(self._peers.values()):
                peer.close()
            self._peers.clear()
            self._downloader.end()

    def fail(self, error: BaseException) -> None:
        """End `run` with an error."""
        if self._content is not None and not self._content.outcome.ready():
            self._content.outcome.set_exception(error)

    # Events from the master, from readers, and from what this node holds.

    def master_named(self, news: News) -> None:
        self._newest = news.generation
        if self._content is not None and self._content.generation != news.generation:
            self.fail(NewGeneration())
        self._act(self._downloader.master_named(news.peers, news.direct, time.monotonic()))

    def master_connected(self) -> None:
        self._act(self._downloader.master_connected(time.monotonic()))

    def master_lost(self) -> None:
        self._close_slots()
        self._act(self._downloader.master_lost(time.monotonic()))

    def peer_introduced(self, peer: Address, generation: bytes) -> None:
        self._act(self._downloader.peer_introduced(peer, generation))

    def upload_slot_requested(self, key: int) -> None:
        self._act(self._downloader.upload_slot_requested(key, time.monotonic()))

    def upload_slot_ended(self, key: int) -> None:
        self._act(self._downloader.upload_slot_ended(key, time.monotonic()))

    def serves(self, generation: bytes, held: int) -> None:
        """This node serves so many chunks of a generation from now on."""
        self._master.set_report(generation, held)
        self._act(self._downloader.serves(generation, held, time.monotonic()))

    def held_changed(self, generation: bytes, held: int) -> None:
        """It holds more chunks of it than before, or less."""
        self._master.set_report(generation, held)
        self._act(self._downloader.held_changed(time.monotonic()))

    # Actions.

    def _act(self, actions: Sequence[Action]) -> None:
        """Carry out actions. Those that follow from them come after them, also where one of them waits."""
        self._actions.extend(actions)
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
        if self._downloader.next_tick < self._next_tick:
            self._wake.set()

    def _carry_out(self, action: Action) -> None:
        match action:
            case GrantUploadSlot(key) if self.readers is not None:
                self.readers.grant_upload_slot(key)
            case Announce() if self.readers is not None:
                self.readers.announce()
            case SendReport():
                gevent.spawn(self._master.report)
            case SendRemark(text):
                gevent.spawn(self._master.remark, text)
            case _ if self._content is not None:
                self._download(self._content, action)

    def _download(self, content: _Content, action: Action) -> None:
        match action:
            case RequestSlot(address) if address in self._peers:
                peer = self._peers[address]
                peer.request_slot(lambda: self._granted(peer))
            case PassSlot(address) if address in self._peers:
                self._peers[address].pass_slot()
            case Fetch(source, chunk):
                self._fetch(content, source, chunk)
            case Cancel(source, chunk):
                self._cancel(content, source, chunk)
            case Connect(address, pause):
                self._spawn(self._attend_peer, content, address, pause)
            case Disconnect(address):
                self._forget(address)
            case OpenMasterSlot(slot):
                self._open_slot(slot)
            case AskMasterSlot(slot) if self._slots is not None:
                slots = self._slots
                slots.ask(slot, lambda line: self._offered(slots, slot, line))
            case SendWants(chunks) if self._slots is not None:
                self._slots.send_wants(chunks.to_bytes((content.layout.chunk_count + 7) // 8, "little"))
            case Failed(error):
                self.fail(error)
            case Finished() if not content.outcome.ready():
                content.outcome.set(None)

    def _spawn(self, task: Callable[..., None], *arguments: object) -> None:
        """Run a task that ends with the download, and ends it where it fails."""
        assert self._content is not None
        tasks = self._content.tasks
        greenlet = gevent.spawn(task, *arguments)
        greenlet.link_exception(lambda failed: self.fail(failed.exception or AssertionError()))
        greenlet.link(tasks.discard)
        tasks.add(greenlet)

    # Peers.

    def _attend_peer(self, content: _Content, address: Address, pause: float) -> None:
        """Connect to a peer and read what it holds until the connection ends."""
        gevent.sleep(pause)
        try:
            peer = PeerLink.connect(address)
            self._peers[address] = peer
            self._act(self._downloader.peer_connected(address))
            introduction = self._master.introduction(content.generation)
            if introduction is not None:
                self._spawn(peer.introduce, introduction)
            for held in peer.read_have(content.generation, content.layout.chunk_count):
                self._act(self._downloader.peer_has(address, held, time.monotonic()))
        except (LinkLost, NinepError, ProtocolViolation) as error:
            LOGGER.debug("peer %s:%d: %s", *address, error)
            self._forget(address)
            self._act(self._downloader.peer_gone(address, time.monotonic()))

    def _granted(self, peer: PeerLink) -> None:
        if self._peers.get(peer.address) is peer:
            self._act(self._downloader.slot_granted(peer.address, time.monotonic()))

    def _forget(self, address: Address) -> None:
        """Close the connections to a peer."""
        peer = self._peers.pop(address, None)
        if peer is not None:
            self._cancel_all(peer)
            gevent.spawn(peer.close)

    # The master.

    def _open_slot(self, slot: int) -> None:
        if self._slots is None and self._master.link is not None:
            master = self._master.host, self._master.port
            self._slots = MasterSlots(self._master.link, master, self._slots_failed)
        if self._slots is not None:
            self._slots.open(slot, lambda: self._act(self._downloader.master_slot_opened(slot, time.monotonic())))

    def _offered(self, slots: MasterSlots, slot: int, line: bytes) -> None:
        if self._content is None or slots is not self._slots:
            return
        try:
            chunk = int(line)
        except ValueError:
            chunk = -1
        if 0 <= chunk < self._content.layout.chunk_count:
            self._act(self._downloader.chunk_offered(slot, chunk, time.monotonic()))
        else:
            slots.fail(LinkLost(f"{self._master.host}:{self._master.port}", "invalid offer: not a chunk number"))

    def _slots_failed(self, slots: MasterSlots, error: Failure) -> None:
        if self._content is None or slots is not self._slots:
            return
        self._close_slots()
        if isinstance(error, NinepError):
            # A server that offers nothing is a child, as good as any peer.
            LOGGER.info("%s:%d: %s", self._master.host, self._master.port, error)
            self.peer_introduced((self._master.host, self._master.port), self._content.generation)
        else:
            LOGGER.debug("slots at the master: %s", error)
        self._act(self._downloader.master_slots_lost(time.monotonic()))

    def _close_slots(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            if slots.content is not None:
                self._cancel_all(slots.content)
            slots.close()

    # Chunks.

    def _fetch(self, content: _Content, address: Address, chunk: int) -> None:
        if address in self._peers:
            self._read(content, self._peers[address], chunk)
        elif address == MASTER and self._slots is not None:
            self._slots.use_content(chunk, lambda source: self._read(content, source, chunk))

    def _read(self, content: _Content, source: Source, chunk: int) -> None:
        read = ChunkRead(source, chunk, content.download.missing(chunk), content.take_buffer(), self._read_ended)
        try:
            read.start(content.layout)
        except LinkLost as error:
            content.free.append(read.cancel())
            self._give_up(source, error)

    def _read_ended(self, read: ChunkRead, why: messages.Rerror | LinkLost | None) -> None:
        content, source = self._content, read.source
        if content is None:
            return
        if why is None:
            content.stats.add(read)
            self._spawn(self._keep, content, read)
            self._act(self._downloader.chunk_arrived(source.address, read.chunk, time.monotonic()))
            return
        LOGGER.debug("chunk %d from %s: %s", read.chunk, source.link.name, why)
        content.free.append(read.buffer)
        if isinstance(why, LinkLost):
            self._give_up(source, why)
        else:
            self._act(self._downloader.chunk_failed(source.address, read.chunk, time.monotonic()))

    def _keep(self, content: _Content, read: ChunkRead) -> None:
        """Verify and write a chunk that has arrived."""
        source, chunk = read.source.address, read.chunk
        try:
            in_thread(_write, content, read)
        except PieceMismatch as error:
            LOGGER.warning("%s", error)
            content.stats.take_back(read)
            self._act(self._downloader.chunk_wrong(source, chunk, error, time.monotonic()))
            return
        except XGetError as error:
            self.fail(error)
            return
        finally:
            content.free.append(read.buffer)
        if content.download.missing(chunk):
            self._act(self._downloader.chunk_incomplete(source, chunk, time.monotonic()))
            return
        if content.download.chunk_complete(chunk):
            content.on_written(chunk)
        self._act(self._downloader.chunk_written(source, chunk, time.monotonic()))

    def _cancel(self, content: _Content, address: Address, chunk: int) -> None:
        source: Source | None = self._peers.get(address)
        if address == MASTER and self._slots is not None:
            self._slots.cancel(chunk)
            source = self._slots.content
        if source is not None and chunk in source.reads:
            content.free.append(source.reads[chunk].cancel())

    def _cancel_all(self, source: Source) -> None:
        for read in list(source.reads.values()):
            buffer = read.cancel()
            if self._content is not None:
                self._content.free.append(buffer)

    def _give_up(self, source: Source, error: LinkLost) -> None:
        """The connection for content is lost: give up the other one to the same server too."""
        if isinstance(source, PeerLink):
            source.end()
        elif self._slots is not None and source is self._slots.content:
            self._slots.fail(error)

    # Time.

    def _watch_silence(self) -> None:
        """Give up servers that were asked for content and send nothing."""
        while True:
            gevent.sleep(_SILENCE_EVERY)
            now = time.monotonic()
            content = self._slots.content if self._slots is not None else None
            for source in [*self._peers.values(), *([content] if content is not None else [])]:
                if source.is_silent(now):
                    LOGGER.warning("%s: no data received; closing the connection", source.link.name)
                    self._give_up(source, LinkLost(source.link.name, "no data received"))

    def _keep_time(self) -> None:
        """Call `tick` whenever it is due."""
        while True:
            self._next_tick = self._downloader.next_tick
            wait = self._next_tick - time.monotonic()
            self._wake.wait(max(0.0, wait) if wait < inf else None)
            self._wake.clear()
            now = time.monotonic()
            if now >= self._downloader.next_tick:
                self._act(self._downloader.tick(now))


def _write(content: _Content, read: ChunkRead) -> None:
    """In a thread."""
    position = 0
    for run in read.runs:
        first, last = content.layout.piece(run.start), content.layout.piece(run.stop - 1)
        length = last.stream_offset + last.length - first.stream_offset
        content.download.write_run(run, read.buffer[position : position + length], read.source.link.name)
        position += length

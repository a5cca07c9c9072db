"""Chunks on their way in: asked for, received, verified, written, and then said to be held.

Whom to ask for what is decided elsewhere (`swarm.picker`, and `transfer`, which knows the servers); what is common to
all that comes stands here: few buffers, one account, a server that sends wrong things or nothing at all, a chunk that
was asked for twice. Verifying and writing happen in threads, all else in the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from random import Random

import gevent
from gevent.event import AsyncResult

from xget_lib.download.download import Download
from xget_lib.errors import LinkLost, NoGoodSource, PieceMismatch, XGetError
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.net.waiting import in_thread
from xget_lib.ninep import messages
from xget_lib.node.fetch import Buffers, Fetch, Supplier
from xget_lib.report.log import LOGGER
from xget_lib.swarm.picker import Picker

MASTER = "master"
"""The key of the master among the suppliers; a peer's is its address and port."""
_IN_FLIGHT = 32 * 1024 * 1024
"""Bytes on their way or being written, at most (but always some buffers)."""
_SILENT = 30.0
"""Seconds after which a server that was asked and sends nothing is left."""
_TICK = 0.25


@dataclass
class TransferStats:
    """What has come, for the summary. Bytes of content."""

    fetched: int = 0
    from_master: int = 0
    peers: set[Hashable] = field(default_factory=set)

    def count(self, fetch: Fetch) -> None:
        """A fetch has come. Counted at once: what comes last must be in the account when the run ends."""
        self.fetched += fetch.length
        if fetch.supplier.key == MASTER:
            self.from_master += fetch.length
        else:
            self.peers.add(fetch.supplier.key)

    def take_back(self, fetch: Fetch) -> None:
        """What has come was not content."""
        self.fetched -= fetch.length
        if fetch.supplier.key == MASTER:
            self.from_master -= fetch.length


class ChunkReceiver:
    """What comes of one generation into a `Download`. `wait` returns when every chunk that was lacking is written."""

    def __init__(
        self,
        partial: Download,
        manifest: Manifest,
        lacking: Bitmap,
        *,
        retries: int,
        account: TransferStats,
        on_held: Callable[[int], None],
        on_wrong: Callable[[Hashable, str], None],
        on_room: Callable[[Supplier | None], None],
    ) -> None:
        """`lacking` are the chunks to get; `on_held` is called with each of which all is on disk and verified;
        `on_wrong` with the key of a peer that sent something wrong, and what; `on_room` when more can be asked of a
        supplier, or of anybody."""
        self.layout = manifest.layout
        self.picker = Picker(lacking.as_int(), Random())
        count = max(4, min(64, _IN_FLIGHT // self.layout.chunk_size))
        self.buffers = Buffers(count, self.layout.chunk_size)
        self.suppliers: dict[Hashable, Supplier] = {}
        self.came = time.monotonic()
        """When a chunk came last."""
        self._partial = partial
        self._retries = retries
        self._account = account
        self._on_held = on_held
        self._on_wrong = on_wrong
        self._on_room = on_room
        self._failures: dict[int, int] = {}
        self._outcome: AsyncResult[None] = AsyncResult()
        self._tasks: list[gevent.Greenlet[..., None]] = []

    def wait(self) -> None:
        """Return when nothing is lacking, and raise what makes that impossible. Everything has ended then."""
        try:
            self.spawn(self._tick)
            self._outcome.get()
        finally:
            gevent.killall(self._tasks)
            for supplier in list(self.suppliers.values()):
                self.part(supplier)

    def fail(self, error: BaseException) -> None:
        """End the run with an error."""
        if not self._outcome.ready():
            self._outcome.set_exception(error)

    def spawn(self, task: Callable[..., None], *arguments: object) -> None:
        """Run a task that ends with the run."""
        self._tasks = [other for other in self._tasks if not other.ready()]
        greenlet = gevent.spawn(task, *arguments)
        # What is not expected must end the run, not stop it in silence.
        greenlet.link_exception(lambda failed: self.fail(failed.exception or AssertionError()))
        self._tasks.append(greenlet)

    def part(self, supplier: Supplier) -> None:
        """Take nothing more from a server."""
        if self.suppliers.get(supplier.key) is supplier:
            del self.suppliers[supplier.key]
        for fetch in list(supplier.fetches):
            fetch.cancel()
            self._give_up(fetch)
        if supplier.key != MASTER:
            self.picker.peer_gone(supplier.key)
        supplier.link.close()
        if supplier.control is not None:
            supplier.control.close()

    def fetch(self, supplier: Supplier, chunk: int, buffer: memoryview) -> Fetch:
        """Ask a server for what is lacking of a chunk. The picker counts it as on its way already."""
        fetch = Fetch(supplier, chunk, self._partial.missing(chunk), buffer, self._ended)
        try:
            fetch.start(self.layout)
        except LinkLost as error:
            fetch.cancel()
            self._ended(fetch, error)
        return fetch

    def _ended(self, fetch: Fetch, why: messages.Rerror | LinkLost | None) -> None:
        """A fetch got all, or did not."""
        if why is None:
            self.came = time.monotonic()
            self._account.count(fetch)
            self.spawn(self._keep, fetch)
        else:
            LOGGER.debug("chunk %d from %s: %s", fetch.chunk, fetch.supplier.name, why)
            self._give_up(fetch)
            if isinstance(why, messages.Rerror) and fetch.supplier.key != MASTER:
                # It does not hold that any more, whatever its last news said.
                self.picker.peer_lost(fetch.supplier.key, fetch.chunk)
        self._on_room(fetch.supplier)

    def _give_up(self, fetch: Fetch) -> None:
        self.picker.failed(fetch.chunk, fetch.supplier.key)
        self.buffers.give_back(fetch.buffer)

    def _keep(self, fetch: Fetch) -> None:
        """Verify and write what has come, then say that it is held."""
        supplier = fetch.supplier
        try:
            in_thread(self._write, fetch)
        except PieceMismatch as error:
            self._account.take_back(fetch)
            self.picker.failed(fetch.chunk, supplier.key)
            self._distrust(supplier, fetch.chunk, error)
            return
        except XGetError as error:
            self.fail(error)
            return
        finally:
            self.buffers.give_back(fetch.buffer)
        if self._partial.missing(fetch.chunk):
            # Another fetch of the same chunk is just writing a part of it, and will see to the rest.
            self.picker.failed(fetch.chunk, supplier.key)
            return
        if self._partial.chunk_complete(fetch.chunk):
            self._on_held(fetch.chunk)
        self._stop_others(fetch)
        if not self.picker.lacking and not self._outcome.ready():
            self._outcome.set(None)
        self._on_room(None)

    def _write(self, fetch: Fetch) -> None:
        """In a thread."""
        position = 0
        for run in fetch.runs:
            first, last = self.layout.piece(run.start), self.layout.piece(run.stop - 1)
            length = last.stream_offset + last.length - first.stream_offset
            self._partial.write_run(run, fetch.buffer[position : position + length], fetch.supplier.name)
            position += length

    def _stop_others(self, kept: Fetch) -> None:
        """A chunk that was asked for twice is here: what else brings it may stop."""
        for key in self.picker.done(kept.chunk, time.monotonic()):
            supplier = self.suppliers.get(key)
            for fetch in list(supplier.fetches) if supplier is not None else ():
                if fetch.chunk == kept.chunk:
                    fetch.cancel()
                    self.buffers.give_back(fetch.buffer)

    def _distrust(self, supplier: Supplier, chunk: int, error: PieceMismatch) -> None:
        """A server sent something wrong: a peer is not asked again in this run, the master so many times."""
        LOGGER.warning("%s", error)
        if supplier.key != MASTER:
            self._on_wrong(supplier.key, str(error))
            self.part(supplier)
            return
        self._failures[chunk] = self._failures.get(chunk, 0) + 1
        if self._failures[chunk] > self._retries:
            self.fail(NoGoodSource(error.path, supplier.name))

    def _tick(self) -> None:
        """What nobody reports: a chunk that takes too long, a server that sends nothing any more."""
        while True:
            gevent.sleep(_TICK)
            now = time.monotonic()
            for supplier in list(self.suppliers.values()):
                asked = min((fetch.begun for fetch in supplier.fetches), default=now)
                if now - max(asked, supplier.link.last_received) > _SILENT:
                    LOGGER.warning("%s sends nothing", supplier.name)
                    self.part(supplier)
            self._on_room(None)

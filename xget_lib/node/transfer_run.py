"""One run of a `Transfer`: its buffers and tasks, how it ends, and what has arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import gevent
from gevent.event import AsyncResult

from xget_lib.dataclass import dataclass, field
from xget_lib.download.download import Download
from xget_lib.manifest.layout import Layout
from xget_lib.node.source import ChunkRead, Source
from xget_lib.swarm.actions import MASTER
from xget_lib.swarm.addresses import is_numeric
from xget_lib.swarm.messages import SOURCES_LIMIT, Address, Fetched


class NewGeneration(Exception):
    """The master serves another generation now."""


@dataclass
class TransferStats:
    """What has arrived, for the summary. Bytes of content."""

    fetched: int = 0
    from_master: int = 0
    peers: Counter[Address] = field(default_factory=Counter)

    @property
    def reported(self) -> Fetched:
        """What the master is told."""
        most = self.peers.most_common(SOURCES_LIMIT)
        sources = tuple((*address, count) for address, count in most if count > 0 and is_numeric(address[0]))
        return Fetched(self.fetched, self.from_master, sources)

    def add(self, read: ChunkRead) -> None:
        """A chunk has arrived. It counts before it is verified: the last one must be in the summary."""
        self._count(read, read.length)

    def take_back(self, read: ChunkRead, length: int) -> None:
        """So many bytes of a chunk were wrong, so they do not count."""
        self._count(read, -length)

    def _count(self, read: ChunkRead, length: int) -> None:
        self.fetched += length
        if read.source.address == MASTER:
            self.from_master += length
        else:
            self.peers[read.source.address] += length


@dataclass
class TransferRun:
    """The state of one `Transfer.run`: what is being downloaded, and into which destination."""

    download: Download
    generation: bytes
    layout: Layout
    stats: TransferStats
    on_written: Callable[[int], None]
    outcome: AsyncResult[None] = field(default_factory=AsyncResult)
    tasks: set[gevent.Greenlet[..., None]] = field(default_factory=set)
    free_buffers: list[memoryview] = field(default_factory=list)
    """The `Downloader` counts the buffers that are in use."""

    def spawn(self, task: Callable[..., None], *arguments: object) -> None:
        """Run a task until the download ends. If the task fails, the download fails."""
        greenlet = gevent.spawn(task, *arguments)
        greenlet.link_exception(lambda failed: self.fail(failed.exception or AssertionError()))
        greenlet.link(self.tasks.discard)
        self.tasks.add(greenlet)

    def fail(self, error: BaseException) -> None:
        """End the download with an error, unless it has ended."""
        if not self.outcome.ready():
            self.outcome.set_exception(error)

    def finish(self) -> None:
        """End the download with success, unless it has failed."""
        if not self.outcome.ready():
            self.outcome.set(None)

    def take_back(self, read: ChunkRead) -> None:
        """What is still missing of a chunk was wrong: it does not count as fetched."""
        missing = (self.layout.piece(number) for run in self.download.missing(read.chunk) for number in run)
        self.stats.take_back(read, min(read.length, sum(piece.length for piece in missing)))

    def take_buffer(self) -> memoryview:
        return self.free_buffers.pop() if self.free_buffers else memoryview(bytearray(self.layout.chunk_size))

    def cancel(self, source: Source, chunk: int) -> None:
        """Stop reading a chunk from a source, if it is being read."""
        if chunk in source.reads:
            self.free_buffers.append(source.reads[chunk].cancel())

    def write(self, read: ChunkRead) -> None:
        """Verify and write a chunk that has arrived. Blocks: see `DiskSpeed`. Raises XGetError."""
        position = 0
        for run in read.runs:
            first, last = self.layout.piece(run.start), self.layout.piece(run.stop - 1)
            length = last.stream_offset + last.length - first.stream_offset
            self.download.writer.write_run(run, read.buffer[position : position + length], read.source.link.name)
            position += length

"""Reading chunks from one server: all reads of a chunk are sent at once, into one buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xget_lib.errors import LinkLost
from xget_lib.manifest.layout import Layout
from xget_lib.net.link import Link, OnAnswer, Remote
from xget_lib.ninep import messages
from xget_lib.ninep.requests import ReadInto
from xget_lib.node.awake import now as awake_now
from xget_lib.report.log import LOGGER
from xget_lib.swarm.messages import Address

CHECK_EVERY = 1.0
"""Seconds between two calls of `Source.is_stalled` and `PeerLink.is_mute`."""
STALLED = 20.0
"""Seconds in which a server that was asked for content must send `STALLED_BYTES`. A link of 10 kB/s that a dozen
transfers share has twice that for each of them, and more."""
STALLED_BYTES = 8192
_LONGEST = 60.0
"""Seconds that a chunk may take at most,"""
_LONGEST_RATE = 512
"""and a second more for so many of its bytes."""
_SHORTEST = 4096
"""Bytes that each answer to a read must have, if so many were asked for. So the bytes of a connection are content."""


def send(link: Link, message: messages.TMessage, on_answer: OnAnswer) -> int | None:
    """Send a request on a connection that another greenlet reads, which reports its end. Returns the tag, or None when
    the connection has ended."""
    try:
        return link.start(message, on_answer)
    except LinkLost as error:
        LOGGER.debug("%s", error)
        return None


class Source:
    """A connection for content, to a peer or to the master (address `MASTER`)."""

    def __init__(self, address: Address, link: Link, data: Remote) -> None:
        self.address = address
        self.link = link
        self.data = data
        self.reads: dict[int, ChunkRead] = {}
        """By chunk."""
        self._counted = 0
        """The bytes of the connection at the last progress,"""
        self._progressed: float | None = None
        """and when that was: when content was owed first, or `STALLED_BYTES` more had arrived. None if none is owed."""
        self._settled = 0
        """Bytes of the connection that belong to nothing that is being read: all before the oldest read, and the chunks
        that are whole since."""

    @property
    def receiving(self) -> int:
        """The bytes that have arrived of the chunks that are being read. Once a read ends they are gone from here,
        whether the chunk is whole or the read failed. Never more than the chunks have."""
        wanted = sum(read.length for read in self.reads.values())
        return min(self.link.received - self._settled, wanted) if wanted else 0

    def begin(self, read: ChunkRead) -> None:
        """A chunk is being read."""
        if not self.reads:
            self._settled = self.link.received
        self.reads[read.chunk] = read

    def whole(self, read: ChunkRead) -> None:
        """All bytes of a chunk are there."""
        self._settled += read.length

    def is_stalled(self, now: float) -> bool:
        """Whether the server owes content, and has sent too little of it for too long. To be called every `CHECK_EVERY`
        seconds, by `node.awake`: it counts what has arrived since."""
        if not self.reads:
            self._progressed = None
            return False
        received = self.link.received
        if self._progressed is None or received - self._counted >= STALLED_BYTES:
            self._counted, self._progressed = received, now
        return now - self._progressed > STALLED or any(read.takes_too_long(now) for read in self.reads.values())

    def cancel_all(self) -> list[memoryview]:
        """Stop all reads. Returns their buffers."""
        return [read.cancel() for read in list(self.reads.values())]


class ChunkRead:
    """The lacking pieces of one chunk that are being read from one source.

    `on_end(read, why)` is called once, from the greenlet that reads the connection: with None when all bytes are
    there, or with what the server answered, or LinkLost. After `cancel` it is not called.
    """

    def __init__(
        self,
        source: Source,
        chunk: int,
        runs: Sequence[range],
        buffer: memoryview,
        on_end: Callable[[ChunkRead, messages.Rerror | LinkLost | None], None],
    ) -> None:
        """`runs` are ranges of pieces, rising; their content stands in the buffer one after the other."""
        self.source = source
        self.chunk = chunk
        self.runs = runs
        self.buffer = buffer
        self.length = 0
        """Bytes that are asked for."""
        self.begun = awake_now()
        self._on_end = on_end
        self._tags: set[int] = set()
        source.begin(self)

    def start(self, layout: Layout) -> None:
        """Send the reads. Raises LinkLost. Where nothing lacks any more, it ends at once."""
        if not self.runs:
            self._end(None)
        for run in self.runs:
            first, last = layout.piece(run.start), layout.piece(run.stop - 1)
            offset, end = first.stream_offset, last.stream_offset + last.length
            while offset < end:
                count = min(end - offset, self.source.link.max_read)
                self._read(offset, self.buffer[self.length : self.length + count])
                self.length += count
                offset += count

    def takes_too_long(self, now: float) -> bool:
        """Whether the chunk takes too long, whatever the server has sent of it."""
        return now - self.begun > _LONGEST + self.length / _LONGEST_RATE

    def cancel(self) -> memoryview:
        """Stop. Returns the buffer, into which nothing more is written."""
        if self.source.reads.get(self.chunk) is self:
            del self.source.reads[self.chunk]
        tags, self._tags = self._tags, set()
        for tag in tags:
            self.source.link.flush(tag)
        return self.buffer

    def _read(self, offset: int, into: memoryview) -> None:
        tag = 0

        def answered(reply: messages.Message | LinkLost) -> None:
            self._tags.discard(tag)
            if isinstance(reply, ReadInto) and reply.count < len(into):
                # A server may send less than was asked for, but not next to nothing.
                if reply.count >= _SHORTEST:
                    self._read(offset + reply.count, into[reply.count :])
                else:
                    self._end(messages.Rerror(f"a read was answered with {reply.count} bytes"))
            elif not isinstance(reply, ReadInto):
                self._end(
                    reply if isinstance(reply, messages.Rerror | LinkLost) else messages.Rerror("unexpected reply")
                )
            elif not self._tags:
                self._end(None)

        message = messages.Tread(self.source.data.fid, offset, len(into))
        tag = self.source.link.start(message, answered, into)
        self._tags.add(tag)

    def _end(self, why: messages.Rerror | LinkLost | None) -> None:
        if self.source.reads.get(self.chunk) is self:
            self.cancel()
            if why is None:
                self.source.whole(self)
            self._on_end(self, why)

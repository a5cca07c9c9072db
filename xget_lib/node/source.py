"""Reading chunks from one server: all reads of a chunk are sent at once, into one buffer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from xget_lib.errors import LinkLost
from xget_lib.manifest.layout import Layout
from xget_lib.net.link import Link, OnAnswer, Remote
from xget_lib.ninep import messages
from xget_lib.ninep.requests import ReadInto
from xget_lib.report.log import LOGGER
from xget_lib.swarm.messages import Address

SILENT = 30.0
"""Seconds without data after which the node closes the connection to a server that it asked for content."""


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

    def is_silent(self, now: float) -> bool:
        """Whether the server owes content and has sent nothing for too long."""
        since = min((read.begun for read in self.reads.values()), default=now)
        return now - max(since, self.link.last_received) > SILENT

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
        self.begun = time.monotonic()
        self._on_end = on_end
        self._tags: set[int] = set()
        source.reads[chunk] = self

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
                # A server may send less than was asked for, but not nothing.
                if reply.count:
                    self._read(offset + reply.count, into[reply.count :])
                else:
                    self._end(messages.Rerror("unexpected end of the content"))
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
            self._on_end(self, why)

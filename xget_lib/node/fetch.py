"""Reading one chunk from one server: its reads, all on their way at once, into one buffer.

Buffers are few and go round: they bound the memory of a download, and how much is on its way at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from xget_lib.errors import LinkLost
from xget_lib.manifest.layout import Layout
from xget_lib.net.link import Link, Remote
from xget_lib.ninep import messages
from xget_lib.ninep.requests import ReadInto


@dataclass(eq=False)
class Supplier:
    """A server that content is taken from. `key` is how the picker calls it.

    `link` carries content; news and turns have a connection of their own, where they wait behind nothing.
    """

    key: Hashable
    link: Link
    data: Remote
    control: Link | None = None
    """A peer's connection for small messages."""
    wanted: Event = field(default_factory=Event)
    """Set from when a turn is to be asked for until it is over."""
    asking: bool = False
    """Whether a turn is asked for that has not come."""
    fetches: set[Fetch] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.link.name


class Buffers:
    """A fixed number of buffers of one size, made when they are first needed."""

    def __init__(self, count: int, size: int) -> None:
        self._size = size
        self._free: list[memoryview] = []
        self._room = BoundedSemaphore(count)

    def take(self, *, wait: bool) -> memoryview | None:
        """A buffer; None where all are in use and one is not to be waited for."""
        if not self._room.acquire(blocking=wait):
            return None
        return self._free.pop() if self._free else memoryview(bytearray(self._size))

    def give_back(self, buffer: memoryview) -> None:
        self._free.append(buffer)
        self._room.release()


class Fetch:
    """The lacking pieces of one chunk on their way from one supplier.

    `on_end(fetch, why)` is called once, from the greenlet that reads the connection: with None when all is there, or
    with what the server said, or LinkLost. After `cancel` it is not called.
    """

    def __init__(
        self,
        supplier: Supplier,
        chunk: int,
        runs: Sequence[range],
        buffer: memoryview,
        on_end: Callable[[Fetch, messages.Rerror | LinkLost | None], None],
    ) -> None:
        self.supplier = supplier
        self.chunk = chunk
        self.runs = runs
        self.buffer = buffer
        self.length = 0
        self.begun = time.monotonic()
        self.ended = Event()
        """Set when nothing more comes, however that went."""
        self._on_end = on_end
        self._tags: set[int] = set()
        supplier.fetches.add(self)

    def start(self, layout: Layout) -> None:
        """Send the reads. Raises LinkLost."""
        link = self.supplier.link
        for run in self.runs:
            first, last = layout.piece(run.start), layout.piece(run.stop - 1)
            offset, end = first.stream_offset, last.stream_offset + last.length
            while offset < end:
                count = min(end - offset, link.max_read)
                self._read(offset, self.buffer[self.length : self.length + count])
                self.length += count
                offset += count

    def cancel(self) -> None:
        """Stop it: what is still to come is not wanted."""
        self.supplier.fetches.discard(self)
        self.ended.set()
        tags, self._tags = self._tags, set()
        for tag in tags:
            self.supplier.link.flush(tag)

    def _read(self, offset: int, into: memoryview) -> None:
        tag = 0

        def answered(reply: messages.Message | LinkLost) -> None:
            self._tags.discard(tag)
            if isinstance(reply, ReadInto) and reply.count < len(into):
                # A server may send less than was asked for, but not nothing.
                if not reply.count:
                    self._end(messages.Rerror("the content ends too early"))
                elif self in self.supplier.fetches:
                    self._read(offset + reply.count, into[reply.count :])
            elif not isinstance(reply, ReadInto):
                self._end(reply if isinstance(reply, messages.Rerror | LinkLost) else messages.Rerror("not a read"))
            elif not self._tags:
                self._end(None)

        message = messages.Tread(self.supplier.data.fid, offset, len(into))
        tag = self.supplier.link.start(message, answered, into)
        self._tags.add(tag)

    def _end(self, why: messages.Rerror | LinkLost | None) -> None:
        if self in self.supplier.fetches:
            self.cancel()
            self._on_end(self, why)

"""Cuts a stream of bytes into frames: where one message ends and the next begins.

A frame that arrived whole is given out as a view of the bytes fed, not copied. Only an incomplete frame is kept, and
never more of it than a limit, because its size is checked before the rest of it arrives. A longer frame is dropped as
it arrives; only its header is given out.
"""

from __future__ import annotations

import sys

from xget_lib.errors import ProtocolViolation
from xget_lib.ninep.wire import HEADER, Buffer

_SIZE = 4  # bytes of the size field
_NOTHING = memoryview(b"")


class Framer:
    """Owned by a session. `msize` and `longest` may be set at any time; they apply from the next frame on."""

    def __init__(self, msize: int, longest: int = sys.maxsize) -> None:
        """`longest`: bytes of the largest frame that is given out whole."""
        self.msize = msize
        self.longest = longest
        self._fed = _NOTHING  # what was fed and not yet taken
        self._partial = (
            bytearray()
        )  # room for a frame whose end has not arrived; for its header, as long as that is cut
        self._filled = 0  # bytes of the frame that have arrived

    @property
    def has_partial(self) -> bool:
        """Whether a frame has arrived in part, when all whole ones have been taken."""
        return self._filled > 0

    @property
    def kept(self) -> int:
        """Bytes that are in memory."""
        return len(self._partial) + len(self._fed)

    @property
    def unread(self) -> bool:
        """Whether there are bytes that next_frame() has not looked at."""
        return bool(self._fed)

    def feed(self, data: Buffer) -> None:
        """Add bytes from the network. All frames fed before must have been taken."""
        assert not self._fed, "feed() before next_frame() gave None"
        self._fed = memoryview(data)

    def next_frame(self) -> Buffer | None:
        """The next whole frame, valid until the next feed(); None when more must be fed first. Of a frame that is
        longer than `longest`, the header.

        Raises ProtocolViolation for a size that is less than a header or more than msize; the framer is of no use after
        that.
        """
        if not self._filled:
            size = self._size(self._fed)
            if size is not None and size <= len(self._fed) and size <= self.longest:
                return self._take(size)
            self._partial = bytearray(HEADER.size if self._fed else 0)
        return self._finish_partial()

    def _finish_partial(self) -> Buffer | None:
        if self._filled < HEADER.size:
            self._fill(HEADER.size)
        size = self._size(self._partial[: self._filled])
        if size is None or self._filled < HEADER.size:
            return None
        if self._filled == len(self._partial) == HEADER.size and size <= self.longest:
            self._partial += bytes(size - HEADER.size)  # at once: memory that grows in steps is fragmented
        self._fill(size)
        if self._filled < size:
            return None
        frame, self._partial, self._filled = self._partial, bytearray(), 0
        return frame

    def _fill(self, end: int) -> None:
        """Move what was fed to the partial frame, up to this place of it; what it has no room for is dropped."""
        part = self._take(min(end - self._filled, len(self._fed)))
        if self._filled < len(self._partial):
            self._partial[self._filled : self._filled + len(part)] = part
        self._filled += len(part)

    def _take(self, count: int) -> memoryview:
        """The next bytes of what was fed."""
        part = self._fed[:count]
        # A view of nothing would keep all that was fed in memory.
        self._fed = self._fed[count:] if count < len(self._fed) else _NOTHING
        return part

    def _size(self, frame: Buffer) -> int | None:
        """The size that a frame gives, None if that has not arrived whole."""
        if len(frame) < _SIZE:
            return None
        size = int.from_bytes(frame[:_SIZE], "little")
        if not HEADER.size <= size <= self.msize:
            raise ProtocolViolation(f"a message of {size} bytes (allowed: {HEADER.size} to {self.msize})")
        return size

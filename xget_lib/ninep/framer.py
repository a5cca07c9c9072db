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


class Framer:
    """Owned by a session. `msize` may be set at any time; it applies from the next frame on."""

    def __init__(self, msize: int, longest: int = sys.maxsize) -> None:
        """`longest`: bytes of the largest frame that is given out whole."""
        self.msize = msize
        self.longest = longest
        self._fed = memoryview(b"")  # what was fed and not yet taken
        self._partial = bytearray()  # a frame whose end has not arrived
        self._to_drop = 0  # bytes still to arrive of a frame that is too long

    @property
    def has_partial(self) -> bool:
        """Whether a frame has arrived in part, when all whole ones have been taken."""
        return bool(self._partial)

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
        if not self._partial:
            size = self._size(self._fed)
            if size is not None and size <= len(self._fed) and size <= self.longest:
                frame, self._fed = self._fed[:size], self._fed[size:]
                return frame
        return self._finish_partial()

    def _finish_partial(self) -> Buffer | None:
        if len(self._partial) < HEADER.size:
            self._keep(HEADER.size - len(self._partial))
        size = self._size(self._partial)
        if size is None or len(self._partial) < HEADER.size:
            return None
        if size > self.longest:
            return self._drop(size)
        self._keep(size - len(self._partial))
        return self._taken() if len(self._partial) == size else None

    def _drop(self, size: int) -> Buffer | None:
        """Drop the rest of a frame that is too long. Gives its header at its end."""
        self._to_drop = self._to_drop or size - HEADER.size
        dropped = min(self._to_drop, len(self._fed))
        self._to_drop -= dropped
        self._fed = self._fed[dropped:]
        return None if self._to_drop else self._taken()

    def _taken(self) -> Buffer:
        frame, self._partial = self._partial, bytearray()
        return frame

    def _keep(self, count: int) -> None:
        """Move at most `count` bytes of what was fed to the partial frame."""
        self._partial += self._fed[:count]
        self._fed = self._fed[count:]

    def _size(self, frame: Buffer) -> int | None:
        """The size that a frame gives, None if that has not arrived whole."""
        if len(frame) < _SIZE:
            return None
        size = int.from_bytes(frame[:_SIZE], "little")
        if not HEADER.size <= size <= self.msize:
            raise ProtocolViolation(f"a message of {size} bytes (allowed: {HEADER.size} to {self.msize})")
        return size

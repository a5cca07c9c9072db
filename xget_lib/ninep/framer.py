"""Cuts a stream of bytes into frames: where one message ends and the next begins.

A frame that arrived whole is given out as a view of the bytes fed, not copied. Only an incomplete frame is kept, and
never more of it than msize, because its size is checked before the rest of it arrives.
"""

from __future__ import annotations

from xget_lib.errors import ProtocolViolation
from xget_lib.ninep.wire import HEADER, Buffer

_SIZE = 4  # bytes of the size field


class Framer:
    """Owned by a session. `msize` may be set at any time; it applies from the next frame on."""

    def __init__(self, msize: int) -> None:
        self.msize = msize
        self._fed = memoryview(b"")  # what was fed and not yet taken
        self._partial = bytearray()  # a frame whose end has not arrived

    @property
    def has_partial(self) -> bool:
        """Whether a frame has arrived in part."""
        return bool(self._partial)

    def feed(self, data: Buffer) -> None:
        """Add bytes from the network. All frames fed before must have been taken."""
        assert not self._fed, "feed() before next_frame() gave None"
        self._fed = memoryview(data)

    def next_frame(self) -> Buffer | None:
        """The next whole frame, valid until the next feed(); None when more must be fed first.

        Raises ProtocolViolation for a size that is less than a header or more than msize; the framer is of no use after
        that.
        """
        if self._partial:
            return self._finish_partial()
        size = self._size(self._fed)
        if size is None or len(self._fed) < size:
            self._keep(len(self._fed))
            return None
        frame, self._fed = self._fed[:size], self._fed[size:]
        return frame

    def _finish_partial(self) -> Buffer | None:
        if len(self._partial) < _SIZE:
            self._keep(_SIZE - len(self._partial))
        size = self._size(self._partial)
        if size is not None:
            self._keep(size - len(self._partial))
        if size is None or len(self._partial) < size:
            return None
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

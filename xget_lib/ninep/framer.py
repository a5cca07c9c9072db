"""Where one message ends and the next begins.

A frame that came whole is handed out as a view of the bytes fed, not copied; only a frame that is still incomplete is
kept, and never more of it than msize, because its size is looked at before the rest of it is waited for.
"""

from __future__ import annotations

from xget_lib.errors import ProtocolViolation
from xget_lib.ninep.wire import HEADER, Buffer

_SIZE = 4  # bytes of the field


class Framer:
    """Cuts a stream of bytes into frames. `msize` may be set at any time; it counts from the next frame on."""

    def __init__(self, msize: int) -> None:
        self.msize = msize
        self._fed = memoryview(b"")  # what was fed and not yet taken
        self._begun = bytearray()  # a frame whose end has not come

    @property
    def holds(self) -> bool:
        """Whether a frame has begun whose end has not come."""
        return bool(self._begun)

    def feed(self, data: Buffer) -> None:
        """Adds what the network gave. All frames fed before must have been taken."""
        assert not self._fed, "feed() before next_frame() gave None"
        self._fed = memoryview(data)

    def next_frame(self) -> Buffer | None:
        """The next whole frame, valid until the next feed(); None when more is to be fed.

        Raises ProtocolViolation for a size that is less than a header or more than msize; nothing goes on after that.
        """
        if self._begun:
            return self._finish_begun()
        size = self._size(self._fed)
        if size is None or len(self._fed) < size:
            self._keep(len(self._fed))
            return None
        frame, self._fed = self._fed[:size], self._fed[size:]
        return frame

    def _finish_begun(self) -> Buffer | None:
        if len(self._begun) < _SIZE:
            self._keep(_SIZE - len(self._begun))
        size = self._size(self._begun)
        if size is not None:
            self._keep(size - len(self._begun))
        if size is None or len(self._begun) < size:
            return None
        frame, self._begun = self._begun, bytearray()
        return frame

    def _keep(self, count: int) -> None:
        """Moves at most `count` bytes of what was fed to the frame that has begun."""
        self._begun += self._fed[:count]
        self._fed = self._fed[count:]

    def _size(self, frame: Buffer) -> int | None:
        """The size that a frame gives, None where that has not come whole."""
        if len(frame) < _SIZE:
            return None
        size = int.from_bytes(frame[:_SIZE], "little")
        if not HEADER.size <= size <= self.msize:
            raise ProtocolViolation(f"a message of {size} bytes, {HEADER.size} to {self.msize} are possible")
        return size

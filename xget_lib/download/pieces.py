"""Which pieces are right, which are just being written, and what became whole by that. No disk, any thread.

A piece is written once: whoever claims it first. The other end of a race (near the end of a download two peers are
asked for the same chunk) must not touch the file any more, as it may be in place by then.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from threading import Lock

from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.layout import Layout


class Ledger:
    """The state of every piece of a content, and so of its files and chunks.

    Pieces that nobody asked for simply never become right, so their chunks never become whole.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = Lock()
        self._right = Bitmap(layout.piece_count)
        self._claimed: set[int] = set()
        self._file_lacks = array("Q", (len(layout.file_pieces(file)) for file in range(layout.file_count)))
        self._chunk_lacks = array("Q", (len(layout.chunk_pieces(chunk)) for chunk in range(layout.chunk_count)))

    def __contains__(self, number: int) -> bool:
        """Whether a piece is right."""
        return number in self._right

    def right(self) -> Bitmap:
        """A copy of the bitmap of right pieces."""
        with self._lock:
            return self._right.copy()

    def claim(self, number: int) -> bool:
        """Takes the right to write a piece. False where it is right already, or someone else is writing it."""
        return bool(self.claim_all((number,)))

    def claim_all(self, numbers: Iterable[int]) -> list[int]:
        """Claims pieces; those of them that were free."""
        with self._lock:
            free = [number for number in numbers if number not in self._right and number not in self._claimed]
            self._claimed.update(free)
            return free

    def release(self, number: int) -> None:
        """Gives a claim back: the piece could not be written."""
        with self._lock:
            self._claimed.discard(number)

    def mark(self, file: int, numbers: Iterable[int]) -> bool:
        """These pieces of a file are on disk and verified. Returns whether the file became whole by that."""
        with self._lock:
            before = self._file_lacks[file]
            self._mark(file, numbers)
            return before > 0 and self._file_lacks[file] == 0

    def mark_files(self, files: Iterable[int]) -> None:
        """All of these files is on disk and verified."""
        with self._lock:
            for file in files:
                self._mark(file, self._layout.file_pieces(file))

    def _mark(self, file: int, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._claimed.discard(number)
            if self._right.add(number):
                self._file_lacks[file] -= 1
                self._chunk_lacks[self._layout.chunk_of_piece(number)] -= 1

    def lacks(self, file: int) -> int:
        """How many pieces of a file are not right yet."""
        return self._file_lacks[file]

    def chunk_whole(self, chunk: int) -> bool:
        """Whether all pieces of a chunk are right."""
        return self._chunk_lacks[chunk] == 0

"""Which pieces are present (on disk and right), which are being written, and what that completes. Does no I/O.

A piece is written by the thread that claims it first. Near the end of a download two peers are asked for the same
chunk; the second to answer must not touch the file any more, as it may be in place by then.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from threading import Lock

from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.layout import Layout


class Pieces:
    """The state of every piece of a content, and so of its files and chunks. Any thread may use it.

    Pieces that nobody asked for never become present, so their chunks never become complete.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = Lock()
        self._present = Bitmap(layout.piece_count)
        self._claimed: set[int] = set()
        self._missing_of_file = array("Q", (len(layout.file_pieces(file)) for file in range(layout.file_count)))
        self._missing_of_chunk = array("Q", (len(layout.chunk_pieces(chunk)) for chunk in range(layout.chunk_count)))

    def __contains__(self, number: int) -> bool:
        """Whether a piece is present."""
        return number in self._present

    def claim(self, numbers: Iterable[int]) -> set[int]:
        """Takes the right to write pieces. Returns those that were neither present nor claimed."""
        with self._lock:
            free = {number for number in numbers if number not in self._present and number not in self._claimed}
            self._claimed |= free
            return free

    def release(self, numbers: Iterable[int]) -> None:
        """Gives claims back: the pieces could not be written."""
        with self._lock:
            self._claimed.difference_update(numbers)

    def add(self, file: int, numbers: Iterable[int]) -> bool:
        """These pieces of a file are present now. Returns whether that completed the file."""
        with self._lock:
            before = self._missing_of_file[file]
            self._add(file, numbers)
            return before > 0 and self._missing_of_file[file] == 0

    def add_files(self, files: Iterable[int]) -> None:
        """All pieces of these files are present now."""
        with self._lock:
            for file in files:
                self._add(file, self._layout.file_pieces(file))

    def _add(self, file: int, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._claimed.discard(number)
            if self._present.add(number):
                self._missing_of_file[file] -= 1
                self._missing_of_chunk[self._layout.chunk_of_piece(number)] -= 1

    def missing(self, file: int) -> int:
        """How many pieces of a file are not present."""
        return self._missing_of_file[file]

    def chunk_complete(self, chunk: int) -> bool:
        return self._missing_of_chunk[chunk] == 0

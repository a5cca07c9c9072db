"""Which pieces are on disk and verified, which files and chunks are complete, and where each file is. No I/O.

A piece is written by the thread that claims it first. Near the end of a download two peers are asked for the same
chunk; the second to answer must not touch the file any more, as it may be in place by then.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from xget_lib.download.workplaces import Workplaces
from xget_lib.fs.stamp import no_stamps
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.selection import Selection

# A state only changes to a later one, unless a rename fails. READY: in the part, complete and with all its metadata.
# MOVING: being renamed; `_moving` is held until that is done. REFUSED: the destination does not take the file.
_IN_PART, _READY, _MOVING, _IN_PLACE, _REFUSED = range(5)


class Progress:
    """The state of the pieces and files of one manifest, by number. Owned by a download; any thread may use it.

    Pieces that were not selected never become present, so their chunks never become complete.
    """

    def __init__(self, selection: Selection, layout: Layout, workplaces: Workplaces) -> None:
        self.stamps = no_stamps(layout.file_count)
        """The stamps (`fs.stamp`) of the files that are in place."""
        self.refused: set[int] = set()
        """The files that the destination does not take."""
        self._selection = selection
        self._layout = layout
        self._workplaces = workplaces
        self._lock = Lock()
        self._present = Bitmap(layout.piece_count)
        self._claimed: set[int] = set()
        self._missing_of_file = array("Q", (len(layout.file_pieces(file)) for file in range(layout.file_count)))
        self._missing_of_chunk = array("Q", (len(layout.chunk_pieces(chunk)) for chunk in range(layout.chunk_count)))
        self._states = bytearray(layout.file_count)
        self._moving = Lock()
        self._to_install: list[int] = []

    # Pieces.

    def __contains__(self, number: int) -> bool:
        """Whether a piece is present: on disk and verified."""
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

    def add(self, file: int, numbers: Iterable[int]) -> None:
        """These pieces of a file are present now. A file that this completes, or an empty one, is to be installed."""
        with self._lock:
            if file in self.refused:
                return
            before = self._missing_of_file[file]
            self._add(file, numbers)
            if not self._missing_of_file[file] and (before or not self._layout.file_pieces(file)):
                self._to_install.append(file)

    def add_ready(self, files: Iterable[int]) -> None:
        """The parts of these files are complete and have their metadata: the files are to be installed."""
        with self._lock:
            for file in files:
                self._add(file, self._layout.file_pieces(file))
                if file in self.refused:
                    continue
                self._states[file] = _READY
                self._to_install.append(file)

    def add_in_place(self, files: Iterable[int]) -> None:
        """These files are in place, with all their content."""
        with self._lock:
            for file in files:
                self._add(file, self._layout.file_pieces(file))
                self._states[file] = _IN_PLACE

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

    # Files.

    def to_install(self, file: int) -> None:
        """A complete file has to be installed, or corrected where it is."""
        with self._lock:
            self._to_install.append(file)

    def take_complete(self) -> list[int]:
        """The files that are to be installed, each returned once."""
        with self._lock:
            complete, self._to_install = self._to_install, []
            return [file for file in complete if file not in self.refused]

    def path_of(self, file: int) -> bytes:
        """Where a selected file is now, relative to the destination."""
        state = self._states[file]
        if state in (_IN_PART, _READY, _REFUSED):
            return self._workplaces.part_path(self._selection.file_dest_path(file))
        if state == _MOVING:
            with self._moving:  # at the final name there may still be the old file
                pass
        return self._selection.file_dest_path(file)

    def is_ready(self, file: int) -> bool:
        """Whether it is in its part with all its metadata."""
        return self._states[file] == _READY

    def is_in_place(self, file: int) -> bool:
        return self._states[file] == _IN_PLACE

    def set_in_place(self, file: int) -> None:
        self._states[file] = _IN_PLACE

    def refuse(self, files: Iterable[int]) -> None:
        """The destination does not take these files: nothing more is fetched or done for them."""
        with self._lock:
            for file in files:
                self._states[file] = _REFUSED
                self.refused.add(file)

    @contextmanager
    def moving(self, files: Sequence[int]) -> Iterator[None]:
        """Within it, the caller renames these files, and calls `set_in_place` for each that is renamed. The others are
        in their parts still when it ends."""
        with self._moving:
            for file in files:
                self._states[file] = _MOVING
            try:
                yield
            finally:
                for file in files:
                    if self._states[file] == _MOVING:
                        self._states[file] = _IN_PART

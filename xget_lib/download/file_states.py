"""Where the content of each file is: in its part, or under its final name. And how it looks there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from xget_lib.download.staging import part_path
from xget_lib.fs.stamp import no_stamps, put_stamp
from xget_lib.manifest.selection import Selection

# A state only changes to a later one, unless a rename fails. READY: in the part, complete and with all its metadata.
# MOVING: being renamed; `_moving` is held until that is done.
_IN_PART, _READY, _MOVING, _IN_PLACE = range(4)


class FileStates:
    """The states of the files of one manifest, by file number. Owned by a download; any thread may use it."""

    def __init__(self, selection: Selection, file_count: int) -> None:
        self.stamps = no_stamps(file_count)
        """How the files that are in place look (`fs.stamp`)."""
        self._selection = selection
        self._states = bytearray(file_count)
        self._moving = Lock()
        self._lock = Lock()
        self._complete: list[int] = []  # not given out yet

    def path_of(self, file: int) -> bytes:
        """Where a selected file is now, relative to the destination."""
        state = self._states[file]
        if state in (_IN_PART, _READY):
            return part_path(self._selection.file_dest_path(file))
        if state == _MOVING:
            with self._moving:  # at the final name there may still be the old file
                pass
        return self._selection.file_dest_path(file)

    def is_ready(self, file: int) -> bool:
        """Whether it is in its part with all its metadata."""
        return self._states[file] == _READY

    def is_in_place(self, file: int) -> bool:
        return self._states[file] == _IN_PLACE

    def set_ready(self, files: Iterable[int]) -> None:
        for file in files:
            self._states[file] = _READY

    def set_in_place(self, file: int) -> None:
        self._states[file] = _IN_PLACE

    def stamp(self, file: int, status: os.stat_result) -> None:
        put_stamp(self.stamps, file, status)

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

    def add_complete(self, files: Iterable[int]) -> None:
        """These files have all their pieces, and are to be installed."""
        with self._lock:
            self._complete.extend(files)

    def take_complete(self) -> list[int]:
        """The files of `add_complete` since the last call."""
        with self._lock:
            complete, self._complete = self._complete, []
        return complete

"""Finds the pieces of a file that its old version, or the part of an earlier run, already has. They are not fetched.

A piece counts only if its bytes, as just read, have the digest in the manifest. A run copies these bytes into the part
at once; a dry run only counts them. A file of the right size is first compared up to its first wrong piece, without
copying (`is_whole`): most such files are right.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from xget_lib.download.destination import Destination
from xget_lib.download.read_back import checked_pieces, has_content, holes_of, is_zeros
from xget_lib.download.staging import Parts
from xget_lib.download.verified_write import write_ranges
from xget_lib.download.workplaces import part_name
from xget_lib.fs.sparse import clear
from xget_lib.manifest.layout import Piece

_Pieces = Iterator[tuple[Piece, memoryview | None]]


class Reuse:
    """Finds reusable content in one destination. Any thread may use it. Raises OSError.

    What cannot be read has nothing to reuse.
    """

    def __init__(self, dest: Destination, parts: Parts | None) -> None:
        """`parts`: where a run collects the pieces; None for a dry run, which changes nothing."""
        self._workplaces = dest.workplaces
        self._root = dest.root
        self._manifest = dest.manifest
        self._layout = dest.manifest.layout
        self._parts = parts

    @property
    def has_leftovers(self) -> bool:
        """Whether an earlier run left parts."""
        return bool(self._workplaces.leftovers)

    def is_whole(self, file: int, path: bytes, status: os.stat_result) -> bool:
        """Reads the regular file at `path`, which has the right size. Returns whether all of it is right."""
        with self._opened(path, status) as fd, suppress(OSError):
            return fd is not None and has_content(fd, self._manifest, file)
        return False

    def pieces(self, file: int, path: bytes, status: os.stat_result | None) -> list[int]:
        """The numbers of the pieces, rising, that need not be fetched: the part of the file has them afterwards.

        `status` is that of the old file at `path`. A part is only made if there is a piece for it.
        """
        found = set(self._pieces_of_part(file, path))
        with self._opened(path, status) as old:
            if old is not None:
                missing = [number for number in self._layout.file_pieces(file) if number not in found]
                for piece, data in _readable(checked_pieces(old, self._manifest, missing)):
                    # A hole has no data to copy. Where zeros belong, the part has a hole too, or other data: it was
                    # not right there.
                    if data:
                        self._copy(piece, data)
                        found.add(piece.number)
        return sorted(found)

    def _pieces_of_part(self, file: int, path: bytes) -> Iterator[int]:
        """The right pieces of the part that was left. In a new part, these are the pieces that are all zeros."""
        numbers = self._layout.file_pieces(file)
        if part_name(path) not in self._workplaces.leftovers:
            for piece in map(self._layout.piece, numbers):
                if is_zeros(self._manifest, piece):
                    self._allocate(piece)
                    yield piece.number
            return
        with self._opened_part(file, path) as part:
            if part is None:
                return
            size = self._manifest.entries.sizes[file]
            for piece, data in _readable(checked_pieces(part, self._manifest, numbers, size=size)):
                if data is not None:
                    if not data:
                        self._allocate(piece)
                    yield piece.number

    @contextmanager
    def _opened_part(self, file: int, path: bytes) -> Iterator[int | None]:
        """The part that an earlier run left. A run gives it the length and holes of the file; a dry run does not."""
        if self._parts is not None:
            with self._parts.changing(file) as part:
                for offset, length in holes_of(self._manifest, file):
                    clear(part, offset, length)
            with self._parts.opened(file) as part:
                yield part
        else:
            path = self._workplaces.part_path(path)
            with self._opened(path, self._root.lstat(path)) as part:
                yield part

    def _allocate(self, piece: Piece) -> None:
        """Allocates disk blocks for a piece of zeros that is a hole in the part: at the master it is no hole."""
        if self._parts is not None:
            with self._parts.changing(piece.file) as part:
                for offset, length in self._layout.parts(piece):
                    os.posix_fallocate(part, offset, length)

    def _copy(self, piece: Piece, data: memoryview) -> None:
        if self._parts is not None:
            with self._parts.changing(piece.file) as part:
                write_ranges(part, data, self._layout.parts(piece))

    @contextmanager
    def _opened(self, path: bytes, status: os.stat_result | None) -> Iterator[int | None]:
        """A descriptor of the regular file at `path`, valid inside the `with`; None if there is none to be read."""
        fd: int | None = None
        if status is not None and stat.S_ISREG(status.st_mode):
            with suppress(OSError):
                fd = self._root.open(path, os.O_RDONLY)
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)


def _readable(pieces: _Pieces) -> _Pieces:
    """The pieces up to where the medium cannot be read."""
    while True:
        try:
            found = next(pieces, None)
        except OSError:
            return
        if found is None:
            return
        yield found

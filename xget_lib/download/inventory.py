"""Which pieces of a file are right before anything is fetched: under its final name, or in a part that was left.

A file under its final name with the right size and modification time is taken to be right; anything else is read
and hashed. What is right in an old file of another content is copied into the part of the new one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple

from xget_lib.download.staging import Parts, part_path
from xget_lib.download.verify import checked_pieces, is_zeros
from xget_lib.fs.rooted import Root
from xget_lib.fs.sparse import are_zeros, clear
from xget_lib.manifest.extents import holes
from xget_lib.manifest.layout import Piece
from xget_lib.manifest.manifest import Manifest


class Found(NamedTuple):
    """The numbers of the pieces that are right, rising; whether that is the whole file under its final name; and
    whether it was only taken to be that, by size and time."""

    pieces: list[int]
    in_place: bool
    believed: bool = False


class Inventory:
    """Looks for the files of one manifest below `root`. Any thread may look for files of its own. Raises OSError."""

    def __init__(self, root: Root, manifest: Manifest, leftovers: frozenset[bytes]) -> None:
        """`leftovers`: the names of the parts that an earlier run left."""
        self._root = root
        self._manifest = manifest
        self._layout = manifest.layout
        self._leftovers = leftovers
        self._lock = Lock()
        self._taken: dict[tuple[int, int], int] = {}  # inode with several names -> the file that it stays

    def stays(self, file: int, landing: bytes, old: os.stat_result | None, *, trust_times: bool) -> Found | None:
        """The file, whole, if it is what `old` says of one of its final names; None if that has to be replaced."""
        if old is None or not self._may_stay(file, old):
            return None
        entries = self._manifest.entries
        if trust_times and old.st_mtime_ns == entries.mtimes[entries.files[file]]:
            return self._in_place(file)._replace(believed=True)
        with self._opened(landing, old) as fd:
            return self._in_place(file) if fd is not None and self._all_right(fd, file) else None

    def search(self, file: int, landing: bytes, old: os.stat_result | None, parts: Parts) -> Found:
        """What is right of a file that does not stay. A part is only made where something was found for it."""
        right = set(self._in_part(file, landing, parts))
        with self._opened(landing, old) as fd:
            if fd is not None:
                right.update(self._copied(fd, file, right, parts))
        return Found(sorted(right), False)

    def lacking(self, file: int, landing: bytes, old: os.stat_result | None) -> int:
        """How many bytes of a file that does not stay would have to be fetched. Changes nothing."""
        numbers = self._layout.file_pieces(file)
        lacking = {number for number in numbers if not is_zeros(self._layout.piece(number), self._manifest.digest)}
        places = [landing, part_path(landing)] if self._has_part(landing) else [landing]
        for place in places:
            with self._opened(place, old if place == landing else self._root.lstat(place)) as fd:
                if fd is not None:
                    lacking.difference_update(
                        piece.number for piece, data in self._checked(fd, sorted(lacking)) if data is not None
                    )
        return sum(self._layout.piece(number).length for number in lacking)

    def _in_place(self, file: int) -> Found:
        return Found(list(self._layout.file_pieces(file)), True)

    def _may_stay(self, file: int, old: os.stat_result) -> bool:
        """Whether what is under the final name could be the file, and not at the same time another file's only copy.

        Two files of the manifest that an earlier run (or someone) had made one must become two again.
        """
        if not stat.S_ISREG(old.st_mode) or old.st_size != self._manifest.entries.sizes[file]:
            return False
        if old.st_nlink == 1:
            return True
        with self._lock:
            return self._taken.setdefault((old.st_dev, old.st_ino), file) == file

    @contextmanager
    def _opened(self, landing: bytes, old: os.stat_result | None) -> Iterator[int | None]:
        """The regular file that is under a final name, open inside the `with`; None where we cannot read one there."""
        fd: int | None = None
        if old is not None and stat.S_ISREG(old.st_mode):
            try:
                fd = self._root.open(landing, os.O_RDONLY)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP):
                    raise  # else not ours to read, or gone: it will be replaced
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)

    def _has_part(self, landing: bytes) -> bool:
        return bool(self._leftovers) and os.path.basename(part_path(landing)) in self._leftovers

    def _holes(self, file: int) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is not data in a file."""
        extents = self._manifest.entries.extents.get(file)
        return iter(()) if extents is None else holes(extents, self._manifest.entries.sizes[file])

    def _checked(self, fd: int, numbers: Iterable[int]) -> Iterator[tuple[Piece, memoryview | None]]:
        return checked_pieces(fd, self._layout, numbers, self._manifest.digest)

    def _all_right(self, fd: int, file: int) -> bool:
        if not all(are_zeros(fd, offset, length) for offset, length in self._holes(file)):
            return False
        return all(data is not None for _, data in self._checked(fd, self._layout.file_pieces(file)))

    def _in_part(self, file: int, landing: bytes, parts: Parts) -> Iterator[int]:
        """What is right in the part. In a new one, that is what is all zeros."""
        numbers = self._layout.file_pieces(file)
        if not self._has_part(landing):
            zeros = (number for number in numbers if is_zeros(self._layout.piece(number), self._manifest.digest))
            yield from self._allocated(file, zeros, parts)
            return
        with parts.opened(file) as part:
            for offset, length in self._holes(file):
                clear(part, offset, length)
            for piece, data in self._checked(part, numbers):
                if data is not None:
                    yield from (piece.number,) if data else self._allocated(file, (piece.number,), parts)

    def _allocated(self, file: int, zeros: Iterable[int], parts: Parts) -> Iterator[int]:
        """Pieces that are all zeros, and in the part a hole. At the master they are none: they get their blocks."""
        for number in zeros:
            with parts.opened(file) as part:
                for offset, length in self._layout.parts(self._layout.piece(number)):
                    os.posix_fallocate(part, offset, length)
            yield number

    def _copied(self, old: int, file: int, right: set[int], parts: Parts) -> Iterator[int]:
        """Copies what the old file has right, and the part has not, into the part."""
        lacking = (number for number in self._layout.file_pieces(file) if number not in right)
        for piece, data in self._checked(old, lacking):
            if data:  # a hole has none; in the part there is other data at its place, or it were right already
                with parts.opened(file) as part:
                    write_parts(part, data, self._layout.parts(piece))
                yield piece.number


WRITE_AT_ONCE = 256 * 1024
"""Bytes. For one write of 4 MiB the kernel takes page cache in blocks as large, which are rarely free in memory that
was just in use; a guest that gives free memory back to its host must then fetch it page by page. There 1 GiB took
4 times as long as in steps of this size, and nowhere was it faster."""


def write_all(fd: int, data: memoryview, offset: int) -> None:
    """Writes all of the data at this offset of a file, however little the kernel takes at once. Raises OSError."""
    while data:
        count = os.pwrite(fd, data[:WRITE_AT_ONCE], offset)
        data = data[count:]
        offset += count


def write_parts(fd: int, data: memoryview, parts: Iterable[tuple[int, int]]) -> None:
    """Writes the data to parts of a file, (offset, length) each, which it fills. Raises OSError."""
    for offset, length in parts:
        write_all(fd, data[:length], offset)
        data = data[length:]

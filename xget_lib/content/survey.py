"""Which pieces of a file are right before anything is fetched: under its final name, or in a part that was left.

A file under its final name with the right size and modification time is taken to be right; anything else is read
and hashed. What is right in an old file of another content is copied into the part of the new one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

from xget_lib.content.beneath import Root
from xget_lib.content.layout import Piece
from xget_lib.content.manifest import Entry, Manifest
from xget_lib.content.resume import checked_pieces, is_zeros
from xget_lib.content.workplace import Parts, Workplace, part_path


class Found(NamedTuple):
    """The numbers of the pieces that are right, rising; whether that is the whole file under its final name; and
    whether it was only taken to be that, by size and time."""

    pieces: list[int]
    in_place: bool
    believed: bool = False


class Survey:
    """Looks for the files of one manifest below `root`. Any thread may look for files of its own. Raises OSError."""

    def __init__(self, root: Root, manifest: Manifest, workplace: Workplace, parts: Parts) -> None:
        self._root = root
        self._manifest = manifest
        self._layout = manifest.layout
        self._leftovers = workplace.leftovers
        self._parts = parts
        self._lock = Lock()
        self._taken: dict[tuple[int, int], int] = {}  # inode with several names -> the file that it stays

    def look_for(self, file: int, landing: bytes, old: os.stat_result | None, *, trust_times: bool) -> Found:
        """`old` is what is under the final name, if anything. A part is only made where something was found for it."""
        entry = self._manifest.file(file)
        may_stay = old is not None and self._may_stay(file, entry, old)
        if may_stay and trust_times and old is not None and old.st_mtime_ns == entry.mtime_ns:
            return self._in_place(file)._replace(believed=True)
        fd = self._open_old(landing, old)
        try:
            if fd is not None and may_stay and self._all_right(fd, file):
                return self._in_place(file)
            right = set(self._in_part(file, landing))
            if fd is not None:
                right.update(self._copied(fd, file, right))
        finally:
            if fd is not None:
                os.close(fd)
        return Found(sorted(right), False)

    def _in_place(self, file: int) -> Found:
        return Found(list(self._layout.file_pieces(file)), True)

    def _may_stay(self, file: int, entry: Entry, old: os.stat_result) -> bool:
        """Whether what is under the final name could be the file, and not at the same time another file's only copy.

        Two files of the manifest that an earlier run (or someone) had made one must become two again.
        """
        if not stat.S_ISREG(old.st_mode) or old.st_size != entry.size:
            return False
        if old.st_nlink == 1:
            return True
        with self._lock:
            return self._taken.setdefault((old.st_dev, old.st_ino), file) == file

    def _open_old(self, landing: bytes, old: os.stat_result | None) -> int | None:
        if old is None or not stat.S_ISREG(old.st_mode):
            return None
        try:
            return self._root.open(landing, os.O_RDONLY)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP):
                return None  # not ours to read, or gone: it will be replaced
            raise

    def _has_part(self, landing: bytes) -> bool:
        return bool(self._leftovers) and os.path.basename(part_path(landing)) in self._leftovers

    def _pieces(self, file: int) -> Iterator[Piece]:
        return map(self._layout.piece, self._layout.file_pieces(file))

    def _all_right(self, fd: int, file: int) -> bool:
        return all(data is not None for _, data in checked_pieces(fd, self._pieces(file), self._manifest.digest))

    def _in_part(self, file: int, landing: bytes) -> Iterator[int]:
        """What is right in the part. In a new one, that is what is all zeros."""
        if self._has_part(landing):
            with self._parts.opened(file) as part:
                for piece, data in checked_pieces(part, self._pieces(file), self._manifest.digest):
                    if data is not None:
                        yield piece.number
            return
        zeros = [piece.number for piece in self._pieces(file) if is_zeros(piece, self._manifest.digest)]
        if zeros:
            with self._parts.opened(file):  # makes it, as one large hole
                yield from zeros

    def _copied(self, old: int, file: int, right: set[int]) -> Iterator[int]:
        """Copies what the old file has right, and the part has not, into the part."""
        lacking = (piece for piece in self._pieces(file) if piece.number not in right)
        for piece, data in checked_pieces(old, lacking, self._manifest.digest):
            if data:  # a hole has none; in the part there is other data at its place, or it were right already
                with self._parts.opened(file) as part:
                    write_all(part, data, piece.file_offset)
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

"""What a server reads from: the ranges of the content stream that are held, out of the files that hold them.

Held means verified. So every time a file is opened its stamp must still be the one it had when it was verified;
where it is not, the file's chunks are not held any more, and whoever shows `have` to others sees that.

A large part of a file is given as an open descriptor, for sendfile. A range may also be thousands of small files;
these are read here and given as bytes, so that a range costs a bounded number of descriptors. Who reads one file in
many small steps keeps it open (`OpenedFile`).

A Store has one owner: one thread uses it.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from xget_lib.errors import NotHeld, PathRefused, StaleGeneration
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import NO_STAMP, STAMP_WORDS, no_stamps, stamp_of
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest

SENDFILE_FROM = 32 * 1024  # bytes of one file from which a descriptor is cheaper than reading

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ESTALE)


class OpenExtent(NamedTuple):
    """`length` bytes at `offset` of an open file. Who was given it closes `fd`."""

    fd: int
    offset: int
    length: int


class Store:
    """The held chunks of one manifest's content, below one directory.

    `locate` says where file number n is, relative to `root`; by default at the path the manifest gives it. Its answer
    may change once from one call to the next, when a download puts a file in place.
    """

    def __init__(
        self,
        root: Root,
        manifest: Manifest,
        held: Bitmap,
        *,
        stamps: array[int] | None = None,
        locate: Callable[[int], bytes] | None = None,
    ) -> None:
        """`stamps` are STAMP_WORDS numbers a file, as a scan has them; files that have none are only checked for size.
        Who gives them may go on noting there how files look that are put in place.
        """
        self.layout = manifest.layout
        self.held = held
        self.changes = 0  # counts every change of `held`
        self.growing = False  # whether what is not held may still come
        self._complete = held.full
        self._dropped: set[int] = set()
        self._root = root
        self.manifest = manifest
        self._stamps = no_stamps(self.layout.file_count) if stamps is None else stamps
        self._locate = locate
        if held.size != self.layout.chunk_count or len(self._stamps) != self.layout.file_count * STAMP_WORDS:
            raise ValueError("a store of one manifest with the chunks or stamps of another")

    def path_of(self, file: int) -> bytes:
        """Where file number `file` is, relative to the root."""
        return self._locate(file) if self._locate else self.manifest.path_of(file)

    def stamp(self, file: int) -> array[int]:
        """How a file must look: STAMP_WORDS numbers."""
        return self._stamps[file * STAMP_WORDS : (file + 1) * STAMP_WORDS]

    def hold(self, chunk: int) -> None:
        """The whole chunk is on disk and verified."""
        self.changes += self.held.add(chunk)

    def drop(self, file: int) -> None:
        """A file is not what it was: its chunks are not held any more."""
        self._dropped.add(file)
        for chunk in self.layout.file_chunks(file):
            self.changes += self.held.discard(chunk)

    def vouches_for(self, file: int) -> bool:
        """Whether a file is held, and looks as it did when it was verified. In any thread."""
        chunks = self.layout.file_chunks(file)
        if not self.held.has_range(chunks.start, chunks.stop) or self._stamps[file * STAMP_WORDS] == NO_STAMP:
            return False
        try:
            return self.is_stamped(file, self._root.lstat(self.path_of(file)))
        except (OSError, PathRefused):
            return False

    def check(self, offset: int, length: int) -> None:
        """Raises NotHeld unless every chunk of the range is held. Looks at no file."""
        if min(offset, length) < 0 or offset + length > self.layout.size:
            raise NotHeld(offset, length)
        if not self.held.full:
            chunks = self.layout.chunks_of_range(offset, length)
            if not self.held.has_range(chunks.start, chunks.stop):
                raise NotHeld(offset, length)

    def check_file(self, file: int, offset: int, length: int) -> None:
        """Raises StaleGeneration for a file that was dropped, and NotHeld unless the range of it is held.

        A store that held everything when it was made has every other file still: that one of the small files in a
        chunk has changed is no reason not to serve the rest of them.
        """
        if file in self._dropped:
            raise StaleGeneration(self.manifest.path_of(file))
        if not self._complete:
            self.check(*self.layout.stream_range(file, offset, length))

    def open_extents(self, offset: int, length: int) -> list[bytes | OpenExtent]:
        """A range of the content stream, in order: bytes as they are, and parts of files to send.

        Raises NotHeld, or StaleGeneration after dropping the file that changed, or OSError where the machine, not
        the file, is the reason (no descriptors left). Nothing stays open then.
        """
        self.check(offset, length)
        extents: list[bytes | OpenExtent] = []
        small: list[bytes] = []
        try:
            for file, start, count in self.layout.extents(offset, length):
                if count < SENDFILE_FROM:
                    small.append(self._read(file, start, count))
                    continue
                if small:
                    extents.append(b"".join(small))
                    small = []
                extents.append(OpenExtent(self.open(file), start, count))
        except BaseException:
            close_extents(extents)
            raise
        if small:
            extents.append(b"".join(small))
        return extents

    def _read(self, file: int, offset: int, length: int) -> bytes:
        fd = self.open(file)
        try:
            data = os.pread(fd, length, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        finally:
            os.close(fd)
        if len(data) != length:
            self.stale(file)
        return data

    def open(self, file: int) -> int:
        """A descriptor of a file that is still what was verified; the caller closes it. Does not look at what is held.

        Raises StaleGeneration after dropping the file, or OSError where the machine is the reason.
        """
        path = self.path_of(file)
        while True:
            fd = self._open_at(path, file)
            if fd is not None:
                return fd
            before, path = path, self.path_of(file)
            if path == before:  # it was not merely put in place meanwhile
                self.stale(file)

    def _open_at(self, path: bytes, file: int) -> int | None:
        """Opens a file at a path, or None where what is there is not that file."""
        try:
            fd = self._root.open(path, os.O_RDONLY)
        except PathRefused:
            return None
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        try:
            status = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise
        if stat.S_ISREG(status.st_mode) and self.is_stamped(file, status):
            return fd
        os.close(fd)
        return None

    def is_stamped(self, file: int, status: os.stat_result) -> bool:
        """Whether a file that looks like this is still what was verified."""
        if self._stamps[file * STAMP_WORDS] == NO_STAMP:
            return status.st_size == self.manifest.entries.sizes[file]
        return tuple(self.stamp(file)) == stamp_of(status)

    def stale(self, file: int) -> NoReturn:
        """The file was found changed: drops it, and raises StaleGeneration."""
        self.drop(file)
        raise StaleGeneration(self.manifest.path_of(file))


class OpenedFile:
    """A file of a store, opened at the first read and kept open: many small reads of it cost one look-up.

    What a read gives was verified: the stamp is looked at after the bytes were read, so no change can come between.
    """

    def __init__(self, store: Store, file: int) -> None:
        self._store = store
        self._file = file
        self._fd: int | None = None
        self._looked: tuple[int, int, int, int] | None = None
        """How the open file looked when it was found to be the right one; computing a stamp takes longer than this."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly that range, of which all must be held and in the file. Raises as Store.open does."""
        for _ in range(2):
            fd = self._fd
            if fd is None:
                fd = self._fd = self._store.open(self._file)
            try:
                data = os.pread(fd, length, offset)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                data = b""
            if len(data) == length and self._is_right(fd):
                return data
            # It may have been put in place meanwhile, or be another file now: looked up anew it is the right one.
            self.close()
        self._store.stale(self._file)

    def extent(self, offset: int, length: int) -> OpenExtent:
        """The range for sendfile, with a descriptor of its own. Raises as Store.open does."""
        return OpenExtent(self._store.open(self._file), offset, length)

    def close(self) -> None:
        """Closes the file; a further read opens it again."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = self._looked = None

    def _is_right(self, fd: int) -> bool:
        status = os.fstat(fd)
        looks = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if looks != self._looked:
            if not self._store.is_stamped(self._file, status):
                return False
            self._looked = looks
        return True


def close_extents(extents: list[bytes | OpenExtent]) -> None:
    """Closes what open_extents opened."""
    for extent in extents:
        if isinstance(extent, OpenExtent):
            os.close(extent.fd)

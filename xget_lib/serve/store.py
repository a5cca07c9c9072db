"""What a server reads from: the held chunks of the content stream, in the files on disk.

Held means verified. So whenever a file is opened, its stamp must be the same as when the file was verified. If it is
not, the chunks of the file are no longer held, and readers of `have` see that.

A large part of a file is given as an open descriptor, for sendfile. A range may also be thousands of small files; these
are read here and given as bytes, so that a range costs a bounded number of descriptors. A client that reads one file
in many small steps keeps it open (`OpenedFile`).
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Callable, Set
from functools import partial
from typing import NoReturn

from xget_lib.errors import NotHeld, PathRefused, StaleGeneration
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import NO_STAMP, STAMP_WORDS, no_stamps, stamp_of
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.ninep.file import Content, OpenExtent

SENDFILE_FROM = 32 * 1024
"""Bytes of one file from which a descriptor is cheaper than reading."""

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ESTALE)


class Store:
    """The held chunks of one manifest's content, below one directory. Only one thread uses it, unless a method says
    otherwise."""

    def __init__(
        self,
        root: Root,
        manifest: Manifest,
        held: Bitmap,
        *,
        stamps: array[int] | None = None,
        locate: Callable[[int], bytes] | None = None,
        on_stale: Callable[[bytes], None] | None = None,
    ) -> None:
        """`stamps` are STAMP_WORDS numbers a file, as a scan has them; a file without is only checked for its size. The
        owner may go on writing there the stamps of files that it puts in place.

        `locate` gives the path of a file, by number, below `root`; by default its path in the manifest. Its answer may
        change once from one call to the next, when a download puts a file in place.

        `on_stale` gets the path in the manifest of each file that was found changed.
        """
        self.manifest = manifest
        self.layout = manifest.layout
        self.held = held
        self.changes = 0
        """Counts every change of `held`."""
        self.more_may_come = False
        """Whether chunks that are not held may still arrive."""
        self.on_stale = on_stale
        self.unverified: Set[int] = frozenset()
        """Files that have a stamp, although nobody has read them yet. The owner of the store may change it."""
        self._complete = held.full
        self._dropped: set[int] = set()
        self._root = root
        self._stamps = no_stamps(self.layout.file_count) if stamps is None else stamps
        self._locate = locate
        if held.size != self.layout.chunk_count or len(self._stamps) != self.layout.file_count * STAMP_WORDS:
            raise ValueError("a store of one manifest with the chunks or stamps of another")

    def path_of(self, file: int) -> bytes:
        """The path of file number `file`, relative to the root."""
        return self._locate(file) if self._locate else self.manifest.path_of(file)

    def stamp(self, file: int) -> array[int]:
        """The stamp that a file must have: STAMP_WORDS numbers."""
        return self._stamps[file * STAMP_WORDS : (file + 1) * STAMP_WORDS]

    def hold(self, chunk: int) -> bool:
        """The whole chunk is on disk and verified. Returns whether that is new."""
        added = self.held.add(chunk)
        self.changes += added
        return added

    def drop(self, file: int) -> None:
        """A file has changed: its chunks are not held any more."""
        self._dropped.add(file)
        for chunk in self.layout.file_chunks(file):
            self.changes += self.held.discard(chunk)

    def is_verified(self, file: int) -> bool:
        """Whether a file is held, and still has the stamp that it had when it was verified. In any thread."""
        chunks = self.layout.file_chunks(file)
        if not self.held.has_range(chunks.start, chunks.stop) or self._stamps[file * STAMP_WORDS] == NO_STAMP:
            return False
        try:
            return self.is_stamped(file, self._root.lstat(self.path_of(file)))
        except (OSError, PathRefused):
            return False

    def read(self, offset: int, count: int) -> bytes | Content:
        """A range of the content stream, at most up to its end. Raises NotHeld at once. A file that has changed is an
        error when the content is about to be sent."""
        length = min(count, max(0, self.layout.size - offset))
        self.check(min(offset, self.layout.size), length)
        return Content(length, partial(self.open_extents, offset, length)) if length else b""

    def check(self, offset: int, length: int) -> None:
        """Raises NotHeld unless every chunk of the range is held. Opens no file."""
        if min(offset, length) < 0 or offset + length > self.layout.size:
            raise NotHeld(offset, length)
        if not self.held.full:
            chunks = self.layout.chunks_of_range(offset, length)
            if not self.held.has_range(chunks.start, chunks.stop):
                raise NotHeld(offset, length)

    def check_file(self, file: int, offset: int, length: int) -> None:
        """Raises StaleGeneration for a file that was dropped, and NotHeld unless the range of it is held.

        A store that held everything at first still has every file that was not dropped: the other files of a chunk
        are served although one of them has changed.
        """
        if file in self._dropped:
            self.stale(file)
        if not self._complete:
            self.check(*self.layout.stream_range(file, offset, length))

    def open_extents(self, offset: int, length: int) -> list[bytes | OpenExtent]:
        """A range of the content stream, in order: bytes, and parts of files to send.

        Raises NotHeld; StaleGeneration after dropping the file that changed; OSError if the machine is the reason,
        not the file (no descriptors left). Nothing stays open then.
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
            data = _pread(fd, length, offset)
        finally:
            os.close(fd)
        if len(data) != length:
            self.stale(file)
        return data

    def open(self, file: int) -> int:
        """A descriptor of a file that has not changed since it was verified; the caller closes it. It does not matter
        here what is held.

        Raises StaleGeneration after dropping the file, or OSError if the machine is the reason.
        """
        path = self.path_of(file)
        while True:
            fd = self._open_at(path, file)
            if fd is not None:
                return fd
            before, path = path, self.path_of(file)
            if path == before:  # the file has not been put in place meanwhile
                self.stale(file)

    def _open_at(self, path: bytes, file: int) -> int | None:
        """A descriptor of a file at a path; None if something else is there."""
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

    @property
    def root(self) -> Root:
        """The directory that it reads from."""
        return self._root

    def is_right(self, file: int, status: os.stat_result) -> bool:
        """Whether a file with this status is in place, was verified, and has not changed since."""
        if file in self._dropped or file in self.unverified or self._stamps[file * STAMP_WORDS] == NO_STAMP:
            return False
        return self.is_stamped(file, status)

    def is_stamped(self, file: int, status: os.stat_result) -> bool:
        """Whether a file with this status has not changed since it was verified."""
        if self._stamps[file * STAMP_WORDS] == NO_STAMP:
            return status.st_size == self.manifest.entries.sizes[file]
        return tuple(self.stamp(file)) == stamp_of(status)

    def stale(self, file: int) -> NoReturn:
        """The file was found changed: drops it, calls `on_stale`, and raises StaleGeneration."""
        self.drop(file)
        path = self.manifest.path_of(file)
        if self.on_stale is not None:
            self.on_stale(path)
        raise StaleGeneration(path)


class OpenedFile:
    """A file of a store, opened at the first read and kept open: many small reads cost one look-up of its path.

    The stamp is checked after the bytes were read, so what a read returns is what was verified.
    """

    def __init__(self, store: Callable[[], Store], file: int) -> None:
        """`store` is asked at each read, and may raise."""
        self._store = store
        self._file = file
        self._fd: int | None = None
        self._right_status: tuple[int, int, int, int] | None = None
        """Size, times and inode when the stamp was last compared; comparing these is faster than computing a stamp."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly that range, which must be in the file and held. Raises as Store.open does."""
        store = self._store()
        for _ in range(2):
            fd = self._fd
            if fd is None:
                fd = self._fd = store.open(self._file)
            data = _pread(fd, length, offset)
            if len(data) == length and self._is_right(store, fd):
                return data
            # The file may have been put in place meanwhile, or been replaced: its path leads to the right one.
            self.close()
        store.stale(self._file)

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = self._right_status = None

    def _is_right(self, store: Store, fd: int) -> bool:
        status = os.fstat(fd)
        brief = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if brief != self._right_status:
            if not store.is_stamped(self._file, status):
                return False
            self._right_status = brief
        return True


def _pread(fd: int, length: int, offset: int) -> bytes:
    """As os.pread, but no bytes if the medium cannot be read: the file is not what was verified any more."""
    try:
        return os.pread(fd, length, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def close_extents(extents: list[bytes | OpenExtent]) -> None:
    """Close what open_extents opened."""
    for extent in extents:
        if isinstance(extent, OpenExtent):
            os.close(extent.fd)

"""Verified pieces to disk: verify, claim, write, then mark as present."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from blake3 import blake3

from xget_lib.download.destination import Destination
from xget_lib.download.progress import Progress
from xget_lib.download.refusal import DISK_FULL
from xget_lib.download.small_files import SmallFiles
from xget_lib.download.staging import Parts
from xget_lib.errors import PieceMismatch
from xget_lib.fs import syscalls
from xget_lib.manifest.layout import Piece
from xget_lib.manifest.selection import Siblings

BULK_FROM = 33  # pieces. In a run of at least this many, small files are written by directory

_LARGE_PIECE = 1024 * 1024  # bytes of a piece from which its write-back is started at once
_WRITE_BACK_FROM = 256 * 1024  # bytes of a file from which its write-back is started with its last piece
_WRITE_AT_ONCE = 256 * 1024
"""Bytes. For one write of 4 MiB the kernel takes page cache in blocks as large, which are rarely free in memory that
was just in use; a guest that gives free memory back to its host must then fetch it page by page. There 1 GiB took
4 times as long as in steps of this size, and nowhere was it faster."""


class PieceWriter:
    """Writes pieces of the selected files into their parts. Owned by a download; any thread may use it."""

    def __init__(self, dest: Destination, progress: Progress, parts: Parts, small_files: SmallFiles) -> None:
        self._manifest = dest.manifest
        self._layout = dest.manifest.layout
        self._selection = dest.selection
        self._progress = progress
        self._parts = parts
        self._small_files = small_files
        self._refusals = dest.refusals
        self._workplaces = dest.workplaces
        self._root = dest.root

    def write_run(self, run: range, data: memoryview, source: str) -> None:
        """Writes pieces that follow one another, of which `data` is the content, except those that are not selected.

        It leaves out a piece that is present or that another thread is writing. Wrong content raises PieceMismatch,
        which names `source` and the first wrong piece; the right pieces are written then. A full disk raises
        DestinationRefused. A file that cannot be written for another reason is refused, and the run goes on without it.
        """
        wrong: PieceMismatch | None = None
        small: dict[int, tuple[Piece, memoryview]] = {}
        for piece in map(self._layout.piece, run):
            content, data = data[: piece.length], data[piece.length :]
            if not self._selection.has_file(piece.file) or piece.file in self._progress.refused:
                continue
            if blake3(content).digest() != self._manifest.digest(piece.number):
                wrong = wrong or PieceMismatch(self._manifest.path_of(piece.file), piece.file_offset, source)
            elif len(run) >= BULK_FROM and self._manifest.entries.sizes[piece.file] == piece.length:
                small[piece.file] = piece, content
            else:
                self._write(piece, content)
        groups, single = self._selection.siblings(list(small))
        for file in single:
            self._write(*small[file])
        for siblings in groups:
            self._write_siblings(siblings, [small[file] for file in siblings.files])
        if wrong is not None:
            raise wrong

    def _write(self, piece: Piece, data: memoryview) -> None:
        """Writes a piece that is verified."""
        if not self._progress.claim((piece.number,)):
            return
        path = self._selection.file_dest_path(piece.file)
        try:
            with self._refusals.at(path):
                with self._parts.changing(piece.file) as fd:
                    write_ranges(fd, data, self._layout.parts(piece))
                    self._start_write_back(fd, piece)
                self._progress.add(piece.file, (piece.number,))
                return
        except BaseException:
            self._progress.release((piece.number,))
            raise
        self._progress.refuse((piece.file,))

    def _write_siblings(self, siblings: Siblings, pieces: list[tuple[Piece, memoryview]]) -> None:
        """Writes whole files of one verified piece each, all of one directory, with their metadata."""
        claimed = self._progress.claim(piece.number for piece, _ in pieces)
        indices = [index for index, (piece, _) in enumerate(pieces) if piece.number in claimed]
        if not indices:
            return
        siblings = siblings.subset(indices)
        try:
            self._small_files.write(siblings, [pieces[index][1] for index in indices])
        except OSError as error:
            if error.errno in DISK_FULL:
                self._progress.release(claimed)
                self._refusals.add(siblings.directory, error)  # raises
            # One by one, to find out which of them is refused.
            self._progress.release(claimed)
            self._remove_parts(siblings)
            for index in indices:
                self._write(*pieces[index])
        except BaseException:
            self._progress.release(claimed)
            raise
        else:
            self._progress.add_ready(siblings.files)

    def _remove_parts(self, siblings: Siblings) -> None:
        """They may have their final permissions, with which their owner cannot write them again."""
        for index in range(len(siblings.files)):
            with suppress(OSError):
                self._root.unlink(self._workplaces.part_path(siblings.dest_path(index)))

    def _start_write_back(self, fd: int, piece: Piece) -> None:
        """Has the disk start early with what the last fsync would wait for."""
        if piece.length >= _LARGE_PIECE:
            syscalls.start_writeback(fd, piece.file_offset, piece.length)
        elif self._progress.missing(piece.file) == 1:
            size = self._manifest.entries.sizes[piece.file]
            if size >= _WRITE_BACK_FROM:
                syscalls.start_writeback(fd, 0, size)


def write_ranges(fd: int, data: memoryview, ranges: Iterable[tuple[int, int]]) -> None:
    """Writes the data to ranges of a file, (offset, length) each, which it fills. Raises OSError."""
    for offset, length in ranges:
        end = offset + length
        while offset < end:
            count = os.pwrite(fd, data[: min(_WRITE_AT_ONCE, end - offset)], offset)
            data = data[count:]
            offset += count

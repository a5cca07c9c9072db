"""The content stream: the data of all regular files one after another, in the order of the manifest, cut in two ways.

A *piece* is the unit that is verified: a part of one file. The pieces of a file depend only on how much data it has and
where (`manifest.extents`), so its digests stay the same whatever happens to other files. A *chunk* is the unit that is
scheduled and asked for: one large piece, or a run of consecutive pieces. There should be several hundred chunks, and
none so small that asking for it costs more than sending it.

docs/protocol.md, section 4, has the rules. A chunk of small files ends after a file whose path has a certain CRC-32. So
if a file was added or removed, the old chunk boundaries come back after a chunk or two, and a node keeps nearly all
its chunks.

There is no object per piece or file, but two numbers per file and two per chunk in arrays: 500,000 files take 8 MB, and
so does a content of 2 TB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xget_lib.manifest.extents import SparseFile, cell_count
from xget_lib.manifest.slices import running_totals

GRANULES = 512
SMALLEST_GRANULE = 64 * 1024
LARGEST_GRANULE = 4 * 1024 * 1024
LARGEST_PIECE = 1024 * 1024
BOUNDARY_ONE_IN = 16


def granule(size: int) -> int:
    """The size of the units into which `size` bytes of data are cut: a power of two that never falls as `size` grows.

    It makes 512 to 1023 units, unless these would be smaller than 64 KiB or larger than 4 MiB. The chunk size of a
    content is the granule of its whole size; the piece size of a file is at most that of its own size.
    """
    if size < GRANULES * SMALLEST_GRANULE:
        return SMALLEST_GRANULE
    return min(1 << ((size // GRANULES).bit_length() - 1), LARGEST_GRANULE)


def piece_size(size: int) -> int:
    """The size of the pieces of a file with `size` bytes of data.

    A small change in a large file moves at most a piece; the digests of a terabyte take 32 MB.
    """
    return min(granule(size), LARGEST_PIECE)


def piece_count(size: int, extents: Sequence[int] | None = None) -> int:
    """How many pieces a file of `size` bytes has. `extents`: where it has data, if it has holes. Builds nothing."""
    if extents is not None:
        return cell_count(extents, piece_size(sum(extents[1::2])))
    return -(-size // piece_size(size))


class Piece(NamedTuple):
    """One piece. Offsets and lengths are in bytes."""

    number: int
    file: int
    """File number."""
    file_offset: int
    """Where in the file its data begins. In a file without holes it is one range; in others see Layout.parts."""
    length: int
    """Bytes of data."""
    stream_offset: int


class Layout:
    """The stream, pieces and chunks of the regular files of one manifest, by file number.

    Offsets and lengths are in bytes. The number of a piece, chunk or file that does not exist raises IndexError, a
    range that is not inside the stream ValueError.
    """

    __slots__ = ("_chunk_offset", "_chunk_piece", "_file_offset", "_sparse", "chunk_size", "first_pieces", "size")

    def __init__(
        self, sizes: Sequence[int], checksums: Sequence[int], extents: Mapping[int, Sequence[int]] | None = None
    ) -> None:
        """By file number: sizes, CRC-32s of the paths, and the extents of the files that have holes."""
        self._sparse = {file: SparseFile(each, piece_size(sum(each[1::2]))) for file, each in (extents or {}).items()}
        # Each array has one more number at the end: where the next file or chunk would begin.
        self._file_offset = running_totals(self._lengths(sizes), 0)
        self.first_pieces = running_totals(self._counts(sizes), 0)
        """By file number: its first piece. The last number is that of all pieces."""
        self.size = self._file_offset[-1]
        self.chunk_size = granule(self.size)
        self._chunk_offset = array("Q")
        self._chunk_piece = array("Q")
        self._cut_chunks(checksums)
        self._chunk_offset.append(self.size)
        self._chunk_piece.append(self.piece_count)

    def _lengths(self, sizes: Sequence[int]) -> Sequence[int]:
        """By file number: how much data it has."""
        if not self._sparse:
            return sizes
        lengths = array("Q", sizes)
        for file, sparse in self._sparse.items():
            lengths[file] = sparse.length
        return lengths

    def _counts(self, sizes: Sequence[int]) -> array[int]:
        """By file number: how many pieces it has."""
        counts = array("Q", (size > 0 if size <= SMALLEST_GRANULE else piece_count(size) for size in sizes))
        for file, sparse in self._sparse.items():
            counts[file] = sparse.piece_count
        return counts

    def _cut_chunks(self, checksums: Sequence[int]) -> None:
        chunk_size = self.chunk_size
        pieces = self.first_pieces
        quarter = chunk_size // 4
        offset = 0
        shared = 0  # bytes in the shared chunk that has not ended yet; 0 if there is none
        for file, end in enumerate(self._file_offset[1:]):
            length = end - offset
            if length >= chunk_size:
                self._cut_large_file(file)
                shared = 0
            elif length:
                if shared == 0 or shared + length > chunk_size:
                    self._chunk_offset.append(offset)
                    self._chunk_piece.append(pieces[file])
                    shared = 0
                shared += length
                if shared >= quarter and checksums[file] % BOUNDARY_ONE_IN == 0:
                    shared = 0
            offset = end

    def _cut_large_file(self, file: int) -> None:
        """Adds the chunks of a file that shares none with others."""
        offset, length = self.file_range(file)
        pieces = self.file_pieces(file)
        if file not in self._sparse:  # the chunk size is a multiple of the piece size
            self._chunk_offset.extend(range(offset, offset + length, self.chunk_size))
            self._chunk_piece.extend(pieces[:: self.chunk_size // piece_size(length)])
            return
        positions = self._sparse[file].piece_positions
        begun = -self.chunk_size
        for index, number in enumerate(pieces):
            if positions[index + 1] - begun > self.chunk_size:
                begun = positions[index]
                self._chunk_offset.append(offset + begun)
                self._chunk_piece.append(number)

    @property
    def file_count(self) -> int:
        return len(self._file_offset) - 1

    @property
    def piece_count(self) -> int:
        return self.first_pieces[-1]

    @property
    def chunk_count(self) -> int:
        return len(self._chunk_offset) - 1

    def file_range(self, file: int) -> tuple[int, int]:
        """The range of the stream with the data of a file: (offset, length)."""
        _check(file, self.file_count, "file")
        return self._file_offset[file], self._file_offset[file + 1] - self._file_offset[file]

    def file_pieces(self, file: int) -> range:
        _check(file, self.file_count, "file")
        return range(self.first_pieces[file], self.first_pieces[file + 1])

    def file_of_piece(self, number: int) -> int:
        _check(number, self.piece_count, "piece")
        return bisect_right(self.first_pieces, number) - 1

    def piece(self, number: int) -> Piece:
        file = self.file_of_piece(number)
        start, length = self.file_range(file)
        index = number - self.first_pieces[file]
        if file in self._sparse:
            sparse = self._sparse[file]
            position, end = sparse.piece_positions[index : index + 2]
            (offset, _), *_ = sparse.parts(position, 1)
            return Piece(number, file, offset, end - position, start + position)
        step = piece_size(length)
        offset = index * step
        return Piece(number, file, offset, min(step, length - offset), start + offset)

    def parts(self, piece: Piece) -> list[tuple[int, int]]:
        """The ranges of its file with the data of a piece: (offset, length) each, rising."""
        return self._parts(piece.file, piece.stream_offset, piece.length)

    def stream_range(self, file: int, offset: int, length: int) -> tuple[int, int]:
        """The range of the stream with the data that is in a range of a file: (offset, length)."""
        start = self._file_offset[file]
        if file not in self._sparse:
            return start + offset, length
        sparse = self._sparse[file]
        first = sparse.position(offset)
        return start + first, sparse.position(offset + length) - first

    def _parts(self, file: int, offset: int, length: int) -> list[tuple[int, int]]:
        """The ranges of a file that a range of the stream, all of it in this file, comes from."""
        position = offset - self._file_offset[file]
        if file not in self._sparse:
            return [(position, length)]
        return self._sparse[file].parts(position, length)

    def chunk_pieces(self, chunk: int) -> range:
        """At least one; together at most chunk_size bytes."""
        _check(chunk, self.chunk_count, "chunk")
        return range(self._chunk_piece[chunk], self._chunk_piece[chunk + 1])

    def chunk_files(self, chunk: int) -> Sequence[int]:
        """The files of which any byte is in a chunk."""
        pieces = self.chunk_pieces(chunk)
        files = range(self.file_of_piece(pieces.start), self.file_of_piece(pieces.stop - 1) + 1)
        return [file for file in files if self.first_pieces[file] < self.first_pieces[file + 1]]

    def chunk_of_piece(self, number: int) -> int:
        _check(number, self.piece_count, "piece")
        return bisect_right(self._chunk_piece, number) - 1

    def file_chunks(self, file: int) -> range:
        """The chunks that contain any byte of a file; none for an empty file."""
        return self.chunks_of_range(*self.file_range(file))

    def chunks_of_range(self, offset: int, length: int) -> range:
        """The chunks that contain any byte of a range of the stream."""
        self._check_range(offset, length)
        if length == 0:
            return range(0)
        first = bisect_right(self._chunk_offset, offset) - 1
        return range(first, bisect_right(self._chunk_offset, offset + length - 1))

    def extents(self, offset: int, length: int) -> list[tuple[int, int, int]]:
        """The ranges of files that a range of the stream consists of, in order: (file, offset in the file, length)."""
        self._check_range(offset, length)
        extents: list[tuple[int, int, int]] = []
        file = bisect_right(self._file_offset, offset) - 1
        end = offset + length
        while offset < end:
            stop = min(end, self._file_offset[file + 1])
            if offset < stop:  # not an empty file
                extents += [(file, *part) for part in self._parts(file, offset, stop - offset)]
                offset = stop
            file += 1
        return extents

    def _check_range(self, offset: int, length: int) -> None:
        if min(offset, length) < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} of a content of {self.size} bytes")


def _check(number: int, count: int, what: str) -> None:
    if not 0 <= number < count:
        raise IndexError(f"{what} {number} of {count}")

"""The content stream: all regular files' data one after another, in manifest order, cut into pieces and chunks.

A *piece* is what is verified: a part of one file. How a file is cut depends on that file alone, on how much data it
has and where (`extents`), so its digests survive whatever happens to the files around it. A *chunk* is what is
scheduled and asked for: a run of whole pieces. There should be some hundred chunks (swarm.md: 64 instead of 128 cost
5 to 10 %), none so small that asking for it costs more than sending it.

Large files start at a chunk of their own. Small ones share chunks, and where such a chunk ends depends on names:
after a file whose path's checksum says so, once the chunk is a quarter full. So behind a file that is new or gone,
the old chunk boundaries come back after a chunk or two, and a node keeps nearly all that it holds.

Nothing here keeps an object per piece or per file: two numbers a file and two a chunk, in arrays; everything else
is computed when asked. 500,000 files take 8 MB, and so does a content of 2 TB. Only a file with holes has a cut of its
own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from xget_lib.manifest.extents import SparseFile, cell_count

GRANULES = 512
SMALLEST_GRANULE = 64 * 1024
LARGEST_GRANULE = 4 * 1024 * 1024
LARGEST_PIECE = 1024 * 1024
BOUNDARY_ONE_IN = 16


def granule(size: int) -> int:
    """Into parts of how many bytes a file, or a whole content, with `size` bytes of data is cut: a power of two.

    512 to 1023 parts, as long as that makes parts of 64 KiB to 4 MiB. It never falls as `size` grows.
    """
    if size < GRANULES * SMALLEST_GRANULE:
        return SMALLEST_GRANULE
    return min(1 << ((size // GRANULES).bit_length() - 1), LARGEST_GRANULE)


def piece_size(size: int) -> int:
    """Into pieces of how many bytes a file with `size` bytes of data is cut. No more than what an update of it may move
    for every byte that changed; a terabyte has 32 MB of digests."""
    return min(granule(size), LARGEST_PIECE)


def piece_count(size: int, extents: Sequence[int] | None = None) -> int:
    """How many pieces a file of `size` bytes has, which has data in all of it, or only in `extents`. Builds nothing."""
    if extents is not None:
        return cell_count(extents, piece_size(sum(extents[1::2])))
    return -(-size // piece_size(size))


class Piece(NamedTuple):
    """Piece `number`: `length` bytes of data of file `file`, which are at `stream_offset` of the stream.

    They begin at `file_offset` and, in a file without holes, are there in one run; see Layout.parts.
    """

    number: int
    file: int
    file_offset: int
    length: int
    stream_offset: int


class Layout:
    """How the regular files of one manifest, numbered in its order, form a stream, pieces and chunks.

    All offsets and lengths are bytes. A piece, chunk or file number that does not exist raises IndexError; a range
    that is not inside the stream raises ValueError.
    """

    __slots__ = ("_chunk_offset", "_chunk_piece", "_file_offset", "_file_piece", "_sparse", "chunk_size", "size")

    def __init__(
        self, sizes: Sequence[int], checksums: Sequence[int], extents: Mapping[int, Sequence[int]] | None = None
    ) -> None:
        """By file number: its size, the CRC-32 of its path, and, of those that have holes, where their data is."""
        extents = extents or {}
        self._sparse = {file: _cut(where) for file, where in extents.items()}
        # Each array ends with one number more: where the next file or chunk would begin.
        self._file_offset = array("Q", accumulate(self._lengths(sizes), initial=0))
        self._file_piece = array("Q", accumulate(self._counts(sizes), initial=0))
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

    def _counts(self, sizes: Sequence[int]) -> list[int]:
        """By file number: how many pieces it has."""
        counts = [size > 0 if size <= SMALLEST_GRANULE else piece_count(size) for size in sizes]
        for file, sparse in self._sparse.items():
            counts[file] = sparse.piece_count
        return counts

    def _cut_chunks(self, checksums: Sequence[int]) -> None:
        chunk_size = self.chunk_size
        pieces = self._file_piece
        quarter = chunk_size // 4
        offset = 0
        shared = 0  # bytes in the chunk of small files that is still open; 0 when none is
        for file, end in enumerate(self._file_offset[1:]):
            length = end - offset
            if length >= chunk_size:
                self._cut_file(file)
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

    def _cut_file(self, file: int) -> None:
        """Adds the chunks of a file that has chunks of its own."""
        offset, length = self.file_range(file)
        pieces = self.file_pieces(file)
        if file not in self._sparse:  # powers of two: whole pieces fill each chunk
            self._chunk_offset.extend(range(offset, offset + length, self.chunk_size))
            self._chunk_piece.extend(pieces[:: self.chunk_size // piece_size(length)])
            return
        places = self._sparse[file].places
        begun = -self.chunk_size
        for index, number in enumerate(pieces):
            if places[index + 1] - begun > self.chunk_size:
                begun = places[index]
                self._chunk_offset.append(offset + begun)
                self._chunk_piece.append(number)

    @property
    def file_count(self) -> int:
        return len(self._file_offset) - 1

    @property
    def piece_count(self) -> int:
        return self._file_piece[-1]

    @property
    def chunk_count(self) -> int:
        return len(self._chunk_offset) - 1

    @property
    def first_pieces(self) -> Sequence[int]:
        """By file number: its first piece. The last number is that of the piece behind all."""
        return self._file_piece

    def file_range(self, file: int) -> tuple[int, int]:
        """Where in the stream the data of a file is: (offset, length)."""
        _check(file, self.file_count, "file")
        return self._file_offset[file], self._file_offset[file + 1] - self._file_offset[file]

    def file_pieces(self, file: int) -> range:
        _check(file, self.file_count, "file")
        return range(self._file_piece[file], self._file_piece[file + 1])

    def file_of_piece(self, number: int) -> int:
        _check(number, self.piece_count, "piece")
        return bisect_right(self._file_piece, number) - 1

    def piece(self, number: int) -> Piece:
        file = self.file_of_piece(number)
        start, length = self.file_range(file)
        index = number - self._file_piece[file]
        if file in self._sparse:
            sparse = self._sparse[file]
            position, end = sparse.places[index : index + 2]
            (offset, _), *_ = sparse.parts(position, 1)
            return Piece(number, file, offset, end - position, start + position)
        step = piece_size(length)
        offset = index * step
        return Piece(number, file, offset, min(step, length - offset), start + offset)

    def parts(self, piece: Piece) -> list[tuple[int, int]]:
        """Where in its file the data of a piece is: (offset, length) of each run of it, rising."""
        if piece.file not in self._sparse:
            return [(piece.file_offset, piece.length)]
        return self._parts(piece.file, piece.stream_offset, piece.length)

    def stream_range(self, file: int, offset: int, length: int) -> tuple[int, int]:
        """Where in the stream the data is that a range of a file has: (offset, length)."""
        start = self._file_offset[file]
        if file not in self._sparse:
            return start + offset, length
        sparse = self._sparse[file]
        first = sparse.position(offset)
        return start + first, sparse.position(offset + length) - first

    def _parts(self, file: int, offset: int, length: int) -> list[tuple[int, int]]:
        """Where in a file a range of the stream that is in it is."""
        position = offset - self._file_offset[file]
        if file not in self._sparse:
            return [(position, length)]
        return self._sparse[file].parts(position, length)

    def chunk_range(self, chunk: int) -> tuple[int, int]:
        """Where in the stream a chunk is: (offset, length); 0 < length <= chunk_size."""
        _check(chunk, self.chunk_count, "chunk")
        return self._chunk_offset[chunk], self._chunk_offset[chunk + 1] - self._chunk_offset[chunk]

    def chunk_pieces(self, chunk: int) -> range:
        _check(chunk, self.chunk_count, "chunk")
        return range(self._chunk_piece[chunk], self._chunk_piece[chunk + 1])

    def chunk_files(self, chunk: int) -> Sequence[int]:
        """The files that have a part in a chunk."""
        pieces = self.chunk_pieces(chunk)
        files = range(self.file_of_piece(pieces.start), self.file_of_piece(pieces.stop - 1) + 1)
        return [file for file in files if self._file_piece[file] < self._file_piece[file + 1]]

    def chunk_of_piece(self, number: int) -> int:
        _check(number, self.piece_count, "piece")
        return bisect_right(self._chunk_piece, number) - 1

    def file_chunks(self, file: int) -> range:
        """The chunks that hold any byte of a file; none for an empty one."""
        return self.chunks_of_range(*self.file_range(file))

    def chunks_of_range(self, offset: int, length: int) -> range:
        """The chunks that hold any byte of a range of the stream."""
        self._check_range(offset, length)
        if length == 0:
            return range(0)
        first = bisect_right(self._chunk_offset, offset) - 1
        return range(first, bisect_right(self._chunk_offset, offset + length - 1))

    def extents(self, offset: int, length: int) -> list[tuple[int, int, int]]:
        """The parts of files that make up a range of the stream, in order: (file, offset in the file, length)."""
        self._check_range(offset, length)
        return list(self._extents(offset, offset + length))

    def _extents(self, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
        file = bisect_right(self._file_offset, offset) - 1
        while offset < end:
            stop = min(end, self._file_offset[file + 1])
            if offset < stop:  # an empty file has no part in it
                for start, length in self._parts(file, offset, stop - offset):
                    yield file, start, length
                offset = stop
            file += 1

    def _check_range(self, offset: int, length: int) -> None:
        if min(offset, length) < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} of a content of {self.size} bytes")


def _cut(extents: Sequence[int]) -> SparseFile:
    return SparseFile(extents, piece_size(sum(extents[1::2])))


def _check(number: int, count: int, what: str) -> None:
    if not 0 <= number < count:
        raise IndexError(f"{what} {number} of {count}")

"""The content stream: all regular files' bytes one after another, in manifest order, cut into pieces and chunks.

A *piece* is what is verified: a part of one file. How a file is cut depends on that file's size alone, so its
digests survive whatever happens to the files around it. A *chunk* is what is scheduled and asked for: a run of
whole pieces. There should be some hundred chunks (swarm.md: 64 instead of 128 cost 5 to 10 %), none so small that
asking for it costs more than sending it.

Large files start at a chunk of their own. Small ones share chunks, and where such a chunk ends depends on names:
after a file whose name's checksum says so, once the chunk is a quarter full. So behind a file that is new or gone,
the old chunk boundaries come back after a chunk or two, and a node keeps nearly all that it holds.

Nothing here keeps an object per piece or per file: two numbers a file and two a chunk, in arrays; everything else
is computed when asked. 500,000 files take 8 MB, and so does a content of 2 TB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

GRANULES = 256
SMALLEST_GRANULE = 64 * 1024
LARGEST_GRANULE = 4 * 1024 * 1024
BOUNDARY_ONE_IN = 16


def granule(size: int) -> int:
    """Into parts of how many bytes a file, or a whole content, of `size` bytes is cut: a power of two.

    256 to 511 parts, as long as that makes parts of 64 KiB to 4 MiB. It never falls as `size` grows.
    """
    if size < GRANULES * SMALLEST_GRANULE:
        return SMALLEST_GRANULE
    return min(1 << ((size // GRANULES).bit_length() - 1), LARGEST_GRANULE)


def piece_count(size: int) -> int:
    """How many pieces a file of `size` bytes has. An empty one has none."""
    return -(-size // granule(size))


class Piece(NamedTuple):
    """Piece `number`: `length` bytes at `file_offset` of file `file`, which are at `stream_offset` of the stream."""

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

    __slots__ = ("_chunk_offset", "_chunk_piece", "_file_offset", "_file_piece", "chunk_size", "size")

    def __init__(self, files: Sequence[tuple[bytes, int]]) -> None:
        """`files` are (path, size) of each regular file."""
        self.size = sum(size for _, size in files)
        self.chunk_size = granule(self.size)
        # Each array ends with one number more: where the next file or chunk would begin.
        self._file_offset = array("Q", [0])
        self._file_piece = array("Q", [0])
        self._chunk_offset = array("Q")
        self._chunk_piece = array("Q")
        offset = piece = 0
        shared = 0  # bytes in the chunk of small files that is still open; 0 when none is
        for path, size in files:
            if size >= self.chunk_size:
                self._cut(offset, piece, size)
                shared = 0
            elif size:
                if shared == 0 or shared + size > self.chunk_size:
                    self._chunk_offset.append(offset)
                    self._chunk_piece.append(piece)
                    shared = 0
                shared += size
                if shared * 4 >= self.chunk_size and crc32(path) % BOUNDARY_ONE_IN == 0:
                    shared = 0
            offset += size
            piece += piece_count(size)
            self._file_offset.append(offset)
            self._file_piece.append(piece)
        self._chunk_offset.append(offset)
        self._chunk_piece.append(piece)

    def _cut(self, offset: int, piece: int, size: int) -> None:
        """Adds the chunks of a file that has chunks of its own. Powers of two: whole pieces fill each chunk."""
        self._chunk_offset.extend(range(offset, offset + size, self.chunk_size))
        self._chunk_piece.extend(range(piece, piece + piece_count(size), self.chunk_size // granule(size)))

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
        """Where in the stream a file is: (offset, length)."""
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
        start, size = self.file_range(file)
        step = granule(size)
        offset = (number - self._file_piece[file]) * step
        return Piece(number, file, offset, min(step, size - offset), start + offset)

    def chunk_range(self, chunk: int) -> tuple[int, int]:
        """Where in the stream a chunk is: (offset, length); 0 < length <= chunk_size."""
        _check(chunk, self.chunk_count, "chunk")
        return self._chunk_offset[chunk], self._chunk_offset[chunk + 1] - self._chunk_offset[chunk]

    def chunk_pieces(self, chunk: int) -> range:
        _check(chunk, self.chunk_count, "chunk")
        return range(self._chunk_piece[chunk], self._chunk_piece[chunk + 1])

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
        extents = []
        end = offset + length
        file = bisect_right(self._file_offset, offset) - 1
        while offset < end:
            stop = min(end, self._file_offset[file + 1])
            if offset < stop:  # an empty file has no part in it
                extents.append((file, offset - self._file_offset[file], stop - offset))
                offset = stop
            file += 1
        return extents

    def _check_range(self, offset: int, length: int) -> None:
        if min(offset, length) < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} of a content of {self.size} bytes")


def _check(number: int, count: int, what: str) -> None:
    if not 0 <= number < count:
        raise IndexError(f"{what} {number} of {count}")

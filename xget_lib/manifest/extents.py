"""Extents: where a file with holes has data. The rest is holes, which are described and never sent.

The extents of a file are a flat sequence of numbers, start, length, start, length, ... in bytes: rising, each at least
one byte long, none touching the next. They consist of whole blocks of BLOCK bytes; only the last may end with the file.
A file has at most EXTENTS_LIMIT: if the file system knows more, the smallest holes count as data (of zeros).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

BLOCK = 4096  # bytes; smaller holes are not worth describing
EXTENTS_LIMIT = 16384  # of one file


def extents_of(ranges: Iterable[tuple[int, int]], size: int) -> array[int] | None:
    """The extents of a file of `size` bytes that has data in these ranges, (start, end) each, rising.

    None if no hole is left.
    """
    blocks = [(start - start % BLOCK, min(end + -end % BLOCK, size)) for start, end in ranges]
    smallest_hole = 1
    extents = _joined(blocks, smallest_hole)
    while len(extents) > 2 * EXTENTS_LIMIT:
        smallest_hole = max(BLOCK, smallest_hole) * 2
        extents = _joined(blocks, smallest_hole)
    return None if sum(extents[1::2]) == size else extents


def _joined(blocks: Iterable[tuple[int, int]], smallest_hole: int) -> array[int]:
    """The extents if holes of less than `smallest_hole` bytes count as data."""
    extents = array("Q")
    last = -smallest_hole
    for start, end in blocks:
        if start - last < smallest_hole:
            extents[-1] += end - last
        else:
            extents.extend((start, end - start))
        last = end
    return extents


def holes(extents: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of each hole in a file of `size` bytes."""
    end = 0
    for start, length in zip(extents[::2], extents[1::2], strict=True):
        if start > end:
            yield end, start - end
        end = start + length
    if end < size:
        yield end, size - end


def cell_count(extents: Sequence[int], cell: int) -> int:
    """How many cells have data, if the file is divided into cells of `cell` bytes each. Builds nothing."""
    count = 0
    last = -1
    for start, length in zip(extents[::2], extents[1::2], strict=True):
        first, last_before = start // cell, last
        last = (start + length - 1) // cell
        count += last - first + (first != last_before)
    return count


class SparseFile:
    """How the data of a file with holes is cut into pieces.

    The file is divided into cells of equal size; a piece is the data in one cell. So a change in one cell leaves the
    pieces of the others as they are. A *position* counts the bytes of data before a point in the file, without holes.
    """

    __slots__ = ("_positions", "_starts", "length", "piece_positions")

    def __init__(self, extents: Sequence[int], cell: int) -> None:
        """`cell`: bytes. Takes memory for each cell that has data; compare `cell_count` with a limit before."""
        self._starts = array("Q", extents[::2])
        self._positions = array("Q")  # of the start of each extent
        self.piece_positions = array("Q")
        """The position at which each piece starts, and the one at which the last ends."""
        last = -1
        position = 0
        for start, length in zip(extents[::2], extents[1::2], strict=True):
            self._positions.append(position)
            first = start // cell
            if first != last:
                self.piece_positions.append(position)
            last = (start + length - 1) // cell
            self.piece_positions.extend(range(position + (first + 1) * cell - start, position + length, cell))
            position += length
        self.length = position
        """Bytes of data in the whole file."""
        self.piece_positions.append(position)

    @property
    def piece_count(self) -> int:
        return len(self.piece_positions) - 1

    def parts(self, position: int, length: int) -> list[tuple[int, int]]:
        """The ranges of the file with the `length` bytes of data at a position: (offset, length) each."""
        parts = []
        end = position + length
        extent = bisect_right(self._positions, position) - 1
        while position < end:
            stop = min(end, self._end(extent))
            parts.append((self._starts[extent] + position - self._positions[extent], stop - position))
            position = stop
            extent += 1
        return parts

    def position(self, offset: int) -> int:
        """The position that belongs to an offset in the file."""
        extent = bisect_right(self._starts, offset) - 1
        if extent < 0:
            return 0
        return min(self._positions[extent] + offset - self._starts[extent], self._end(extent))

    def _end(self, extent: int) -> int:
        """The position at the end of an extent."""
        return self._positions[extent + 1] if extent + 1 < len(self._positions) else self.length

"""Where the body of an encoded manifest is cut into parts, of some 2 KiB.

The parts of two manifests should be the same wherever their entries are, also if a file was added in front of them. So
a cut depends on what is next to it: a column of entries is cut in front of entries whose paths have a checksum with
so many zero bits, the digests in front of such digests. The number of bits follows from the size of the column.

The names, sizes and numbers of a column are cut at the same entries, so that a changed directory changes one or two
parts of each column. The header of a long column, which contains its length, is not in the same part as its values.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, compress
from zlib import crc32

from xget_lib.manifest.index import PART_LIMIT
from xget_lib.manifest.slices import SLICE, slices
from xget_lib.manifest.table import Table

_USUAL = 2048
"""Bytes of a part, about."""
_SMALLEST = 256
"""Bytes between two cuts in a column, at least."""
_LONG = 4096
"""Bytes from which a column is cut; shorter ones share a part with their neighbours."""
_RECORD = 16
"""Bytes of a value of `sparse` or `extents`."""
_DIGEST = 32
_ENTRY_NUMBERS = {"kinds": 1, "metadata_numbers": 4, "mtimes": 8}
"""Columns with one value for each entry: bytes of a value."""


def part_ends(
    body: bytes, table: Table, head_items: Sequence[int], columns: Mapping[str, tuple[int, int]]
) -> list[int]:
    """Where the parts end. `head_items`: where the items before the columns end; `columns`: where the values of each
    column begin and end, in their order."""
    sections: list[tuple[int, int, Iterator[int]]] = [(0, head_items[-1], _item_cuts(body, head_items))]
    sections += [(*values, _column_cuts(body, table, name, *values)) for name, values in columns.items()]
    ends: list[int] = []
    last = 0
    for start, end, cuts in sections:
        if end - start >= _LONG:
            ends.extend(_bounded(last, start, iter(())))
            ends.extend(_bounded(start, end, cuts))
            last = end
    ends.extend(_bounded(last, len(body), iter(())))
    return ends


def _bounded(start: int, end: int, cuts: Iterator[int]) -> Iterator[int]:
    """The cuts that are not too near to each other, with those that are needed where they are too far away from each
    other; then the end."""
    last = start
    for cut in chain(cuts, (end,)):
        while cut - last > PART_LIMIT:
            last += PART_LIMIT
            yield last
        if cut - last >= _SMALLEST and cut < end:
            yield cut
            last = cut
    if last < end:
        yield end


def _column_cuts(body: bytes, table: Table, name: str, start: int, end: int) -> Iterator[int]:
    """Where the values of a column may be cut, rising."""
    if name == "digests":
        yield from _digest_cuts(body, start, end)
    elif name in ("sparse", "extents"):
        yield from _item_cuts(body, range(start + _RECORD, end + 1, _RECORD), start)
    elif (offset := _offsets(table, name)) is not None:
        for entry in _marked(table.path_checksums, _bits(end - start, len(table))):
            yield start + offset(entry)


def _offsets(table: Table, name: str) -> Callable[[int], int] | None:
    """A function from the number of an entry to where its value is in the column, or the next one behind it."""
    if name in _ENTRY_NUMBERS:
        width = _ENTRY_NUMBERS[name]
        return lambda entry: width * entry
    if name == "names":
        return table.name_start
    if name == "targets":
        return lambda entry: table.target_start(bisect_left(table.links, entry))
    of = {"children": (table.directories, 4), "sizes": (table.files, 8), "first_names": (table.hard_links, 4)}
    if name not in of:
        return None
    positions, wide = of[name]
    return lambda entry: wide * bisect_left(positions, entry)


def _bits(size: int, count: int) -> int:
    """The number of zero bits that one value in so many has that parts of a column get the usual size."""
    return max(0, (_USUAL * count // max(1, size)).bit_length() - 1)


def _marked(checksums: array[int], bits: int) -> Iterator[int]:
    """The entries whose checksums have so many zero bits at the end."""
    low, rest = bytes(byte % (1 << min(bits, 8)) == 0 for byte in range(256)), (1 << bits) - 1
    lowest = 0 if sys.byteorder == "little" else checksums.itemsize - 1
    at = 0
    for part in slices(checksums):
        assert isinstance(part, array)
        found = part.tobytes()[lowest :: part.itemsize].translate(low)
        for number in compress(range(at, at + len(part)), found):
            if not checksums[number] & rest:
                yield number
        at += SLICE


def _digest_cuts(body: bytes, start: int, end: int) -> Iterator[int]:
    bits = _bits(_DIGEST, 1)
    low = bytes(byte % (1 << bits) == 0 for byte in range(256))
    for at in range(start, end, _DIGEST * SLICE):
        until = min(end, at + _DIGEST * SLICE)
        yield from compress(range(at, until, _DIGEST), body[at:until:_DIGEST].translate(low))


def _item_cuts(body: bytes, ends: Sequence[int], start: int = 0) -> Iterator[int]:
    """Behind items that end there."""
    mask = (1 << _bits(ends[-1] - start, len(ends))) - 1 if ends else 0
    view = memoryview(body)
    for end in ends:
        if not crc32(view[start:end]) & mask:
            yield end
        start = end

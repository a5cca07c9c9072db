"""Checks of a decoded manifest: afterwards, everything that the rest of the program relies on is true.

Each check goes through whole columns, a slice at a time, with functions that Python runs at the speed of C: half a
million entries take a fraction of a second, and a manifest of any size lets signals through. Time and memory are linear
in the size of the data. No check allocates memory by a number that it has not compared with the data.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain, compress
from operator import ge
from typing import NoReturn

from xget_lib.errors import MalformedManifest, printable
from xget_lib.manifest.entry import (
    BLOCK,
    CHARACTER,
    DEPTH_LIMIT,
    DIRECTORY,
    DIRECTORY_LIMIT,
    FILE,
    HARD_LINK,
    KINDS,
    LINK,
    NAME_LIMIT,
    SIZE_LIMIT,
    TARGET_LIMIT,
)
from xget_lib.manifest.extents import BLOCK as EXTENT_BLOCK
from xget_lib.manifest.layout import SMALLEST_GRANULE, piece_count
from xget_lib.manifest.manifest import DIGEST_SIZE, Manifest
from xget_lib.manifest.slices import largest, names_in_slices, total

_FORBIDDEN_IN_NAMES = (b"/", b"\0\0", b"\0.\0", b"\0..\0")  # where every name is followed by a NUL


def refuse(why: str, path: bytes | None = None) -> NoReturn:
    raise MalformedManifest(why if path is None else f"{printable(path[:NAME_LIMIT]) or '/'}: {why}")


def check(manifest: Manifest) -> None:
    """Raises MalformedManifest if something is wrong. The order matters: later checks rely on earlier ones."""
    for each in (_check_names, _check_tree, _check_metadata, _check_links, _check_devices, _check_content):
        each(manifest)


def _check_names(manifest: Manifest) -> None:
    """Every name can be that of a file, and names rise within each directory. Only entry 0 may have the name b""."""
    entries, names = manifest.entries, manifest.entries.names
    count = len(entries)
    _check_count(names, count, "names")
    if not count or entries.kinds.translate(None, KINDS.encode()):
        refuse("no entries, or an entry of unknown kind")
    single = entries.kind(0) == FILE
    first = names[: names.index(b"\0")]
    if not (single if first else entries.kind(0) == DIRECTORY) or (count > 1 and single):
        refuse("the first entry is not the served directory or file", first)
    forbidden = next((bad for bad in _FORBIDDEN_IN_NAMES if bad in names), None)
    if forbidden or first in (b".", b".."):
        refuse("invalid file name", forbidden or first)
    # The first name in a directory need not be greater than the last name in the directory before.
    starts = entries.starts if total(entries.children) == count - 1 else array("Q")
    last, at = b"", 0
    for part in names_in_slices(names):
        if max(map(len, part)) > NAME_LIMIT:
            refuse("invalid file name", max(part, key=len))
        for number in compress(range(at, at + len(part)), map(ge, chain((last,), part), part)):
            start = bisect_left(starts, number)
            if number > 0 and (start == len(starts) or starts[start] != number):
                refuse("names out of order, or a duplicate name", part[number - at])
        last, at = part[-1], at + len(part)


def _check_tree(manifest: Manifest) -> None:
    """Every entry but the first is in a directory that comes before it and whose path is not too long."""
    entries = manifest.entries
    directories = entries.directories
    if len(entries.children) != len(directories) or entries.starts[-1] != len(entries):
        refuse("the numbers of entries in the directories are wrong")
    starts = entries.starts
    lengths, depths = array("I", [0]), array("I", [0])  # of the paths of the directories
    above = 0
    for directory, (number, start) in enumerate(zip(directories, starts, strict=False)):
        if start <= number:
            refuse("a directory comes after its entries", entries.name(number))
        if directory:
            while starts[above + 1] <= number:
                above += 1
            lengths.append(lengths[above] + (above > 0) + len(entries.name(number)))
            depths.append(depths[above] + 1)
            if lengths[-1] > DIRECTORY_LIMIT or depths[-1] > DEPTH_LIMIT:
                refuse("path too long")


def _check_metadata(manifest: Manifest) -> None:
    """Every entry has metadata and a time. All metadata is different, and in the order of first use."""
    entries = manifest.entries
    if not len(entries) == len(entries.metadata_numbers) == len(entries.mtimes):
        refuse("the number of metadata indexes or times is wrong")
    used = 0
    for number in entries.metadata_numbers:
        if number > used:
            refuse("metadata is not in the order of first use")
        used += number == used
    if used != len(entries.distinct_metadata) or len(set(entries.distinct_metadata)) != used:
        refuse("unused or duplicate metadata")


def _check_links(manifest: Manifest) -> None:
    entries = manifest.entries
    _check_count(entries.targets, entries.kinds.count(LINK.encode()), "targets")
    for targets in names_in_slices(entries.targets):
        if b"" in targets or max(map(len, targets)) > TARGET_LIMIT:
            refuse("invalid target of a symbolic link")
    if len(entries.first_names) != len(entries.hard_links):
        refuse("the number of targets of hard links is wrong")
    metadata, mtimes = entries.metadata_numbers, entries.mtimes
    for number, first in zip(entries.hard_links, entries.first_names, strict=True):
        if first >= number or entries.kind(first) in (DIRECTORY, HARD_LINK):
            refuse("the target of a hard link is not an earlier file", entries.path(number))
        if (metadata[first], mtimes[first]) != (metadata[number], mtimes[number]):
            refuse("a hard link has other metadata than its file", entries.path(number))


def _check_devices(manifest: Manifest) -> None:
    entries = manifest.entries
    if len(entries.devices) != 2 * sum(entries.kinds.count(kind.encode()) for kind in (CHARACTER, BLOCK)):
        refuse("the number of device numbers is wrong")


def _check_content(manifest: Manifest) -> None:
    """Sizes, holes and digests fit together. Afterwards the layout may be built."""
    entries = manifest.entries
    sizes = entries.sizes
    if len(sizes) != len(entries.files) or largest(sizes) >= SIZE_LIMIT:
        refuse("the number of file sizes is wrong, or a size exceeds the limit")
    size = total(sizes)
    pieces = sum(size > 0 if size <= SMALLEST_GRANULE else piece_count(size) for size in sizes)
    for file, extents in entries.extents.items():
        if file >= len(sizes):
            refuse("an entry that is not a file has holes")
        data = _check_extents(extents, sizes[file])
        size += data - sizes[file]
        pieces += piece_count(data, extents) - piece_count(sizes[file])
    if size >= SIZE_LIMIT:
        refuse("total size exceeds the limit")
    if len(manifest.digests) != DIGEST_SIZE * pieces:
        refuse("the number of digests does not match the sizes")


def _check_extents(extents: Sequence[int], size: int) -> int:
    """Returns how many bytes of data these extents of a file of `size` bytes contain."""
    end = -1
    for start, length in zip(extents[::2], extents[1::2], strict=True):
        if start <= end or start % EXTENT_BLOCK or not length or start + length > size:
            refuse("extents are not in order, or outside the file")
        end = start + length
        if end % EXTENT_BLOCK and end != size:
            refuse("extents are not whole blocks")
    data = sum(extents[1::2])
    if data == size:
        refuse("a file without holes has extents")
    return data


def _check_count(terminated: bytes, count: int, what: str) -> None:
    """There are so many names, each of which ends with a NUL."""
    if terminated[-1:] not in (b"", b"\0") or terminated.count(b"\0") != count:
        refuse(f"the number of {what} is wrong")

"""A directory on disk at one moment, on its way to a manifest.

Three steps, so that several worker processes can share the work: one *scans* the tree (`scanning`), all *hash* pieces
of the files found, and one *assembles* the manifest. A scan carries a stamp of every regular file; hashing checks it
before and after reading, so a manifest never mixes two states of a file. Where a file changed meanwhile, hashing says
so and the caller scans again.

A file that cannot be read is not in the manifest, which says so. Its pieces have the digest UNKNOWN until then.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Mapping
from itertools import starmap

from blake3 import blake3

from xget_lib.errors import PathRefused, StaleGeneration
from xget_lib.fs.rooted import Root
from xget_lib.fs.sparse import read_ranges
from xget_lib.fs.stamp import Stamp, stamp_of
from xget_lib.manifest.acl import owners
from xget_lib.manifest.entry import BLOCK, CHARACTER, DIRECTORY, FILE, HARD_LINK, LINK
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import DIGEST_SIZE, OMITTED_LIMIT, Manifest, Omitted
from xget_lib.manifest.table import Table, TableBuilder
from xget_lib.snapshot.scan import Scan

UNKNOWN = bytes(DIGEST_SIZE)
"""Stands for the digest of what could not be read. No content has it: that would be a preimage of BLAKE3."""

_CHANGED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ENODATA, errno.ETXTBSY)


def hash_pieces(root: Root, scan: Scan, first: int, end: int) -> tuple[bytes, dict[int, str]]:
    """The digests of pieces first .. end - 1, DIGEST_SIZE bytes each, and why files could not be read, by file number.

    root is scan.base. A file that is gone or changed since the scan raises StaleGeneration; what is no file's fault
    (no descriptors left, say), PathRefused.
    """
    layout = scan.layout
    digests = bytearray()
    unreadable: dict[int, str] = {}
    buffer = memoryview(bytearray(layout.chunk_size))  # a piece is never larger
    while first < end:
        file = layout.file_of_piece(first)
        stop = min(end, layout.file_pieces(file).stop)
        path = scan.path_of(file)
        try:
            with root.opened(path, os.O_RDONLY) as descriptor:
                digests += _hash_file(descriptor, path, scan.stamp(file), layout, range(first, stop), buffer)
        except OSError as error:
            if error.errno in _CHANGED:
                raise StaleGeneration(path) from error
            if error.errno not in _UNREADABLE:
                raise PathRefused(path, error.strerror or str(error)) from error
            unreadable[file] = error.strerror or str(error)
            digests += UNKNOWN * (stop - first)
        first = stop
    return bytes(digests), unreadable


def _hash_file(
    descriptor: int, path: bytes, stamp: Stamp, layout: Layout, pieces: range, buffer: memoryview
) -> bytearray:
    """The digests of some pieces of one file."""
    digests = bytearray()
    _check_stamp(descriptor, path, stamp)
    for piece in map(layout.piece, pieces):
        view = buffer[: piece.length]
        if not read_ranges(descriptor, view, layout.parts(piece)):
            raise StaleGeneration(path)
        digests += blake3(view).digest()
    _check_stamp(descriptor, path, stamp)
    return digests


def _check_stamp(descriptor: int, path: bytes, expected: Stamp) -> None:
    if stamp_of(os.fstat(descriptor)) != expected:
        raise StaleGeneration(path)


def readable(scan: Scan, digests: bytes, unreadable: Mapping[int, str]) -> tuple[Scan, bytes]:
    """The scan and its digests without the files (by number) that could not be read for the reasons given.

    Raises PathRefused where nothing is left.
    """
    if not unreadable:
        return scan, digests
    if scan.location:
        raise PathRefused(scan.location, unreadable[0])
    entries, layout = scan.entries, scan.layout
    gone = {entries.files[file] for file in unreadable}
    gone.update(number for number in entries.hard_links if entries.first(number) in gone)
    kept = [file for file in range(layout.file_count) if file not in unreadable]
    stamps = array("q", (word for file in kept for word in scan.stamp(file)))
    pieces = map(layout.file_pieces, kept)
    digests = b"".join(digests[each.start * DIGEST_SIZE : each.stop * DIGEST_SIZE] for each in pieces)
    why = ((entries.path(number), unreadable[entries.file_number(entries.first(number))]) for number in gone)
    omitted = sorted((*scan.outline.omitted, *starmap(Omitted, why)), key=lambda each: each.path)
    left = _without(entries, gone)
    uids, gids = owners(left.looks)
    users = {number: name for number, name in scan.outline.users.items() if number in uids}
    groups = {number: name for number, name in scan.outline.groups.items() if number in gids}
    outline = Manifest(left, b"", users, groups, tuple(omitted[:OMITTED_LIMIT]))
    return Scan(scan.base, outline, stamps, scan.location), digests


def _without(entries: Table, gone: set[int]) -> Table:
    """The table without some entries that are no directories."""
    builder = TableBuilder()
    numbers: dict[int, int] = {}  # of first names: old -> new
    builder.add(DIRECTORY, b"", entries.look(0), entries.mtimes[0])
    for directory in range(len(entries.directories)):
        before = len(builder)
        for number in entries.listing(directory):
            if number not in gone:
                numbers[number] = len(builder)
                _copy(entries, number, builder, numbers)
        builder.end_directory(len(builder) - before)
    return builder.table()


def _copy(entries: Table, number: int, builder: TableBuilder, numbers: Mapping[int, int]) -> None:
    kind, name = entries.kind(number), entries.name(number)
    if kind == HARD_LINK:
        builder.add_again(name, numbers[entries.first(number)])
        return
    builder.add(kind, name, entries.look(number), entries.mtimes[number])
    if kind == FILE:
        file = entries.file_number(number)
        builder.add_file(entries.sizes[file], entries.extents.get(file))
    elif kind == LINK:
        builder.add_target(entries.target(number))
    elif kind in (CHARACTER, BLOCK):
        builder.add_device(*entries.device(number))


def assemble(scan: Scan, digests: bytes) -> Manifest:
    """The manifest of a scan and the digests of all its pieces, in order."""
    layout = scan.layout
    if len(digests) != layout.piece_count * DIGEST_SIZE:
        raise ValueError(f"{len(digests)} bytes of digests for {layout.piece_count} pieces")
    outline = scan.outline
    return Manifest(scan.entries, digests, outline.users, outline.groups, outline.omitted)

"""Hashes the pieces of scanned files, and finds files that have changed since the scan."""

from __future__ import annotations

import os
from functools import partial
from typing import NamedTuple

from blake3 import blake3

from xget_lib.errors import PathRefused
from xget_lib.fs.leases import LeasePatience
from xget_lib.fs.rooted import Root
from xget_lib.fs.sparse import read_ranges
from xget_lib.fs.stamp import Stamp, stamp_of
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import DIGEST_SIZE
from xget_lib.snapshot.refusals import LEASE_WAIT, raise_if_ours
from xget_lib.snapshot.scan import Scan
from xget_lib.snapshot.steps import Steps

UNKNOWN_DIGEST = bytes(DIGEST_SIZE)
"""The digest of a piece that was not hashed. No content has this digest: it would be a preimage of BLAKE3."""

_SHORT = "shorter than its size says"


class HashedPieces(NamedTuple):
    """The result of hashing a range of pieces. Files are given by file number."""

    digests: bytes
    """DIGEST_SIZE bytes a piece; UNKNOWN_DIGEST for the pieces of the files below."""
    unreadable: dict[int, str]
    """Files that cannot be read, and why."""
    changed: set[int]
    """Files that have changed since the scan."""


class _Changed(Exception):
    """The file has changed since the scan."""


class _TooShort(Exception):
    """It has not changed, but ends before its size. Files of /sys do."""


def hash_pieces(root: Root, scan: Scan, first: int, end: int, steps: Steps | None = None) -> HashedPieces:
    """Hashes pieces first .. end - 1. `root` is scan.base. `steps` counts.

    A file on which another program keeps a lease counts as changed: the lease is there for somebody who may write.
    Raises PathRefused where this process can read no file at all (no descriptors left).
    """
    layout = scan.layout
    steps = steps or Steps()
    patience = LeasePatience(LEASE_WAIT)
    digests = bytearray()
    unreadable: dict[int, str] = {}
    changed: set[int] = set()
    buffer = memoryview(bytearray(layout.chunk_size))  # no piece is larger
    while first < end:
        file = layout.file_of_piece(first)
        pieces = range(first, min(end, layout.file_pieces(file).stop))
        path = scan.path_of(file)
        made = UNKNOWN_DIGEST * len(pieces)
        try:
            descriptor = patience.open(partial(root.open, path, os.O_RDONLY))
            try:
                made = _hash_file(descriptor, scan.stamp(file), layout, pieces, buffer, steps)
            finally:
                os.close(descriptor)
        except (_Changed, BlockingIOError):
            changed.add(file)
        except _TooShort:
            unreadable[file] = _SHORT
        except OSError as error:
            raise_if_ours(path, error)
            if _is_as_scanned(root, path, scan.stamp(file)):
                unreadable[file] = error.strerror or str(error)
            else:
                changed.add(file)
        digests += made
        first = pieces.stop
    return HashedPieces(bytes(digests), unreadable, changed)


def _hash_file(descriptor: int, stamp: Stamp, layout: Layout, pieces: range, buffer: memoryview, steps: Steps) -> bytes:
    """The digests of some pieces of one file. Raises _Changed, _TooShort, or OSError."""
    digests = bytearray()
    _check_stamp(descriptor, stamp)
    for piece in map(layout.piece, pieces):
        view = buffer[: piece.length]
        if not read_ranges(descriptor, view, layout.parts(piece)):
            _check_stamp(descriptor, stamp)
            raise _TooShort
        digests += blake3(view).digest()
        steps.done += 1
    _check_stamp(descriptor, stamp)
    return bytes(digests)


def _check_stamp(descriptor: int, expected: Stamp) -> None:
    if stamp_of(os.fstat(descriptor)) != expected:
        raise _Changed


def _is_as_scanned(root: Root, path: bytes, expected: Stamp) -> bool:
    try:
        return stamp_of(root.lstat(path)) == expected
    except (OSError, PathRefused):
        return False

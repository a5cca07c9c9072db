"""Reads pieces of a file back and compares them with the digests in the manifest.

Holes are not read. A whole piece of zeros has one digest for each length, so if the manifest has that digest, a hole
is right as it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from functools import lru_cache

from blake3 import blake3

from xget_lib.fs.sparse import are_zeros, next_data, read_ranges
from xget_lib.manifest.extents import holes
from xget_lib.manifest.layout import SMALLEST_GRANULE, Piece
from xget_lib.manifest.manifest import Manifest


@lru_cache(maxsize=16)  # piece sizes are the powers of two from 64 KiB to 1 MiB
def _digest_of_zeros(length: int) -> bytes:
    return blake3(bytes(length)).digest()


def is_zeros(manifest: Manifest, piece: Piece) -> bool:
    """Whether the manifest says that a piece is all zeros. False for odd lengths (a file's last piece)."""
    if piece.length < SMALLEST_GRANULE or piece.length & (piece.length - 1):
        return False
    return manifest.digest(piece.number) == _digest_of_zeros(piece.length)


def has_content(fd: int, manifest: Manifest, file: int) -> bool:
    """Reads an open file. Returns whether it is a regular file with exactly the content that the manifest says.

    Raises OSError.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size != manifest.entries.sizes[file]:
        return False
    if not all(are_zeros(fd, offset, length) for offset, length in holes_of(manifest, file)):
        return False
    return all(right is not None for _, right in checked_pieces(fd, manifest, manifest.layout.file_pieces(file)))


def holes_of(manifest: Manifest, file: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of each hole of a file, in bytes."""
    extents = manifest.entries.extents.get(file)
    return iter(()) if extents is None else holes(extents, manifest.entries.sizes[file])


def checked_pieces(
    fd: int, manifest: Manifest, numbers: Iterable[int], size: int | None = None
) -> Iterator[tuple[Piece, memoryview | None]]:
    """Yields pieces of one file (`numbers` rise), each with its bytes in `fd` if these are right, else with None.

    A view of the bytes is valid until the next iteration; for a hole it is empty. `size`: the length in bytes that the
    file will get, if it does not have it yet. Raises OSError.
    """
    layout = manifest.layout
    buffer = memoryview(b"")
    size = max(size or 0, os.fstat(fd).st_size)
    data = 0  # from the piece before: no data is known between its end and this offset
    for piece in map(layout.piece, numbers):
        ranges = layout.parts(piece)
        end = sum(ranges[-1])
        if data < end:
            data = next_data(fd, piece.file_offset)
        if data >= end:
            yield piece, buffer[:0] if end <= size and is_zeros(manifest, piece) else None
            continue
        if len(buffer) < piece.length:
            buffer = memoryview(bytearray(piece.length))
        view = buffer[: piece.length]
        right = read_ranges(fd, view, ranges) and blake3(view).digest() == manifest.digest(piece.number)
        yield piece, view if right else None

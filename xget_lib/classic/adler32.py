"""The checksum with which C clients verify a file: zlib's Adler-32 of all its bytes (RFC 1950)."""

from __future__ import annotations

import os
import zlib

EMPTY = 1
"""The checksum of no bytes: the start of a computation."""
_STEP = 1 << 20


def extended(checksum: int, descriptor: int, offset: int, length: int) -> int | None:
    """Extend a checksum by a range of a file. None if the file ends before the range does.

    Blocks, while other threads run. Raises OSError.
    """
    buffer = memoryview(bytearray(min(_STEP, length)))
    end = offset + length
    while offset < end:
        count = os.preadv(descriptor, [buffer[: end - offset]], offset)
        if not count:
            return None
        checksum = zlib.adler32(buffer[:count], checksum)
        offset += count
    return checksum

"""The checksum by which C clients know that they have a whole file: zlib's Adler-32 of all its bytes (RFC 1950)."""

from __future__ import annotations

import os
import zlib

EMPTY = 1  # the checksum of no bytes, with which a computation begins
_STEP = 1 << 20


def extended(checksum: int, descriptor: int, offset: int, length: int) -> int | None:
    """The checksum of what came before and of a range of a file; None where the file ends before the range does.

    Blocks, and lets other threads run meanwhile. Raises OSError.
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

"""Large values between processes: a file in memory that has no name (memfd_create(2)), passed as a descriptor."""

from __future__ import annotations

import os


def read_all(descriptor: int) -> bytes:
    """The whole content of a memfd, whatever its offset."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def memfd(name: str, data: bytes | bytearray) -> int:
    """A new memfd that contains these bytes; the caller closes it."""
    descriptor = os.memfd_create(f"xget-{name}", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor

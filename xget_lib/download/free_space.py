"""Whether a file system has space for what is still to be written: said before the download, not in the middle of it.

It is a forecast: others write too, and the space of a replaced file becomes free. A write that fails says the same.
"""

from __future__ import annotations

import os

from xget_lib.errors import DestinationRefused

_BLOCK = 4096  # bytes; what a small file takes at least. Network file systems claim larger blocks than they use


class SpaceNeeded:
    """Adds up what is to be written."""

    def __init__(self, block: int) -> None:
        """`block`: bytes, the unit in which the file system gives out space (f_frsize)."""
        self._block = max(1, min(block, _BLOCK))
        self.bytes = 0
        self.files = 0

    def add(self, size: int) -> None:
        """A file of which `size` bytes are to be written."""
        self.bytes += -(-size // self._block) * self._block
        self.files += 1

    def check(self, path: bytes, available: os.statvfs_result) -> None:
        """Raises DestinationRefused where the file system of `path` has less."""
        free = available.f_bavail * available.f_frsize
        if self.bytes > free:
            raise DestinationRefused(path, f"disk full: needs {amount(self.bytes)}, has {amount(free)} free")
        if available.f_files and self.files > available.f_favail:  # f_files is 0 where files are not counted
            raise DestinationRefused(path, f"disk full: needs {self.files} files, has room for {available.f_favail}")


def amount(size: int) -> str:
    """Bytes, for people."""
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} TiB"

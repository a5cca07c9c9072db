"""Checks, before the download, whether a file system has space for what is still to be written.

This is an estimate: other programs write too, and a replaced file frees its space. A write to a full disk raises the
same error.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from xget_lib.download.destination import Destination
from xget_lib.download.refusal import refusing
from xget_lib.errors import DestinationRefused
from xget_lib.fs.rooted import Root

_BLOCK = 4096  # bytes; what a small file takes at least. Network file systems claim larger blocks than they use


class SpaceNeeded:
    """What is still to be written to each file system of a destination."""

    def __init__(self, dest: Destination) -> None:
        self._workplaces = dest.workplaces
        self._sizes: defaultdict[bytes, list[int]] = defaultdict(list)  # by the highest directory on the file system

    def add(self, path: bytes, size: int = 0) -> None:
        """A file of so many bytes, or something else that takes an inode, is to be made at a path."""
        self._sizes[self._workplaces.top_of(path.rpartition(b"/")[0])].append(size)

    def check(self, dest: bytes, root: Root) -> None:
        """Raises DestinationRefused where there is not enough. `root`: the destination, or where it is to be made."""
        for top, sizes in self._sizes.items():
            with refusing(dest, top):
                available = root.statvfs(top)
            check_free_space(os.path.join(dest, top) if top else dest, available, sizes)


def check_free_space(path: bytes, available: os.statvfs_result, sizes: Iterable[int]) -> None:
    """Raises DestinationRefused where the file system of `path` has less than these files take (bytes each).

    A file system that counts no blocks has no limit that it tells of: ramfs, rootfs, tmpfs with size=0.
    """
    block = max(1, min(available.f_frsize, _BLOCK))
    blocks = [-(-size // block) for size in sizes]
    check_room(path, available, sum(blocks) * block, len(blocks))


def check_room(path: bytes, available: os.statvfs_result, needed: int, files: int) -> None:
    """As `check_free_space`, where so many bytes and files are needed in all."""
    free = available.f_bavail * available.f_frsize
    if needed > free and available.f_blocks:
        raise DestinationRefused(path, f"disk full: needs {amount(needed)}, has {amount(free)} free")
    if available.f_files and files > available.f_favail:  # f_files is 0 where files are not counted
        raise DestinationRefused(path, f"disk full: needs {files} files, has room for {available.f_favail}")


def amount(size: int) -> str:
    """Bytes, for people."""
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} TiB"

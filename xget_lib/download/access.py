"""Asks a destination, without changing it, whether it would refuse a change: a dry run and a run learn it here.

So both say the same, and nothing is fetched that cannot be put in place. What a file system says only when it is
written to stays unknown: quotas, its largest file, names that it does not take, security modules.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from contextlib import suppress
from typing import NamedTuple

from xget_lib.download.workplaces import Workplaces
from xget_lib.errors import PathRefused
from xget_lib.fs.rooted import Root

SWAP = "it is used as swap space (see swapon)"

_SWAPS = "/proc/swaps"


class _Directory(NamedTuple):
    refusal: int = 0
    """The error of a change in it; 0: it can be changed."""
    keeps_names: bool = False
    """Whether names can be added, but not replaced or removed: it is append-only."""
    keeps_names_of_others: bool = False
    """The same for names of files that belong to another user: it is sticky, as /tmp is."""


class Access:
    """Of one destination. Any thread may use it. What it says of a directory is remembered: it is asked when nothing
    is to change its permissions any more."""

    def __init__(self, root: Root, workplaces: Workplaces) -> None:
        self._root = root
        self._workplaces = workplaces
        self._directories: dict[bytes, _Directory] = {}
        self._swap_files = _swap_files()
        self._largest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]

    def check(self, path: bytes, status: os.stat_result | None) -> None:
        """Raises OSError where nothing can be put at a path, or replace or remove what is there, whose stat this is.

        What is there may be fixed itself: see `delete`.
        """
        directory = self._directory(path.rpartition(b"/")[0])
        number = directory.refusal
        if not number and status is not None:
            is_ours = status.st_uid == os.geteuid()
            if directory.keeps_names or (directory.keeps_names_of_others and not is_ours):
                number = errno.EPERM
        if number:
            raise OSError(number, os.strerror(number))

    def check_correctable(self, path: bytes, *, is_directory: bool) -> None:
        """Raises OSError where the metadata of what is at a path cannot be set because its file system is read-only."""
        number = self._directory(path if is_directory else path.rpartition(b"/")[0]).refusal
        if number == errno.EROFS:
            raise OSError(number, os.strerror(number))

    def may_add(self, directory: bytes) -> bool:
        """Whether new names can be put in a directory."""
        return not self._directory(directory).refusal

    def check_size(self, size: int) -> None:
        """Raises OSError where this process may not make a file of so many bytes (RLIMIT_FSIZE)."""
        if not self.may_make(size):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    def may_make(self, size: int) -> bool:
        return self._largest == resource.RLIM_INFINITY or size <= self._largest

    def is_swap(self, device: int, inode: int) -> bool:
        """Whether a file is used as swap space: then Linux lets nobody replace or remove it."""
        return (device, inode) in self._swap_files

    def _directory(self, path: bytes) -> _Directory:
        known = self._directories.get(path)
        if known is None:
            known = self._directories[path] = self._ask(path)
        return known

    def _ask(self, path: bytes) -> _Directory:
        top = self._workplaces.top_of(path)
        if top and top != path and (number := self._directory(top).refusal):
            return _Directory(number)  # parts are made there
        status = None
        try:
            status, found = self._root.lstat(path), self._root.statx(path)
            self._root.check_access(path)
        except (FileNotFoundError, NotADirectoryError, PathRefused):
            return _Directory()  # it is still to be made, or was refused itself
        except OSError as error:
            if error.errno != errno.EACCES or status is None or status.st_uid != os.geteuid():
                return _Directory(error.errno or errno.EIO)
            # It is ours: a run gives itself the permission.
        others = bool(status.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, status.st_uid)
        return _Directory(keeps_names=found.is_fixed and not found.is_immutable, keeps_names_of_others=others)


def _swap_files() -> frozenset[tuple[int, int]]:
    """(device, inode) of each file that is used as swap space. Without /proc none is known."""
    found = set()
    with suppress(OSError), open(_SWAPS, "rb") as lines:
        for line in list(lines)[1:]:
            name, type_, *_ = line.split()
            if type_ == b"file":
                with suppress(OSError):
                    status = os.stat(name.decode("unicode_escape").encode("latin-1"))
                    found.add((status.st_dev, status.st_ino))
    return frozenset(found)

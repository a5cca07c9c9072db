"""`--delete`: removing what is in a destination and no longer at the master, and what stands where something else goes.

Only below what was asked for: in each directory that was selected, what the manifest does not name there. A source that
is a file has nothing below it, and what else lies in the destination is nobody's business. These stay: XGet's own
workplace; what the master has and left out, as nobody knows what it should be; what is mounted here, with the
directories that lead to it, as it is this node's own.

Links are not followed, neither on the way to what is removed nor in it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from xget_lib.fs.inode import NamedInode
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import DIRECTORY, joined
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import STAGING, Selection


class Surplus:
    """Finds what is too much below `root`. Raises OSError."""

    def __init__(self, root: Root, manifest: Manifest, selection: Selection) -> None:
        self._root = root
        self._entries = manifest.entries
        self._selection = selection
        self._omitted = {each.path for each in manifest.omitted}

    def __iter__(self) -> Iterator[bytes]:
        """Paths, none of them below another."""
        here = mount_of(self._root, b"")
        for number in self._selection.of_kind(DIRECTORY):
            path, landing = self._entries.path(number), self._selection.dest_path(number)
            try:
                if path in self._omitted or mount_of(self._root, landing) != here:
                    continue
                names = set(self._root.names(landing))
            except (FileNotFoundError, NotADirectoryError):
                continue  # not made yet: who only asks what would be done sees that
            names.difference_update(self._entries.names_in(self._entries.children_of(number)))
            if not landing:
                names.discard(STAGING)
            for name in sorted(names):
                if joined(path, name) not in self._omitted:
                    yield joined(landing, name)


def mount_of(root: Root, directory: bytes) -> tuple[int, bytes]:
    """What names the mount that a directory is in. A bind mount of the same file system is another one, too."""
    with root.opened(directory, os.O_PATH | os.O_DIRECTORY) as descriptor:
        number = b""
        with suppress(FileNotFoundError), open(f"/proc/self/fdinfo/{descriptor}", "rb") as facts:  # proc(5)
            number = next((line for line in facts if line.startswith(b"mnt_id:")), b"")
        return os.fstat(descriptor).st_dev, number


class Refused(NamedTuple):
    """Something that could not be removed, and why."""

    path: bytes
    why: str


class Remover:
    """Removes below one root, and counts. What refuses to go stops nothing: it is listed. One thread uses it."""

    def __init__(self, root: Root, on_removed: Callable[[bytes], None]) -> None:
        """`on_removed` is called with each name that is gone."""
        self.removed = 0
        self.refused: list[Refused] = []
        self.mounted: list[bytes] = []
        """What stays because it is mounted."""
        self._root = root
        self._on_removed = on_removed

    def remove(self, path: bytes) -> bool:
        """Removes what is at a path, and all below it. Returns whether nothing is there any more. Raises nothing."""
        # No recursion: directories may be deep. Each is met twice, and the second time all below it is gone or stays.
        unvisited: list[tuple[bytes, bool]] = [(path, False)]
        staying: set[bytes] = set()
        while unvisited:
            at, emptied = unvisited.pop()
            try:
                if emptied:
                    gone = at not in staying
                    if gone:
                        self._root.rmdir(at)
                elif stat.S_ISDIR(self._root.lstat(at).st_mode):
                    below = [joined(at, name) for name in self._enter(at)]
                    unvisited.append((at, True))
                    unvisited += [(each, False) for each in below]
                    continue
                else:
                    self._root.unlink(at)
                    gone = True
            except FileNotFoundError:
                continue
            except OSError as error:
                gone = False
                if error.errno == errno.EBUSY:
                    self.mounted.append(at)
                else:
                    self.refused.append(Refused(at, error.strerror or str(error)))
            if gone:
                self.removed += 1
                self._on_removed(at)
            else:
                staying.add(at.rpartition(b"/")[0])
        return path.rpartition(b"/")[0] not in staying

    def make_way(self, path: bytes) -> None:
        """Removes what is at a path, or raises OSError with the reason why that cannot be."""
        before = len(self.refused)
        if not self.remove(path):
            why = self.refused[-1].why if len(self.refused) > before else "something is mounted there"
            raise OSError(errno.EBUSY, f"in the way, and cannot be removed: {why}")

    def _enter(self, path: bytes) -> list[bytes]:
        """The names in a directory that is to be removed. Raises OSError: EBUSY for what is mounted there."""
        if mount_of(self._root, path) != mount_of(self._root, path.rpartition(b"/")[0]):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if os.geteuid() != 0:
            with suppress(OSError):  # not ours: then what follows says so
                NamedInode(self._root, path).chmod(0o700)
        return self._root.names(path)

"""`--delete`: removes what the master does not have, and what is in the way of something else.

It compares only the selected directories with the manifest. These stay:

    the staging directory
    what the master left out of its manifest, as nobody knows what it should be
    mount points, and the directories that lead to them

Symbolic links are never followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from xget_lib.download.destination import Destination
from xget_lib.download.folding import other_spellings
from xget_lib.fs.inode import NamedInode
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import DIRECTORY, joined
from xget_lib.manifest.selection import STAGING


def surplus(dest: Destination) -> Iterator[bytes]:
    """The paths of what is in the destination and not in the manifest, none of them below another. Raises OSError."""
    root, entries = dest.root, dest.manifest.entries
    omitted = {each.path for each in dest.manifest.omitted}
    try:
        here = _mount_of(root, b"")
    except FileNotFoundError:
        return  # a dry run: the destination is still to be made
    for number in dest.selection.of_kind(DIRECTORY):
        path, dest_path = entries.path(number), dest.selection.dest_path(number)
        try:
            if path in omitted or _mount_of(root, dest_path) != here:
                continue
            names = set(root.names(dest_path))
        except (FileNotFoundError, NotADirectoryError):
            continue  # a dry run: the directory is still to be made
        wanted = entries.names_in(entries.children_of(number))
        names.difference_update(wanted)
        names -= other_spellings(root, dest_path, names, wanted)
        if not dest_path:
            names.discard(STAGING)
        yield from (joined(dest_path, name) for name in sorted(names) if joined(path, name) not in omitted)


def _mount_of(root: Root, directory: bytes) -> tuple[int, bytes]:
    """(device, mount number) of a directory. A bind mount of the same file system has a number of its own."""
    with root.opened(directory, os.O_PATH | os.O_DIRECTORY) as descriptor:
        number = b""
        with suppress(FileNotFoundError), open(f"/proc/self/fdinfo/{descriptor}", "rb") as facts:  # proc(5)
            number = next((line for line in facts if line.startswith(b"mnt_id:")), b"")
        return os.fstat(descriptor).st_dev, number


class Remover:
    """Removes paths below one root. Lists what it cannot remove, and goes on. For one thread.

    `mounted`: the paths that stay because something is mounted there. `refused`: all other failures, (path, reason).
    """

    def __init__(self, root: Root, on_removed: Callable[[bytes], None]) -> None:
        """`on_removed` is called with the path of each name that was removed."""
        self.removed = 0  # names
        self.refused: list[tuple[bytes, str]] = []
        self.mounted: list[bytes] = []
        self._root = root
        self._on_removed = on_removed

    def remove(self, path: bytes) -> bool:
        """Removes a path and all below it. Returns whether nothing is left. Raises nothing."""
        # No recursion: directories may be deep. A directory is popped twice; the second time all below it is done.
        unvisited: list[tuple[bytes, bool]] = [(path, False)]
        not_empty: set[bytes] = set()
        while unvisited:
            at, is_done = unvisited.pop()
            try:
                if is_done:
                    is_gone = at not in not_empty
                    if is_gone:
                        self._root.rmdir(at)
                elif stat.S_ISDIR(self._root.lstat(at).st_mode):
                    below = [joined(at, name) for name in self._enter(at)]
                    unvisited.append((at, True))
                    unvisited += [(each, False) for each in below]
                    continue
                else:
                    self._root.unlink(at)
                    is_gone = True
            except FileNotFoundError:
                continue
            except OSError as error:
                is_gone = False
                if error.errno == errno.EBUSY:
                    self.mounted.append(at)
                else:
                    self.refused.append((at, error.strerror or str(error)))
            if is_gone:
                self.removed += 1
                self._on_removed(at)
            else:
                not_empty.add(at.rpartition(b"/")[0])
        return path.rpartition(b"/")[0] not in not_empty

    def make_way(self, path: bytes) -> None:
        """Removes what is at a path, or raises OSError with the reason why it cannot."""
        before = len(self.refused)
        if not self.remove(path):
            why = self.refused[-1][1] if len(self.refused) > before else "a file system is mounted there"
            raise OSError(errno.EBUSY, f"cannot be replaced, because what is there cannot be removed: {why}")

    def _enter(self, path: bytes) -> list[bytes]:
        """The names in a directory that is to be removed. Raises OSError; EBUSY where something is mounted on it."""
        if _mount_of(self._root, path) != _mount_of(self._root, path.rpartition(b"/")[0]):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if os.geteuid() != 0:
            with suppress(OSError):  # not ours: then the next call fails
                NamedInode(self._root, path).chmod(0o700)
        return self._root.names(path)

"""The directories of the destination. They are made first, writable for us. At the end they get their metadata.

A new name in a directory changes the directory's time. So a directory gets its metadata only when nothing in it changes
any more, and the deepest directories get theirs first.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from threading import Lock

from xget_lib.download.delete import Remover
from xget_lib.download.destination import Destination
from xget_lib.download.plan import CORRECT, MAKE, Step
from xget_lib.download.refusal import refusing
from xget_lib.download.workplaces import make_usable, sync_directory
from xget_lib.fs import syscalls
from xget_lib.fs.inode import NamedInode, OpenInode
from xget_lib.manifest.entry import DIRECTORY
from xget_lib.manifest.selection import Selection

SYNC_EACH = 32  # files or directories up to which each is synced; for more the whole file system is synced at once


class Directories:
    """Carries out the steps for directories, and knows what has to be synced. Owned by a download.

    Any thread may call `names_changed`; the rest is for one thread. A directory that is refused costs itself and what
    is below it. Raises DestinationRefused for what concerns all.
    """

    def __init__(self, dest: Destination) -> None:
        self.remover = Remover(dest.root, self.name_changed)
        self._root = dest.root
        self._entries = dest.manifest.entries
        self._selection = dest.selection
        self._metadata = dest.metadata
        self._refusals = dest.refusals
        self.made = 0
        """How many directories this run made."""
        self._lock = Lock()
        self._incorrect: set[bytes] = set()  # directories without the right metadata
        self._changed: set[bytes] = set()  # directories whose names changed, which is not synced
        self._opened_up: dict[bytes, int] = {}  # directories that we gave more permissions -> their mode before
        self._sync_all = False
        self._filesystems = {b"": dest.root.open(b"", os.O_RDONLY | os.O_DIRECTORY)}

    def close(self) -> None:
        for descriptor in self._filesystems.values():
            os.close(descriptor)

    def add_filesystem(self, top: bytes) -> None:
        """Another file system below the destination: from now on it is synced too."""
        with self._refusals.at(top):
            self._filesystems[top] = self._root.open(top, os.O_RDONLY | os.O_DIRECTORY)
        if top in self._refusals:
            self._refusals.add_directory(top)

    def select(self, selection: Selection) -> None:
        """Another selection of the same manifest, before the first step."""
        self._selection = selection

    def prepare(self, step: Step) -> None:
        """Carries out a step for a directory, without its metadata. Afterwards it exists and we can write in it."""
        with self._refusals.at(step.path):
            if step.action == MAKE:
                if step.clears:
                    self.remover.make_way(step.path)
                self._root.mkdir(step.path, self._metadata.new_directory_mode(self._entries[step.entry]))
                make_usable(self._root, step.path)
                self.made += 1
                self.name_changed(step.path)
            else:
                self.open_up(step.path)
        if step.path in self._refusals:
            return
        if step.action in (MAKE, CORRECT):
            self._incorrect.add(step.path)

    def open_up(self, path: bytes) -> None:
        """Lets us write in a directory that is ours and that we may not write in. `finish` sets its mode back.

        What that cannot change is refused when something has to be changed in it.
        """
        mode = stat.S_IMODE(self._root.lstat(path).st_mode)
        if mode & 0o700 != 0o700 and not self._root.is_writable(path):  # root writes anywhere, with its capabilities
            with suppress(OSError):
                NamedInode(self._root, path).chmod(mode | 0o700)
                self._opened_up[path] = mode

    def name_changed(self, path: bytes) -> None:
        """To be called when something at `path` was made, replaced or removed."""
        self.names_changed(path.rpartition(b"/")[0])

    def names_changed(self, directory: bytes) -> None:
        with self._lock:
            self._changed.add(directory)

    def sync_everything(self) -> None:
        """Makes `finish` sync the whole file system: there are changes that this object does not know of."""
        self._sync_all = True

    def sync_filesystem(self) -> None:
        """Returns when everything in the file systems of the destination is on disk. Raises OSError."""
        for descriptor in self._filesystems.values():
            syscalls.sync_filesystem(descriptor)

    def finish(self) -> None:
        """Gives all directories below the destination their metadata. All names below them are on disk then."""
        at_once = self._sync_all or len(self._changed) > SYNC_EACH
        unfinished = self._incorrect | self._changed | self._opened_up.keys()
        for number in reversed(list(self._selection.of_kind(DIRECTORY))):
            path = self._selection.dest_path(number)
            if path and path in unfinished and not self._refusals.covers(path):
                with self._refusals.at(path):
                    self._finish(path, number, sync=not at_once)
        if at_once:
            with refusing(self._root.path):
                self.sync_filesystem()

    def finish_root(self) -> None:
        """The last step: the destination itself, with metadata if the whole served directory was selected."""
        with self._refusals.at(b""), self._root.opened(b"", os.O_RDONLY | os.O_DIRECTORY) as fd:
            if self._selection.whole:
                self._set_metadata(fd, b"", 0)
            sync_directory(fd)

    def _finish(self, path: bytes, number: int, *, sync: bool) -> None:
        with self._root.opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
            self._set_metadata(fd, path, number)
            if sync:  # through this descriptor, as its owner may not be able to open the directory any more
                sync_directory(fd)

    def _set_metadata(self, fd: int, path: bytes, number: int) -> None:
        if path in self._opened_up:
            os.fchmod(fd, self._opened_up[path])
        self._metadata.apply(OpenInode(fd), os.fstat(fd), self._entries[number], new=False)

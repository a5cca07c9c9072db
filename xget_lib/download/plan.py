"""`--dry-run`: what a download would do to a destination, step by step. It only reads."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from typing import NamedTuple

from xget_lib.download.delete import Surplus
from xget_lib.download.download import OTHERS
from xget_lib.download.install import is_like, no_directory, opening, refusing
from xget_lib.download.inventory import Inventory
from xget_lib.download.metadata import Attributes
from xget_lib.download.staging import PARTS
from xget_lib.fs.inode import NamedInode
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import DIRECTORY, Entry
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection

FETCH, MAKE, LINK, CORRECT, REMOVE = ACTIONS = ("fetch", "make", "link", "correct", "remove")


class Step(NamedTuple):
    """One thing that would be done.

    fetch       a file: `size` bytes of it would come over the network, the rest is here
    make        a directory, symbolic link, FIFO or device
    link        another name of a file
    correct     owner, permissions, attributes or time of what is there
    remove      what the master does not have, with all below it
    """

    action: str
    path: bytes
    size: int = 0


class DryRun:
    """Iterating gives the steps. What would end the run raises DestinationRefused."""

    def __init__(
        self,
        dest: bytes,
        manifest: Manifest,
        selection: Selection,
        *,
        permissions: bool = True,
        owners: bool = True,
        delete: bool = False,
        checksum: bool = False,
    ) -> None:
        self._dest = dest
        self._manifest = manifest
        self._selection = selection
        self._attributes = Attributes(manifest, permissions=permissions, owners=owners)
        self._delete = delete
        self._checksum = checksum

    def __iter__(self) -> Iterator[Step]:
        root = self._open_root()
        if root is None:
            yield from self._from_nothing()
            return
        with root:
            yield from self._directories(root)
            yield from self._files(root)
            yield from self._others(root)
            if self._delete:
                with refusing(root, b""):
                    yield from (Step(REMOVE, path) for path in Surplus(root, self._manifest, self._selection))

    def _open_root(self) -> Root | None:
        """The destination; None where it is to be made."""
        with opening(self._dest):
            try:
                return Root(self._dest)
            except FileNotFoundError:
                os.stat(os.path.dirname(self._dest))
                return None

    def _from_nothing(self) -> Iterator[Step]:
        for landing, _ in self._selection.entries_of(DIRECTORY):
            if landing:
                yield Step(MAKE, landing)
        for file, landing in self._selection.file_dest_paths:
            yield Step(FETCH, landing, self._manifest.layout.file_range(file)[1])
            yield from (Step(LINK, link) for link in self._selection.other_dest_paths(file))
        for landing, _ in self._selection.entries_of(OTHERS):
            yield Step(MAKE, landing)

    def _directories(self, root: Root) -> Iterator[Step]:
        for landing, entry in self._selection.entries_of(DIRECTORY):
            with refusing(root, landing):
                status = _look(root, landing)
                if status is not None and not stat.S_ISDIR(status.st_mode):
                    if not self._delete:
                        raise no_directory()
                    yield Step(REMOVE, landing)
                    status = None
                if status is None:
                    yield Step(MAKE, landing)
                else:
                    yield from self._corrected(root, landing, entry, status)

    def _files(self, root: Root) -> Iterator[Step]:
        with refusing(root, b""):
            survey = Inventory(root, self._manifest, _leftovers(root))
        for file, landing in self._selection.file_dest_paths:
            entry = self._manifest.file(file)
            with refusing(root, landing):
                old = yield from self._out_of_the_way(root, landing)
                links = self._selection.other_dest_paths(file)
                names = {landing: old} | {link: _look(root, link) for link in links}
                found = next((name for name, there in names.items() if self._stays(survey, file, name, there)), None)
                if found is None:
                    yield Step(FETCH, landing, survey.lacking(file, landing, old))
                elif found == landing:
                    assert old is not None
                    yield from self._corrected(root, landing, entry, old)
                else:
                    yield Step(LINK, landing)
                yield from (Step(LINK, link) for link in links if found is None or not _same(names[link], names[found]))

    def _stays(self, survey: Inventory, file: int, name: bytes, there: os.stat_result | None) -> bool:
        return survey.stays(file, name, there, trust_times=not self._checksum) is not None

    def _others(self, root: Root) -> Iterator[Step]:
        for number in self._selection.of_kind(OTHERS):
            landing = self._selection.dest_path(number)
            entry = self._manifest.entries[self._manifest.entries.first_name(number)]
            with refusing(root, landing):
                there = yield from self._out_of_the_way(root, landing)
                if there is None or not is_like(root, landing, there, entry):
                    yield Step(MAKE, landing)
                else:
                    yield from self._corrected(root, landing, entry, there)

    def _out_of_the_way(self, root: Root, landing: bytes) -> Generator[Step, None, os.stat_result | None]:
        """What is there; a directory has to go first."""
        there = _look(root, landing)
        if there is None or not stat.S_ISDIR(there.st_mode):
            return there
        if not self._delete:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        yield Step(REMOVE, landing)
        return None

    def _corrected(self, root: Root, landing: bytes, entry: Entry, status: os.stat_result) -> Iterator[Step]:
        if not self._attributes.settled(entry, status, NamedInode(root, landing)):
            yield Step(CORRECT, landing or b".")


def _look(root: Root, landing: bytes) -> os.stat_result | None:
    try:
        return root.lstat(landing)
    except (FileNotFoundError, NotADirectoryError):  # also where a file is in the way of its directory
        return None


def _leftovers(root: Root) -> frozenset[bytes]:
    try:
        return frozenset(root.names(PARTS))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def _same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    return one is not None and other is not None and os.path.samestat(one, other)

"""Decides what a download does to a destination, as data. A run carries out the steps; a dry run prints them.

Planning only reads, with one exception: in a run, pieces that can be reused are copied into the part as soon as they
are found (`reuse`), so that nothing is read twice.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import Lock
from typing import NamedTuple

from xget_lib.download.access import SWAP
from xget_lib.download.delete import FIXED, MOUNTED, Surplus, cannot_make_way, surplus
from xget_lib.download.destination import Destination
from xget_lib.download.refusal import MOVE_OR_DELETE
from xget_lib.download.reuse import Reuse
from xget_lib.download.small_files import Inspected, SmallFiles
from xget_lib.errors import PathRefused
from xget_lib.fs.inode import NamedInode
from xget_lib.manifest.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, LINK, Entry
from xget_lib.manifest.layout import SMALLEST_GRANULE
from xget_lib.manifest.selection import Siblings

UNCHANGED = "unchanged"
FETCH, MAKE, LINK_TO, CORRECT, REMOVE = ACTIONS = ("fetch", "make", "link", "correct", "remove")

SPECIAL = LINK + CHARACTER + BLOCK + FIFO
"""The kinds of entries that are neither regular file nor directory."""
KINDS = FILE + DIRECTORY + SPECIAL
FILE_TYPES = {LINK: stat.S_IFLNK, FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK}


class Step(NamedTuple):
    """What to do at one path.

    unchanged   nothing; a dry run does not print it
    fetch       a file: `size` bytes of it come over the network, the rest is reused
    make        a directory, symbolic link, FIFO or device
    link        another name of what is at `origin`
    correct     owner, permissions, extended attributes or time of what is there
    remove      what the master does not have, with all below it
    """

    action: str
    path: bytes
    size: int = 0
    entry: int = 0
    """Its number in the manifest."""
    origin: bytes = b""
    clears: bool = False
    """Whether a directory is there (or, for a directory, something else), which is removed first."""
    status: os.stat_result | None = None
    """Of what is there and is to be corrected."""


class FileDecision(NamedTuple):
    """What to do about one regular file."""

    file: int
    step: Step
    """For its first name: unchanged, correct, link or fetch. Its content is fetched, or it is right as it is."""
    links: list[Step]
    """For its further names; those that are right already are left out."""
    pieces: Sequence[int] = ()
    """Of a file to fetch: the pieces that need not be fetched."""
    status: os.stat_result | None = None
    """Of an unchanged file."""
    unverified: bool = False
    """Whether its content was accepted by size and time alone."""
    same: Sequence[bytes] = ()
    """Of a file that is there: its names that are the same inode already."""


class FilePlan(NamedTuple):
    """What to do about some regular files."""

    unchanged: list[int]
    """File numbers: nothing to do."""
    new: list[int]
    """File numbers: nothing is there, fetch everything."""
    others: list[FileDecision]
    refused: list[int]
    """File numbers: the destination cannot take them; why is in its `refusals`."""


_Statuses = dict[bytes, os.stat_result | None]
"""By path: what is there."""


class Planner:
    """Compares a destination with its manifest. What the destination refuses costs a path and gets no step.

    Any thread may call `files`, but no two for the same file.
    """

    def __init__(self, dest: Destination, reuse: Reuse, small_files: SmallFiles) -> None:
        self._dest = dest
        self._root = dest.root
        self._layout = dest.manifest.layout
        self._entries = dest.manifest.entries
        self._selection = dest.selection
        self._reuse = reuse
        self._small_files = small_files
        self._access = dest.access
        self._refusals = dest.refusals
        self._workplaces = dest.workplaces
        self._lock = Lock()
        self._in_the_way: list[bytes] = []  # directories that are to be removed because something else belongs there
        self._kept_inodes: dict[tuple[int, int], int] = {}  # (device, inode) with several names -> its file

    def directories(self) -> Iterator[Step]:
        """A step for each directory below the destination. The caller carries out a step before it takes the next."""
        with suppress(FileNotFoundError):  # a dry run: the destination is still to be made
            self._workplaces.enter(self._root, b"")
        for number in self._selection.of_kind(DIRECTORY):
            path = self._selection.dest_path(number)
            if path and not self._refusals.covers(path):
                with self._refusals.at(path):
                    yield self._directory(number, path)
                if path in self._refusals:
                    self._refusals.add_directory(path)

    def _directory(self, number: int, path: bytes) -> Step:
        status = self._dest.status(path)
        if status is None or not _is_directory(status):
            if status is not None and not self._dest.delete:
                raise NotADirectoryError(
                    errno.ENOTDIR, f"not a directory, but the master has a directory here {MOVE_OR_DELETE}"
                )
            self._access.check(path, status)
            if status is not None:
                self._check_replaceable(path)
            return Step(MAKE, path, entry=number, clears=status is not None)
        self._workplaces.enter(self._root, path)
        return self.metadata_step(number, path, status)

    def specials(self) -> Iterator[Step]:
        """Steps for each symbolic link, FIFO and device, and for its further names."""
        for number in self._selection.of_kind(SPECIAL):
            entry = self._entries.first_name(number)
            if self._entries.kind(entry) in (CHARACTER, BLOCK) and not self._dest.metadata.devices:
                self._dest.metadata.note("devices", "devices were not created (--no-devices, -s or -o)")
                continue
            names = list(map(self._selection.dest_path, self._selection.link_groups.get(entry, (number,))))
            found = self._find(names)
            if not found:
                continue
            path, *links = found
            status = found[path]
            with self._refusals.at(path):
                if status is not None and self._is_same_special(path, status, self._entries[entry]):
                    step = self.metadata_step(entry, path, status)
                elif self._dest.is_as_left(entry, path, status):  # nothing, or something else, as it cannot be made
                    step, status = Step(UNCHANGED, path, entry=entry), None
                    links = [link for link in links if not self._dest.is_as_left(entry, link, found[link])]
                else:
                    step, status = self._replaces(Step(MAKE, path, entry=entry), status), None
                yield step
            if path not in self._refusals:
                yield from self._links(entry, path, links, found, status)

    def files(self, files: Sequence[int], trusts_times: Callable[[int], bool]) -> FilePlan:
        """The plan for selected files (rising). A file for which `trusts_times` is true is unchanged if its size and
        time are right; any other file is read."""
        plan = FilePlan([], [], [], [])

        def trusted(file: int) -> bool:
            return trusts_times(file) and not self._dest.has_changed(file)

        groups, single = self._selection.siblings(files)
        for siblings in groups:
            if self._refusals.covers(siblings.directory):
                plan.refused.extend(siblings.files)
                continue
            found = self._inspect(siblings, trusted)
            plan.unchanged.extend(found.unchanged)
            single.extend(found.others)
            may_add = self._access.may_add(siblings.directory)
            for file in found.absent:
                (plan.new if may_add and self._is_new(file) else single).append(file)
        for file in single:
            decision = self._file(file, trusts_times=trusted(file))
            if decision is None:
                plan.refused.append(file)
            else:
                plan.others.append(decision)
        return plan

    def surplus(self) -> Surplus:
        """With `--delete`: what the master does not have. To be called when all other steps are known."""
        return surplus(self._dest, self._in_the_way) if self._dest.delete else Surplus()

    # Regular files.

    def _inspect(self, siblings: Siblings, trusts_times: Callable[[int], bool]) -> Inspected:
        try:
            return self._small_files.inspect(siblings, trusts_times)
        except (FileNotFoundError, NotADirectoryError):  # their directory is still to be made
            return Inspected([], list(siblings.files), [])
        except (OSError, PathRefused):  # of one of them: look at each by itself
            return Inspected([], [], list(siblings.files))

    def _is_new(self, file: int) -> bool:
        """Whether an absent file has no pieces to reuse: it is not empty, too small for pieces of zeros, and nothing of
        an earlier run is left."""
        _, size = self._layout.file_range(file)
        return 0 < size < SMALLEST_GRANULE and not self._reuse.has_leftovers and self._access.may_make(size)

    def _file(self, file: int, *, trusts_times: bool) -> FileDecision | None:
        """None for a file that the destination cannot take under any of its names."""
        while True:
            decision = self._file_at_first_name(file, trusts_times=trusts_times)
            if decision is not None or not self._selection.use_next_name(file):
                return decision

    def _file_at_first_name(self, file: int, *, trusts_times: bool) -> FileDecision | None:
        entry = self._entries.files[file]
        path, links = self._selection.file_dest_path(file), self._selection.other_dest_paths(file)
        found = self._find((path, *links))
        if path not in found:
            return None
        with self._refusals.at(path):
            for name, status in found.items():
                if status is None:
                    continue
                trusted = trusts_times and self._may_trust(entry, name, status)
                if not self._keeps(file, name, status, trusted=trusted):
                    continue
                if name == path:
                    step = self.metadata_step(entry, path, status)
                elif _is_directory(found[path]):
                    continue  # nothing is removed before it is known how much that is, and a link is made at once
                else:
                    step = self._replaces(Step(LINK_TO, path, entry=entry, origin=name), found[path])
                further = list(self._links(entry, path, links, found, status, trusted=trusted))
                same = [each for each, there in found.items() if there and os.path.samestat(there, status)]
                return FileDecision(file, step, further, status=status, unverified=trusted, same=same)
            step = self._replaces(Step(FETCH, path, entry=entry), found[path])
            self._access.check_size(self._entries.sizes[file])
            pieces = self._reuse.pieces(file, path, found[path])
            _, size = self._layout.file_range(file)
            size -= sum(self._layout.piece(number).length for number in pieces)
            further = list(self._links(entry, path, links, found, None))
            return FileDecision(file, step._replace(size=size), further, pieces)
        return None

    def _may_trust(self, entry: int, name: bytes, status: os.stat_result) -> bool:
        """Whether the time of a file, and its owner, allow to accept its content by size and time."""
        if self._dest.is_as_left(entry, name, status):
            return True
        return (
            stat.S_ISREG(status.st_mode)
            and (status.st_size, status.st_mtime_ns) == (self._entries[entry].size, self._entries.mtimes[entry])
            and self._dest.metadata.may_trust_times(self._entries[entry], status, NamedInode(self._root, name))
            and self._dest.is_left(self._entries.file_number(entry), status)
        )

    def _keeps(self, file: int, name: bytes, status: os.stat_result, *, trusted: bool) -> bool:
        """Whether the inode at `name`, one of the names of a file, has its content and was not used for another file.

        Two files of the manifest may share an inode here because somebody made a hard link. They must become two again.
        """
        if not stat.S_ISREG(status.st_mode) or status.st_size != self._entries.sizes[file]:
            return False
        number = self._entries.files[file]
        gives_powers = self._dest.metadata.gives_powers(self._entries[number], status, NamedInode(self._root, name))
        if gives_powers and not self._dest.is_as_left(number, name, status):
            return False
        if status.st_nlink > 1:
            with self._lock:
                if self._kept_inodes.setdefault((status.st_dev, status.st_ino), file) != file:
                    return False
        return trusted or self._reuse.is_whole(file, name, status)

    # Any entry.

    def _links(
        self,
        entry: int,
        path: bytes,
        links: Sequence[bytes],
        found: _Statuses,
        status: os.stat_result | None,
        *,
        trusted: bool = False,
    ) -> Iterator[Step]:
        """Steps for further names of what is, or will be, at `path`. Names of the inode of `status` need no step.

        `trusted`: the content of a file was accepted by size and time; so is that of its copies.
        """
        for link in links:
            if link not in found:
                continue  # it was refused
            there = found[link]
            if (status is not None or there is None) and self._dest.is_as_left(entry, link, there):
                continue  # a copy, where hard links are not possible; or what could not be made, as its first name
            if status is not None and there is not None and os.path.samestat(status, there):
                continue
            if there is not None and self._is_copy(entry, path, link, there, trusted=trusted):
                self._dest.metadata.note_copies(os.strerror(errno.EXDEV))
                continue
            with self._refusals.at(link):
                yield self._replaces(Step(LINK_TO, link, entry=entry, origin=path), there)

    def _is_copy(self, entry: int, path: bytes, link: bytes, there: os.stat_result, *, trusted: bool) -> bool:
        """Whether a name is on another file system than the file, and has the copy of it that an earlier run made."""
        if self._workplaces.are_together(path, link) or there.st_mtime_ns != self._entries.mtimes[entry]:
            return False
        if self._entries.kind(entry) != FILE:
            return self._is_same_special(link, there, self._entries[entry])
        file = self._entries.file_number(entry)
        is_similar = stat.S_ISREG(there.st_mode) and there.st_size == self._entries.sizes[file]
        return is_similar and (trusted or self._reuse.is_whole(file, link, there))

    def metadata_step(self, entry: int, path: bytes, status: os.stat_result) -> Step:
        """The step for something at `path` that is right, except perhaps for its metadata."""
        is_right = self._dest.metadata.matches(self._entries[entry], status, NamedInode(self._root, path))
        is_right = is_right or self._dest.is_as_left(entry, path, status)
        return Step(UNCHANGED if is_right else CORRECT, path, entry=entry, status=None if is_right else status)

    def _find(self, paths: Sequence[bytes]) -> _Statuses:
        """What is at paths where no directory must be. Lacks those that are refused."""
        found = {}
        for path in paths:
            if path not in self._refusals and not self._refusals.covers(path):
                with self._refusals.at(path):
                    found[path] = self._dest.status(path)
                    if _is_directory(found[path]) and not self._dest.delete:
                        del found[path]
                        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return found

    def _replaces(self, step: Step, status: os.stat_result | None) -> Step:
        """A step at a path where something else is, of which this is the status: it is replaced. Raises OSError where
        it is known that this cannot be done."""
        self._access.check(step.path, status)
        if status is None:
            return step
        self._check_replaceable(step.path)
        if not _is_directory(status):
            return step
        there = Surplus()
        if not there.add(self._dest, step.path, lambda path: False):
            raise OSError(errno.EBUSY, cannot_make_way(there.kept[0][1]))
        with self._lock:
            self._in_the_way.append(step.path)
        return step._replace(clears=True)

    def _check_replaceable(self, path: bytes) -> None:
        found = self._root.statx(path)
        if found.is_mount_root or found.is_fixed:
            raise OSError(errno.EBUSY, cannot_make_way(MOUNTED if found.is_mount_root else FIXED))
        if self._access.is_swap(found.device, found.inode):
            raise OSError(errno.EBUSY, cannot_make_way(SWAP))

    def _is_same_special(self, path: bytes, status: os.stat_result, entry: Entry) -> bool:
        """Whether what is there is the symbolic link, FIFO or device of an entry, whatever its metadata."""
        if stat.S_IFMT(status.st_mode) != FILE_TYPES[entry.kind]:
            return False
        if entry.kind == LINK:
            return self._root.readlink(path) == entry.target
        return entry.kind == FIFO or status.st_rdev == os.makedev(*entry.device)


def _is_directory(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISDIR(status.st_mode)

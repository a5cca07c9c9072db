"""Puts files, links and devices under their final names: made in the staging directory, synced, then renamed.

So if the machine stops, each name has all of its old or all of its new content.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import FileIO

from xget_lib.download.destination import Destination
from xget_lib.download.directories import SYNC_EACH, Directories
from xget_lib.download.plan import CORRECT, FILE_TYPES, LINK_TO, MAKE, UNCHANGED, FileDecision, Step
from xget_lib.download.progress import Progress
from xget_lib.download.read_back import has_content
from xget_lib.download.refusal import refusing
from xget_lib.download.small_files import SmallFiles, is_same_file
from xget_lib.download.staging import Parts
from xget_lib.download.workplaces import new_part
from xget_lib.errors import PathRefused
from xget_lib.fs.inode import NamedInode, OpenInode, pinned
from xget_lib.fs.mounts import shared_type
from xget_lib.fs.sparse import data_ranges
from xget_lib.fs.stamp import put_stamp
from xget_lib.manifest.entry import FIFO, LINK, Entry

_NOT_MADE_HERE = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""Errors of a file system that does not have what is to be made. FUSE also says EIO."""
_BLOCK = 1 << 20  # bytes that are compared at once
_CHANGED = "another program changed it during the download (run again)"


class Installer:
    """Carries out the steps for everything that is not a directory. Owned by a download.

    What is refused costs one file or name. Raises DestinationRefused for a full disk and for a failed sync.

    Any thread may use it, but no two for the same entry.
    """

    def __init__(
        self, dest: Destination, directories: Directories, progress: Progress, parts: Parts, small_files: SmallFiles
    ) -> None:
        self._dest = dest
        self._root = dest.root
        self._manifest = dest.manifest
        self._entries = dest.manifest.entries
        self._selection = dest.selection
        self._metadata = dest.metadata
        self._directories = directories
        self._progress = progress
        self._parts = parts
        self._small_files = small_files
        self._refusals = dest.refusals
        self._workplaces = dest.workplaces

    # Regular files.

    def install_files(self, files: Sequence[int]) -> None:
        """Gives files whose parts are complete all their names. Many at once are much cheaper.

        The content is on disk before a file gets its name; the names are on disk after `Directories.finish`.
        """
        ready = [file for file in files if self._progress.is_ready(file)]
        unready = [file for file in files if not self._progress.is_ready(file)]
        at_once = bool(ready) or len(unready) > SYNC_EACH
        for file in unready:
            path = self._selection.file_dest_path(file)
            with self._refusals.at(path):
                self._make_ready(file, sync=not at_once)
            if path in self._refusals:
                self._progress.refuse((file,))
        if at_once:
            with refusing(self._root.path):
                self._directories.sync_filesystem()
        self._rename_by_directory(ready)
        for file in files:
            if not self._progress.is_in_place(file) and file not in self._progress.refused:
                self._rename_file(file)

    def correct_file(self, decision: FileDecision) -> None:
        """Carries out a decision about a file that has the right content at its final name."""
        path, entry = decision.step.path, self._entries[decision.step.entry]
        if decision.step.action != UNCHANGED:
            with self._refusals.at(path):
                self._correct(decision, entry)
        for link in decision.links:
            self.link(link)
        self.keep_together(decision.step.entry, path, decision.same)
        with self._refusals.at(path):
            put_stamp(self._progress.stamps, decision.file, self._root.lstat(path))

    def _correct(self, decision: FileDecision, entry: Entry) -> None:
        """Gives what was compared, or what is linked to it now, its metadata. A copy has it already."""
        is_linked = decision.step.action == LINK_TO
        try:
            with pinned(self._root, decision.step.path, decision.status) as inode:
                status = inode.status()
                if self._metadata.matches(entry, status, inode):
                    return
                if not self._metadata.gives_powers(entry, status, inode):
                    self._metadata.apply(inode, status, entry, new=False)
                    self._directories.sync_everything()
                elif not is_linked:
                    raise OSError(errno.ESTALE, _CHANGED)  # it would not have been kept (`Planner`)
        except OSError as error:
            if not (is_linked and error.errno == errno.ESTALE):
                raise

    def _make_ready(self, file: int, *, sync: bool) -> None:
        """Gives a complete part its metadata, if it has what this run verified and wrote."""
        with self._parts.changing(file) as fd:
            if not self._parts.is_as_written(file, os.fstat(fd)) and not has_content(fd, self._manifest, file):
                raise OSError(errno.ESTALE, _CHANGED)
            self._metadata.apply(OpenInode(fd), os.fstat(fd), self._manifest.file(file), new=True)
            if sync:
                os.fsync(fd)
        self._parts.close(file)

    def _rename_by_directory(self, files: Sequence[int]) -> None:
        """Renames files that have one name each. Leaves out files whose final name is that of a directory."""
        groups, _ = self._selection.siblings(files)
        for siblings in groups:
            # What is refused here is tried again as a single file.
            with suppress(OSError, PathRefused), self._progress.moving(siblings.files):
                for file in self._small_files.rename(siblings):
                    self._progress.set_in_place(file)
            self._directories.names_changed(siblings.directory)

    def _rename_file(self, file: int) -> None:
        """Gives a file its names. Where the first one is refused, the next is the first."""
        entry, part = self._entries.files[file], self._workplaces.part_path(self._selection.file_dest_path(file))
        with self._progress.moving((file,)):
            while not self._progress.is_in_place(file):
                path = self._selection.file_dest_path(file)
                with self._refusals.at(path):
                    before = self._checked_part(file, part)
                    self._rename(part, path, self._entries[entry])
                    self._check_installed(file, path, before)
                    self._progress.set_in_place(file)
                    self._parts.forget(file)
                if path in self._refusals and not self._selection.use_next_name(file):
                    self._progress.refuse((file,))
                    return
        for link in self._selection.other_dest_paths(file):
            if link not in self._refusals and not self._refusals.covers(link):
                self.link(Step(LINK_TO, link, origin=path, entry=entry))
        with self._refusals.at(path):
            put_stamp(self._progress.stamps, file, self._root.lstat(path))

    def _checked_part(self, file: int, part: bytes) -> os.stat_result:
        """The status of a part that is to get its final name. Raises OSError where somebody else has changed it."""
        try:
            status = self._root.lstat(part)
        except FileNotFoundError:
            raise OSError(errno.ESTALE, _CHANGED) from None
        if not self._parts.is_as_written(file, status):
            self._check_content(file, part)
        return status

    def _check_installed(self, file: int, path: bytes, before: os.stat_result) -> None:
        """Raises OSError unless a final name has the part that was checked, or the same content."""
        if not is_same_file(before, self._root.lstat(path)):  # of a copy, and on FUSE, the number differs
            self._check_content(file, path)

    def _check_content(self, file: int, path: bytes) -> None:
        with self._root.opened(path, os.O_RDONLY) as fd:
            if not has_content(fd, self._manifest, file):
                raise OSError(errno.ESTALE, _CHANGED)

    # Symbolic links, FIFOs and devices.

    def special(self, step: Step) -> bool:
        """Makes or corrects a symbolic link, FIFO or device. Returns False, with a note, for what cannot be here."""
        entry = self._entries[step.entry]
        with self._refusals.at(step.path):
            if step.action == CORRECT:
                with pinned(self._root, step.path, step.status) as inode:
                    self._metadata.apply(inode, inode.status(), entry, new=False)
            elif step.action == MAKE:
                return self._make_special(step.path, entry)
        return True

    def _make_special(self, path: bytes, entry: Entry) -> bool:
        new = self._free_part(path)
        try:
            self._mknod(new, entry)
        except OSError as error:
            if not self._is_impossible(entry, error):
                raise
            self._note_impossible(entry, error.strerror or str(error))
            return False
        self._metadata.apply(NamedInode(self._root, new), self._root.lstat(new), entry, new=True)
        self._rename(new, path, entry)
        return True

    def _is_impossible(self, entry: Entry, error: OSError) -> bool:
        """Whether the file system, or the lack of a privilege, is the reason why something cannot be made."""
        if error.errno == errno.EIO:
            return (shared_type(self._root.lstat(b"").st_dev) or "").startswith("fuse")
        return error.errno in _NOT_MADE_HERE or (error.errno == errno.EACCES and entry.kind not in (LINK, FIFO))

    def _note_impossible(self, entry: Entry, why: str) -> None:
        self._metadata.limited = True
        if entry.kind == LINK:
            self._metadata.note("symbolic links", f"symbolic links were not created: {why}")
        elif entry.kind == FIFO:
            self._metadata.note("FIFOs", f"FIFOs were not created: {why}")
        else:
            self._metadata.note("devices", f"devices were not created: {why} (only root can create them)")

    def _mknod(self, path: bytes, entry: Entry) -> None:
        if entry.kind == LINK:
            self._root.symlink(entry.target, path)
        else:
            device = 0 if entry.kind == FIFO else os.makedev(*entry.device)
            self._root.mknod(path, FILE_TYPES[entry.kind] | 0o600, device)

    # Hard links.

    def link(self, step: Step) -> None:
        """Makes a hard link to the origin of a step; a copy where hard links are not possible."""
        with self._refusals.at(step.path):
            self._link(step.origin, step.path, self._entries[step.entry])

    def _link(self, origin: bytes, path: bytes, entry: Entry) -> None:
        status, there = self._root.lstat(origin), self._dest.status(path)
        if there is not None and os.path.samestat(there, status):
            return  # rename(2) would leave both names
        new = self._free_part(path)
        try:
            self._root.link(origin, new)
        except OSError as error:  # another file system, one without hard links, or a file with too many
            self._metadata.note_copies(error.strerror or str(error))
            if not stat.S_ISREG(status.st_mode):
                self._make_special(path, entry)
                return
            is_copy = there is not None and self._is_copy(origin, path, there)
            if is_copy and there is not None and self._metadata.matches(entry, there, NamedInode(self._root, path)):
                return
            self._copy(origin, new, entry)
        self._rename(new, path, entry)

    def keep_together(self, entry: int, path: bytes, names: Iterable[bytes]) -> None:
        """Links names of a changed entry anew that have been the same inode as `path`.

        A union of file systems (overlay) copies what is changed or linked to, and leaves the other names behind.
        """
        for name in names:
            if name != path and name not in self._refusals and not self._refusals.covers(name):
                self.link(Step(LINK_TO, name, origin=path, entry=entry))

    def _is_copy(self, origin: bytes, path: bytes, there: os.stat_result) -> bool:
        """Whether what is at `path` has the same bytes as `origin`: the copy of an earlier run. Holes do not count."""
        if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1 or there.st_size != self._root.lstat(origin).st_size:
            return False
        with self._root.opened(origin, os.O_RDONLY) as one, self._root.opened(path, os.O_RDONLY) as other:
            while block := os.read(one, _BLOCK):
                if block != os.read(other, _BLOCK):
                    return False
        return True

    def _copy(self, origin: bytes, new: bytes, entry: Entry) -> None:
        """Copies a file to a part, with its holes, and gives it the metadata of an entry."""
        target = new_part(self._root, new)
        with self._root.opened(origin, os.O_RDONLY) as source, FileIO(target, "r+"):
            size = os.fstat(source).st_size
            os.ftruncate(target, size)
            for offset, length in data_ranges(source, size):
                os.lseek(target, offset, os.SEEK_SET)
                end = offset + length
                while offset < end and (count := os.sendfile(target, source, offset, end - offset)):
                    offset += count
            if not has_content(target, self._manifest, self._file_of(entry)):
                raise OSError(errno.ESTALE, _CHANGED)
            self._metadata.apply(OpenInode(target), os.fstat(target), entry, new=True)
            os.fsync(target)

    def _file_of(self, entry: Entry) -> int:
        number = self._entries.find(entry.path)
        assert number is not None
        return self._entries.file_number(number)

    # Names.

    def _free_part(self, path: bytes) -> bytes:
        """The path of a part, at which nothing is: removes what an earlier run may have left there."""
        part = self._workplaces.part_path(path)
        self._workplaces.make_for(self._root, part)
        with suppress(FileNotFoundError):
            self._root.unlink(part)
        return part

    def _rename(self, new: bytes, path: bytes, entry: Entry) -> None:
        """Moves something from a workplace to its final path. With `--delete`, removes a directory there."""
        try:
            self._root.rename(new, path)
        except IsADirectoryError:
            if not self._dest.delete:
                raise
            self._directories.remover.make_way(path)
            self._root.rename(new, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The kernel sees a border that device and mount number do not show.
            self._root.rename(self._carried_over(new, path, entry), path)
        self._directories.name_changed(path)

    def _carried_over(self, new: bytes, path: bytes, entry: Entry) -> bytes:
        """Copies something to a part in the final directory. Returns the path of the copy."""
        part = self._workplaces.nearest_part_path(path)
        self._workplaces.make_for(self._root, part)
        with suppress(FileNotFoundError):
            self._root.unlink(part)
        if stat.S_ISREG(self._root.lstat(new).st_mode):
            self._copy(new, part, entry)
        else:
            self._mknod(part, entry)
            self._metadata.apply(NamedInode(self._root, part), self._root.lstat(part), entry, new=True)
        return part

"""Small files in bulk: all of one directory are inspected, written or renamed together.

The cost of a small file is not its bytes but a dozen system calls and the Python around each; for half a million files
that is most of a download. So a directory is opened once for all its files, a file gets its metadata while it is open
for writing, and what many files have in common is computed once. A file that needs more (several names, holes, a
directory at its path) is left to the code for single files.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from xget_lib.download.destination import Destination
from xget_lib.download.expected import Expected
from xget_lib.download.read_back import has_content
from xget_lib.download.workplaces import open_part, part_name
from xget_lib.fs import xattrs
from xget_lib.fs.inode import OpenInode
from xget_lib.fs.stamp import put_stamp
from xget_lib.fs.thread_cwd import inside
from xget_lib.manifest.entry import TIME_LIMIT
from xget_lib.manifest.selection import Siblings


def is_same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two looks at a file, between which it was renamed, show that nobody wrote on it. Of FUSE they may not."""
    return os.path.samestat(one, other) and (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


class Inspected(NamedTuple):
    """What is at the final paths of some siblings. File numbers."""

    unchanged: list[int]
    """Size, time and metadata are right: nothing to do."""
    absent: list[int]
    others: list[int]


class SmallFiles:
    """Handles siblings in one destination. Any thread may use it, but no two for the same file. Raises OSError."""

    def __init__(self, dest: Destination, stamps: array[int]) -> None:
        """It stores in `stamps` the stamps of the files that are in place (`fs.stamp`)."""
        self._dest = dest
        self._root = dest.root
        self._workplaces = dest.workplaces
        self._manifest = dest.manifest
        self._entries = dest.manifest.entries
        self._metadata = dest.metadata
        self._stamps = stamps
        self._expected: dict[int, Expected | None] = {}  # by metadata number

    def inspect(self, siblings: Siblings, trusts_times: Callable[[int], bool]) -> Inspected:
        """Compares siblings with the manifest, without reading them. `trusts_times`: see `Planner.files`."""
        found = Inspected([], [], [])
        with self._root.directory(siblings.directory) as directory, inside(directory) as path_of:
            for file, name in zip(siblings.files, siblings.names, strict=True):
                path = path_of(name)
                try:
                    status = os.lstat(path)
                except FileNotFoundError:
                    found.absent.append(file)
                    continue
                if self._matches(file, status, path) and trusts_times(file) and self._dest.is_left(file, status):
                    put_stamp(self._stamps, file, status)
                    found.unchanged.append(file)
                else:
                    found.others.append(file)
        return found

    def _matches(self, file: int, status: os.stat_result, path: bytes) -> bool:
        entries = self._entries
        number = entries.files[file]
        if status.st_mtime_ns != entries.mtimes[number] or status.st_size != entries.sizes[file]:
            return False
        expected = self._expectation(entries.metadata_numbers[number])
        if expected is None or status.st_nlink > 1 or not expected.fits(status):
            return False
        if xattrs.read(path) != expected.xattrs:
            return False
        if expected.not_preserved not in (None, (status.st_uid, status.st_gid)):
            self._metadata.note_owners()
        return True

    def _expectation(self, number: int) -> Expected | None:
        if number not in self._expected:
            self._expected[number] = self._metadata.expected(self._entries.distinct_metadata[number])
        return self._expected[number]

    def write(self, siblings: Siblings, contents: Sequence[memoryview]) -> None:
        """Makes the part of each file, with its metadata, and replaces an older part. `contents` are verified."""
        entries = self._entries
        self._workplaces.make_for(self._root, self._workplaces.part_path(siblings.dest_path(0)))
        with self._root.directory(self._workplaces.parts_of(siblings.directory)) as parts:
            for index, (file, content) in enumerate(zip(siblings.files, contents, strict=True)):
                number = entries.files[file]
                expected = self._expectation(entries.metadata_numbers[number])
                mode = 0o600 if expected is None or expected.mode is None else expected.mode & 0o777
                part = open_part(parts, part_name(siblings.dest_path(index)), mode=mode)
                try:
                    while content:
                        content = content[os.write(part, content) :]
                    if not self._metadata.apply_to_new_file(part, entries.metadata(number), entries.mtimes[number]):
                        self._metadata.apply(OpenInode(part), os.fstat(part), entries[number], new=True)
                finally:
                    os.close(part)

    def rename(self, siblings: Siblings) -> Iterator[int]:
        """Renames the parts to the final names. Yields each renamed file; skips those that cannot be renamed so."""
        parts_path = self._workplaces.parts_of(siblings.directory)
        with self._root.directory(parts_path) as parts, self._root.directory(siblings.directory) as directory:
            for index, (file, name) in enumerate(zip(siblings.files, siblings.names, strict=True)):
                part = part_name(siblings.dest_path(index))
                try:
                    before = os.stat(part, dir_fd=parts, follow_symlinks=False)
                    if not self._is_as_written(file, before) and not self._has_content(file, parts, part):
                        continue
                    os.rename(part, name, src_dir_fd=parts, dst_dir_fd=directory)
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    if not is_same_file(before, status) and not self._has_content(file, directory, name):
                        continue
                except OSError:
                    continue
                put_stamp(self._stamps, file, status)
                number = self._entries.files[file]
                wanted = self._entries.mtimes[number]
                expected = self._expectation(self._entries.metadata_numbers[number])
                mode = None if expected is None else expected.mode
                if status.st_mtime_ns != wanted or wanted == TIME_LIMIT - 1 or mode not in (None, status.st_mode):
                    self._metadata.check(status, None if mode is None else stat.S_IMODE(mode), wanted)
                yield file

    def _is_as_written(self, file: int, status: os.stat_result) -> bool:
        """Whether a part has the size and time that it was given. A later write changes its time."""
        entries = self._entries
        return (status.st_size, status.st_mtime_ns) == (entries.sizes[file], entries.mtimes[entries.files[file]])

    def _has_content(self, file: int, directory: int, name: bytes) -> bool:
        """Reads a file. Raises OSError."""
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            return has_content(descriptor, self._manifest, file)
        finally:
            os.close(descriptor)

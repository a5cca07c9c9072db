"""Small files of one directory, looked at, written and put in place together.

What a file costs besides its bytes is a dozen system calls and the Python around each. For half a million files that
is most of a download. So here a directory is walked to once for all of its files, a file is written and given its
attributes while it is open, and what many have in common is worked out once. What is peculiar about a file (several
names, holes, something else in its place) is not dealt with here: those files are handed back, to be taken one by one.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from xget_lib.download.metadata import Attributes, Expected
from xget_lib.download.staging import PARTS, part_name
from xget_lib.fs import xattrs
from xget_lib.fs.inode import OpenInode
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import put_stamp
from xget_lib.fs.thread_cwd import inside
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Siblings

_PART = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Seen(NamedTuple):
    """What is under final names. Indices into siblings."""

    absent: list[int]
    settled: list[int]
    """Right by size and time, with all attributes: nothing is to be done."""
    others: list[int]


class SmallFiles:
    """Works below `root`. Any thread may use it, each for files of its own. Raises OSError."""

    def __init__(self, root: Root, manifest: Manifest, attributes: Attributes, stamps: array[int]) -> None:
        """`stamps`: where the stamps of files that are in place are noted, as `fs.stamp` has them."""
        self._root = root
        self._manifest = manifest
        self._attributes = attributes
        self._stamps = stamps
        self._parts = root.open(PARTS, os.O_PATH | os.O_DIRECTORY)
        self._expected: dict[int, Expected | None] = {}

    def close(self) -> None:
        os.close(self._parts)

    def look(self, siblings: Siblings, trusts_times: Callable[[int], bool]) -> Seen:
        """What is there of them. Only files of which `trusts_times` are settled."""
        seen = Seen([], [], [])
        with self._root.directory(siblings.directory) as directory, inside(directory) as path_of:
            for index, (file, name) in enumerate(zip(siblings.files, siblings.names, strict=True)):
                path = path_of(name)
                try:
                    status = os.lstat(path)
                except FileNotFoundError:
                    seen.absent.append(index)
                    continue
                if self._is_settled(file, status, path) and trusts_times(file):
                    put_stamp(self._stamps, file, status)
                    seen.settled.append(index)
                else:
                    seen.others.append(index)
        return seen

    def _is_settled(self, file: int, status: os.stat_result, path: bytes) -> bool:
        entries = self._manifest.entries
        number = entries.files[file]
        if status.st_mtime_ns != entries.mtimes[number] or status.st_size != entries.sizes[file]:
            return False
        expected = self._expect(entries.metadata_numbers[number])
        return (
            expected is not None
            and status.st_nlink == 1
            and expected.fits(status)
            and xattrs.read(path) == expected.xattrs
        )

    def _expect(self, look: int) -> Expected | None:
        if look not in self._expected:
            self._expected[look] = self._attributes.expected(self._manifest.entries.distinct_metadata[look])
        return self._expected[look]

    def write(self, siblings: Siblings, contents: Sequence[memoryview]) -> None:
        """Makes the part of each, with its attributes, in place of what may be there. Their contents are verified."""
        entries = self._manifest.entries
        for index, (file, content) in enumerate(zip(siblings.files, contents, strict=True)):
            number = entries.files[file]
            expected = self._expect(entries.metadata_numbers[number])
            mode = 0o600 if expected is None or expected.mode is None else expected.mode & 0o777
            part = os.open(part_name(siblings.dest_path(index)), _PART, mode, dir_fd=self._parts)
            try:
                while content:
                    content = content[os.write(part, content) :]
                if not self._attributes.put_new(part, entries.metadata(number), entries.mtimes[number]):
                    self._attributes.put(OpenInode(part), os.fstat(part), entries[number], new=True)
            finally:
                os.close(part)

    def place(self, siblings: Siblings) -> Iterator[int]:
        """Renames their parts. Gives each file that is in place; not those in whose place a directory is."""
        with self._root.directory(siblings.directory) as directory:
            for index, (file, name) in enumerate(zip(siblings.files, siblings.names, strict=True)):
                try:
                    os.rename(part_name(siblings.dest_path(index)), name, src_dir_fd=self._parts, dst_dir_fd=directory)
                except IsADirectoryError:
                    continue
                put_stamp(self._stamps, file, os.stat(name, dir_fd=directory, follow_symlinks=False))
                yield file

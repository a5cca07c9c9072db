"""The entries of a served directory, as columns: half a million entries take some 50 bytes each and no Python objects.

Entries are numbered level by level. Entry 0 is the served directory. Then come the entries in that directory, then
those in its first subdirectory, in its second, and so on: the entries of one directory follow one another, sorted by
name, and the directories have the order in which they themselves stand in the table. Three columns therefore describe
the whole tree: kinds, names, and the number of entries in each directory. Every entry comes after its directory. If
the master serves one file, this file is entry 0 and the only one.

Each column has one value for every entry, or for every entry of one kind, in the order of the entries; numbers that
count only directories or only regular files are called directory number and file number.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, compress, islice, repeat
from zlib import crc32

from xget_lib.dataclass import dataclass
from xget_lib.manifest.entry import BLOCK, CHARACTER, DIRECTORY, FILE, HARD_LINK, LINK, Entry, EntryMetadata
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.slices import SLICE, names_in_slices, running_totals, slices

_DEVICES = CHARACTER + BLOCK


@dataclass(frozen=True, eq=False)
class Table:
    """All entries. The constructor checks nothing; `manifest.decoding` does."""

    kinds: bytes
    """Of each entry: its kind, one ASCII letter."""
    names: bytes
    """Of each entry: the last component of its path, followed by a NUL."""
    children: Sequence[int]
    """Of each directory: how many entries are in it."""
    distinct_metadata: tuple[EntryMetadata, ...]
    """In the order of first use."""
    metadata_numbers: Sequence[int]
    """Of each entry: which of `distinct_metadata` it has."""
    mtimes: Sequence[int]
    """Of each entry: nanoseconds since the epoch."""
    sizes: Sequence[int]
    """Of each regular file: bytes, holes included."""
    first_names: Sequence[int]
    """Of each hard link: the entry that is the first name of the same file."""
    targets: bytes
    """Of each symbolic link: its text, followed by a NUL."""
    devices: Sequence[int]
    """Of each device: two numbers, major and minor."""
    extents: Mapping[int, Sequence[int]]
    """By file number, of files with holes only: where the file has data (see `manifest.extents`)."""

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, number: int) -> Entry:
        """Entry `number`, made anew at each call; IndexError if there is none."""
        kind = self.kind(number)
        size, target, device = 0, b"", (0, 0)
        if kind == FILE:
            size = self.sizes[self.file_number(number)]
        elif kind == LINK:
            target = self.target(number)
        elif kind == HARD_LINK:
            target = self.path(self.first_name(number))
        elif kind in _DEVICES:
            device = self.device(number)
        return Entry(self.path(number), kind, self.metadata(number), self.mtimes[number], size, target, device)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.__getitem__, range(len(self)))

    # One property of an entry.

    def kind(self, number: int) -> str:
        if number < 0:
            raise IndexError(f"entry {number}")
        return chr(self.kinds[number])

    def name(self, number: int) -> bytes:
        """The last component of the path of an entry; b"" for a served directory itself."""
        return self.names[self.name_start(number) : self.name_start(number + 1) - 1]

    def name_start(self, number: int) -> int:
        """Where the name of an entry begins in `names`."""
        return self._name_ends[number] + number

    def path(self, number: int) -> bytes:
        directory = self.directory_of(number)
        return self._directory_path(directory) + self.name(number) if directory > 0 else self.name(number)

    def kind_mask(self, kinds: str, numbers: range) -> bytes:
        """Of consecutive entries: 1 for each that is of one of these kinds, 0 for the others."""
        return self.kinds[numbers.start : numbers.stop].translate(bytes(chr(byte) in kinds for byte in range(256)))

    def metadata(self, number: int) -> EntryMetadata:
        return self.distinct_metadata[self.metadata_numbers[number]]

    def target(self, number: int) -> bytes:
        """The text of symbolic link `number`."""
        link = bisect_left(self.links, number)
        return self.targets[self.target_start(link) : self.target_start(link + 1) - 1]

    def target_start(self, link: int) -> int:
        """Where the target of a symbolic link begins in `targets`, by its place among the links."""
        return self._target_ends[link] + link

    def first_name(self, number: int) -> int:
        """The entry that is the first name of the same file: for everything but a hard link, `number` itself."""
        if self.kinds[number] != ord(HARD_LINK):
            return number
        return self.first_names[bisect_left(self.hard_links, number)]

    def device(self, number: int) -> tuple[int, int]:
        """Major and minor number of device `number`."""
        index = 2 * bisect_left(self._positions(_DEVICES), number)
        return self.devices[index], self.devices[index + 1]

    def file_number(self, number: int) -> int:
        """The file number of entry `number`. ValueError if it is not a regular file."""
        if self.kind(number) != FILE:
            raise ValueError(f"entry {number} is not a regular file")
        return bisect_left(self.files, number)

    # The tree.

    def directory_of(self, number: int) -> int:
        """The directory number of the directory that an entry is in; -1 for entry 0."""
        return bisect_right(self.starts, number) - 1

    def _directory_path(self, directory: int) -> bytes:
        """By directory number: its path with a slash at the end; b"" for the served directory."""
        last, path = self._last_path
        if directory == last:
            return path
        names = [b""]
        at = directory
        while at > 0:
            number = self.directories[at]
            names.append(self.name(number))
            at = self.directory_of(number)
        path = b"/".join(reversed(names))
        self.__dict__["_last_path"] = directory, path
        return path

    def entries_in(self, directory: int) -> range:
        """The entries in a directory, by directory number."""
        return range(self.starts[directory], self.starts[directory + 1])

    def children_of(self, number: int) -> range:
        """The entries in the directory that is entry `number`."""
        return self.entries_in(bisect_left(self.directories, number))

    def names_in(self, numbers: range) -> list[bytes]:
        """The names of consecutive entries."""
        names = self.names[self.name_start(numbers.start) : self.name_start(numbers.stop)]
        return names.split(b"\0")[:-1]

    def find(self, path: bytes) -> int | None:
        """The entry with this path."""
        if not path or (self.kind(0) != DIRECTORY and path == self.name(0)):
            return 0 if self.name(0) == path else None
        number = 0
        for name in path.split(b"/"):
            found = self.child(number, name)
            if found is None:
                return None
            number = found
        return number

    def child(self, number: int, name: bytes) -> int | None:
        """The entry with this name in entry `number`; None also where that is not a directory."""
        if self.kind(number) != DIRECTORY:
            return None
        entries = self.children_of(number)
        found = bisect_left(entries, name, key=self.name) + entries.start
        return found if found < entries.stop and self.name(found) == name else None

    def subtree(self, number: int) -> Iterator[range]:
        """An entry and everything below it: one range of entries for each level."""
        level = range(number, number + 1)
        while level:
            yield level
            first = bisect_left(self.directories, level.start)
            end = bisect_left(self.directories, level.stop)
            level = range(self.starts[first], self.starts[end])

    # What follows from the columns, computed when it is first needed.

    @cached_property
    def directories(self) -> array[int]:
        """By directory number: the entry."""
        return self._positions(DIRECTORY)

    @cached_property
    def files(self) -> array[int]:
        """By file number: the entry."""
        return self._positions(FILE)

    @cached_property
    def links(self) -> array[int]:
        """The entries that are symbolic links, rising."""
        return self._positions(LINK)

    @cached_property
    def hard_links(self) -> array[int]:
        """The entries that are hard links, rising."""
        return self._positions(HARD_LINK)

    @cached_property
    def starts(self) -> array[int]:
        """By directory number: the first entry in it. At the end: the number of all entries."""
        return running_totals(self.children, 1)

    @cached_property
    def layout(self) -> Layout:
        checksums = array("I")
        for part in slices(self.files):
            checksums.extend(map(self.path_checksums.__getitem__, part))
        return Layout(self.sizes, checksums, self.extents)

    def _positions(self, kinds: str) -> array[int]:
        positions = array("I")
        for at in range(0, len(self), SLICE):
            numbers = range(at, min(at + SLICE, len(self)))
            positions.extend(compress(numbers, self.kind_mask(kinds, numbers)))
        return positions

    @cached_property
    def _name_ends(self) -> array[int]:
        return _ends(self.names)

    @cached_property
    def _target_ends(self) -> array[int]:
        return _ends(self.targets)

    @cached_property
    def _last_path(self) -> tuple[int, bytes]:
        """The last result of `_directory_path`, and its argument: most often the next entry has the same directory."""
        return 0, b""

    @cached_property
    def path_checksums(self) -> array[int]:
        """By entry: the CRC-32 of its path, continued from that of its directory."""
        checksums = array("I", [crc32(self.name(0))])
        for directory, number in enumerate(self.directories):
            above = crc32(b"/", checksums[number]) if directory else 0
            entries = self.entries_in(directory)
            for at in range(entries.start, entries.stop, SLICE):
                names = self.names_in(range(at, min(at + SLICE, entries.stop)))
                checksums.extend(map(crc32, names, repeat(above)))
        return checksums


def _ends(names: bytes) -> array[int]:
    """0, and then where each name would end if there were no NULs between the names."""
    ends = array("Q", [0])
    for part in names_in_slices(names):
        ends.extend(islice(accumulate(map(len, part), initial=ends[-1]), 1, None))
    return ends

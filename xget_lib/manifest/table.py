"""The entries of a served directory, as columns: half a million of them take some 50 bytes each, and no object.

Entries are numbered level by level. Entry 0 is the served directory itself; then come the entries of that directory,
those of the first directory among them, of the second, and so on: each directory's entries in one run, in the order of
their names, and the runs in the order of the directories. So the whole tree is in three columns: the kinds, the names,
and how many entries each directory has. Every entry stands behind its directory. Where a master serves one file, that
is the only entry.

A column has one number for each entry, directory (`children`), regular file (`sizes`), hard link (`firsts`) or device
(`devices`, two numbers), in the order of the entries. Names and targets are bytes that end with a NUL each.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, compress, count, repeat
from zlib import crc32

from xget_lib.manifest.entry import BLOCK, CHARACTER, DIRECTORY, FILE, HARD_LINK, LINK, Entry, Look
from xget_lib.manifest.layout import Layout

_DEVICES = CHARACTER + BLOCK


@dataclass(frozen=True, eq=False)
class Table:
    """All entries. The constructor trusts its caller; what comes from elsewhere goes through `decoding`."""

    kinds: bytes
    names: bytes
    children: Sequence[int]
    looks: tuple[Look, ...]
    """The different looks there are, in the order of their first use."""
    look_numbers: Sequence[int]
    mtimes: Sequence[int]
    """In ns since the epoch."""
    sizes: Sequence[int]
    firsts: Sequence[int]
    """The entry that a hard link is another name of."""
    targets: bytes
    """What symbolic links say."""
    devices: Sequence[int]
    """Major and minor number."""
    extents: Mapping[int, Sequence[int]]
    """By number of a regular file that has holes: where it has data."""

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, number: int) -> Entry:
        """Entry `number`; IndexError where there is none. It is made anew for each who asks."""
        kind = self.kind(number)
        size, target, device = 0, b"", (0, 0)
        if kind == FILE:
            size = self.sizes[self.file_number(number)]
        elif kind == LINK:
            target = self.target(number)
        elif kind == HARD_LINK:
            target = self.path(self.first(number))
        elif kind in _DEVICES:
            device = self.device(number)
        return Entry(self.path(number), kind, self.look(number), self.mtimes[number], size, target, device)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.__getitem__, range(len(self)))

    # One property of an entry.

    def kind(self, number: int) -> str:
        if number < 0:
            raise IndexError(f"entry {number}")
        return chr(self.kinds[number])

    def name(self, number: int) -> bytes:
        """The last component of an entry's path; b"" for a served directory itself."""
        start = self._name_ends[number] + number
        return self.names[start : self._name_ends[number + 1] + number]

    def path(self, number: int) -> bytes:
        directory = self.directory_of(number)
        return self.directory_path(directory) + self.name(number) if directory > 0 else self.name(number)

    def are_of(self, kinds: str, numbers: range) -> bytes:
        """By entry, of those that follow one another: 1 for one of these kinds, 0 for another."""
        return self.kinds[numbers.start : numbers.stop].translate(bytes(chr(byte) in kinds for byte in range(256)))

    def look(self, number: int) -> Look:
        return self.looks[self.look_numbers[number]]

    def target(self, number: int) -> bytes:
        """What symbolic link `number` says."""
        link = bisect_left(self.links, number)
        start, end = self._target_ends[link] + link, self._target_ends[link + 1] + link
        return self.targets[start:end]

    def first(self, number: int) -> int:
        """The entry that hard link `number` is another name of; any other entry is its own first name."""
        if self.kinds[number] != ord(HARD_LINK):
            return number
        return self.firsts[bisect_left(self.hard_links, number)]

    def device(self, number: int) -> tuple[int, int]:
        """Major and minor number of device `number`."""
        index = 2 * bisect_left(self._positions(_DEVICES), number)
        return self.devices[index], self.devices[index + 1]

    def file_number(self, number: int) -> int:
        """The layout's number of the regular file that is entry `number`. Another kind of entry raises ValueError."""
        if self.kind(number) != FILE:
            raise ValueError(f"entry {number} is not a regular file")
        return bisect_left(self.files, number)

    # The tree.

    def directory_of(self, number: int) -> int:
        """The number, among the directories, of the one that an entry is in; -1 for entry 0."""
        return bisect_right(self.starts, number) - 1

    def directory_path(self, directory: int) -> bytes:
        """The path of a directory (by its number among these), with a slash at its end; b"" for the served one."""
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

    def listing(self, directory: int) -> range:
        """The entries in a directory (by its number among these)."""
        return range(self.starts[directory], self.starts[directory + 1])

    def names_in(self, numbers: range) -> list[bytes]:
        """The names of entries that follow one another."""
        ends = self._name_ends
        names = self.names[ends[numbers.start] + numbers.start : ends[numbers.stop] + numbers.stop]
        return names.split(b"\0")[:-1]

    def find(self, path: bytes) -> int | None:
        """The entry with this path."""
        if not path or (self.kind(0) != DIRECTORY and path == self.name(0)):
            return 0 if self.name(0) == path else None
        number = 0
        for name in path.split(b"/"):
            if self.kind(number) != DIRECTORY:
                return None
            entries = self.children_of(number)
            number = bisect_left(entries, name, key=self.name) + entries.start
            if number == entries.stop or self.name(number) != name:
                return None
        return number

    def children_of(self, number: int) -> range:
        """The entries directly in the directory that is entry `number`."""
        return self.listing(bisect_left(self.directories, number))

    def subtree(self, number: int) -> Iterator[range]:
        """An entry and all that is below it, one run for each level."""
        level = range(number, number + 1)
        while level:
            yield level
            first = bisect_left(self.directories, level.start)
            end = bisect_left(self.directories, level.stop)
            level = range(self.starts[first], self.starts[end])

    # What follows from the columns, once it is needed.

    @cached_property
    def directories(self) -> array[int]:
        """The entries that are directories, as all of the following are of a kind, rising."""
        return self._positions(DIRECTORY)

    @cached_property
    def files(self) -> array[int]:
        """By file number, as the layout counts them."""
        return self._positions(FILE)

    @cached_property
    def links(self) -> array[int]:
        return self._positions(LINK)

    @cached_property
    def hard_links(self) -> array[int]:
        return self._positions(HARD_LINK)

    @cached_property
    def starts(self) -> array[int]:
        """By directory: its first entry; at the end, how many entries there are."""
        return array("Q", accumulate(self.children, initial=1))

    @cached_property
    def layout(self) -> Layout:
        checksums = self._checksums()
        return Layout(self.sizes, array("I", map(checksums.__getitem__, self.files)), self.extents)

    def _positions(self, kinds: str) -> array[int]:
        return array("I", compress(count(), self.are_of(kinds, range(len(self)))))

    @cached_property
    def _name_ends(self) -> array[int]:
        """Where each name ends, NULs not counted, after a 0."""
        return _ends(self.names)

    @cached_property
    def _target_ends(self) -> array[int]:
        return _ends(self.targets)

    @cached_property
    def _last_path(self) -> tuple[int, bytes]:
        """The path asked for last: most often the next one is in the same directory."""
        return 0, b""

    def _checksums(self) -> array[int]:
        """The CRC-32 of each entry's path, from those of the directories."""
        names = self.names.split(b"\0")
        checksums = array("I", [crc32(names[0])])
        for directory, number in enumerate(self.directories):
            above = crc32(b"/", checksums[number]) if directory else 0
            listing = self.listing(directory)
            checksums.extend(map(crc32, names[listing.start : listing.stop], repeat(above)))
        return checksums


def _ends(names: bytes) -> array[int]:
    return array("Q", accumulate(map(len, names.split(b"\0")[:-1]), initial=0))


class TableBuilder:
    """Makes a table of entries that are added in its order: all of a directory's together, sorted by name."""

    def __init__(self) -> None:
        self._kinds = bytearray()
        self._names: list[bytes] = []
        self._children = array("I")
        self._looks: dict[Look, int] = {}
        self._look_numbers = array("I")
        self._mtimes = array("q")
        self._sizes = array("Q")
        self._firsts = array("I")
        self._targets: list[bytes] = []
        self._devices = array("I")
        self._extents: dict[int, Sequence[int]] = {}

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, kind: str, name: bytes, look: Look, mtime_ns: int) -> None:
        """Adds an entry; what its kind has beyond that is added right after it."""
        self._kinds.append(ord(kind))
        self._names.append(name)
        self._look_numbers.append(self._looks.setdefault(look, len(self._looks)))
        self._mtimes.append(mtime_ns)

    def add_again(self, name: bytes, first: int) -> None:
        """Adds another name of an earlier entry."""
        self._kinds.append(ord(HARD_LINK))
        self._names.append(name)
        self._look_numbers.append(self._look_numbers[first])
        self._mtimes.append(self._mtimes[first])
        self._firsts.append(first)

    def add_file(self, size: int, extents: Sequence[int] | None) -> None:
        if extents is not None:
            self._extents[len(self._sizes)] = extents
        self._sizes.append(size)

    def add_target(self, target: bytes) -> None:
        self._targets.append(target)

    def add_device(self, major: int, minor: int) -> None:
        self._devices.extend((major, minor))

    def end_directory(self, entries: int) -> None:
        """The last so many entries are all that are in the next directory, in the order of directories."""
        self._children.append(entries)

    def table(self) -> Table:
        return Table(
            bytes(self._kinds),
            _joined(self._names),
            self._children,
            tuple(self._looks),
            self._look_numbers,
            self._mtimes,
            self._sizes,
            self._firsts,
            _joined(self._targets),
            self._devices,
            self._extents,
        )


def _joined(names: list[bytes]) -> bytes:
    return b"\0".join(chain(names, (b"",)))

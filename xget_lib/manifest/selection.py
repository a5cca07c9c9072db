"""Which entries of a manifest a client selected, and the destination path of each.

A source is a path below the directory that the master serves. It keeps its last component: `a/b/file1` goes to `file1`,
a directory `a/b` goes to `b` with everything below it, and `.` goes to the destination itself. If `current` is a link
to the directory `a/b`, `current` goes to `current` as a link, and `current/` as what is in `a/b`. The parent of every
selected entry is selected too or is the destination, so no other directory has to be made.

A file with several names (hard links) is made once. If its first name is not selected, the first selected name is made
as the file, and the others are links to it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from xget_lib.errors import UsageError, printable
from xget_lib.manifest.entry import FILE, LINK, joined
from xget_lib.manifest.manifest import Manifest, Omitted
from xget_lib.manifest.patterns import NO_PATTERNS, Patterns
from xget_lib.manifest.slices import slices
from xget_lib.manifest.sources import find_source, normalise_source

STAGING = b".xget"
"""The name in the destination that XGet uses during a download."""
SERIAL = b"serial"
"""The name in it that stays afterwards (`download.serial`)."""


class Siblings(NamedTuple):
    """Regular files in one directory, each with only one name: they can be handled together."""

    directory: bytes
    """Its destination path."""
    files: list[int]
    """File numbers, rising."""
    names: list[bytes]
    """The name of each."""

    def dest_path(self, index: int) -> bytes:
        return joined(self.directory, self.names[index])

    def subset(self, indices: Sequence[int]) -> Siblings:
        return Siblings(self.directory, [self.files[i] for i in indices], [self.names[i] for i in indices])


class Selection:
    """The entries that a client selected, by entry number; regular files also by file number.

    A destination path is relative to the destination, which is b"".
    """

    def __init__(
        self,
        manifest: Manifest,
        sources: Mapping[bytes, int],
        left_out: Collection[int] = (),
        exclude: Patterns = NO_PATTERNS,
    ) -> None:
        """`sources` are entries by their destination path, which is a name; none of them is below another. `left_out`:
        entries below them, or among them, that are not selected, with all below them. `exclude`: as `protects`."""
        entries = self._entries = manifest.entries
        self._manifest = manifest
        self._omitted = manifest.omitted
        self._sources = dict(sources)
        self._left_out = frozenset(left_out)
        self._exclude = exclude
        runs = sorted(
            (run.start, run.stop, name) for name, number in sources.items() for run in entries.subtree(number)
        )
        if left_out:
            holes = sorted((run.start, run.stop) for number in left_out for run in entries.subtree(number))
            runs = [(*part, name) for start, stop, name in runs for part in _without((start, stop), holes)]
        self.runs = [range(start, stop) for start, stop, _ in runs]
        """The selected entries as ranges of consecutive entries, rising."""
        self._starts = [start for start, _, _ in runs]
        self._names = [name for _, _, name in runs]  # of each run: the destination path of its source
        self._above = {name: len(joined(entries.path(number), b"")) for name, number in sources.items()}
        """By destination path of a source: how many bytes of the path of an entry come before the part below it."""
        self.link_groups = self._group_links()
        """All selected names, rising, of each file with a selected name that is a hard link. Entry numbers; the key is
        the first name in the table, selected or not. The first in the list is made as the file, the others as links."""

    def _group_links(self) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = {}
        for number in self._entries.hard_links:
            if number in self:
                first = self._entries.first_name(number)
                groups.setdefault(first, [first] if first in self else []).append(number)
        return groups

    def __contains__(self, number: int) -> bool:
        run = bisect_right(self._starts, number) - 1
        return run >= 0 and number in self.runs[run]

    def without(self, entries: Collection[int], exclude: Patterns | None = None) -> Selection:
        """The same selection without these entries and all below them. `exclude`: patterns, if they are others now."""
        left_out = self._left_out.union(entries)
        return Selection(self._manifest, self._sources, left_out, self._exclude if exclude is None else exclude)

    def protects(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether what is at a destination path stays as it is, since a pattern excludes it."""
        return self._exclude.exclude(path, is_directory=is_directory)

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def sources(self) -> Mapping[bytes, int]:
        """The entries that were asked for, by destination path."""
        return self._sources

    @property
    def whole(self) -> bool:
        """Whether the destination itself is to become a copy of the served directory."""
        return b"" in self._sources

    def dest_path(self, number: int) -> bytes:
        """The destination path of a selected entry."""
        run = bisect_right(self._starts, number) - 1
        name = self._names[run]
        below = self._entries.path(number)[self._above[name] :]
        return joined(name, below) if below else name

    def of_kind(self, kinds: str) -> Iterator[int]:
        """The selected entries of these kinds, rising. A hard link that is made as the file counts as the file."""
        made = {names[0] for first, names in self.link_groups.items() if self._entries.kind(first) in kinds}
        for run in self.runs:
            for number, is_one in zip(run, self._entries.kind_mask(kinds, run), strict=True):
                if is_one or number in made:
                    yield number

    # The regular files among them, by file number.

    @cached_property
    def files(self) -> array[int]:
        """The files of which the content is needed, rising."""
        numbers = self._entries.files
        files = array("I")
        for run in self.runs:
            for part in slices(range(bisect_left(numbers, run.start), bisect_left(numbers, run.stop))):
                files.extend(part)
        linked = [first for first in self.link_groups if first not in self and self._entries.kind(first) == FILE]
        if linked:
            files = array("I", sorted([*files, *map(self._entries.file_number, linked)]))
        return files

    @cached_property
    def _has(self) -> bytearray:
        has = bytearray(len(self._entries.files))
        for file in self.files:
            has[file] = 1
        return has

    def has_file(self, file: int) -> bool:
        """Whether the content of a file is needed."""
        return bool(self._has[file])

    def file_dest_path(self, file: int) -> bytes:
        """The destination path at which a file is made."""
        first = self._entries.files[file]
        return self.dest_path(self.link_groups[first][0] if first in self.link_groups else first)

    @property
    def file_dest_paths(self) -> Iterator[tuple[int, bytes]]:
        """Each of `files` with its file_dest_path."""
        return ((file, self.file_dest_path(file)) for file in self.files)

    def other_dest_paths(self, file: int) -> list[bytes]:
        """The destination paths at which links to a file are made."""
        return [self.dest_path(number) for number in self.link_groups.get(self._entries.files[file], ())[1:]]

    def use_next_name(self, file: int) -> bool:
        """Leaves out the first of a file's names, which the destination does not take: from now on the next one is made
        as the file. Returns False where there is no other."""
        names = self.link_groups.get(self._entries.files[file], [])
        if len(names) < 2:
            return False
        del names[0]
        return True

    def siblings(self, files: Sequence[int]) -> tuple[list[Siblings], list[int]]:
        """Groups files (rising) by directory. Those with several names are in no group but in the second result."""
        numbers = self._entries.files
        groups: list[Siblings] = []
        others: list[int] = []
        end = 0
        for file in files:
            number = numbers[file]
            if number in self.link_groups:
                others.append(file)
                continue
            if number >= end:
                directory = self._entries.directory_of(number)
                end = self._entries.starts[directory + 1]
                groups.append(Siblings(self.dest_path(number).rpartition(b"/")[0], [], []))
            groups[-1].files.append(file)
            groups[-1].names.append(self._entries.name(number))
        return groups, others

    @cached_property
    def omitted(self) -> tuple[Omitted, ...]:
        """What is below the sources and not in the manifest."""
        if 0 in self._sources.values():
            return self._omitted
        sources = tuple(self._entries.path(number) + b"/" for number in self._sources.values())
        return tuple(each for each in self._omitted if (each.path + b"/").startswith(sources))

    @property
    def links(self) -> list[tuple[bytes, bytes]]:
        """Name and target of each source that is a symbolic link itself."""
        entries = self._entries
        firsts = [(name, entries.first_name(number)) for name, number in self._sources.items()]
        return [(name, entries.target(first)) for name, first in firsts if entries.kind(first) == LINK]

    @cached_property
    def size(self) -> int:
        """Bytes of content, holes included."""
        return sum(sum(map(self._entries.sizes.__getitem__, part)) for part in slices(self.files))

    # What a child server shows of it.

    def has_dest_path(self, path: bytes) -> bool:
        """Whether `path` is the destination itself or the destination path of a selected entry."""
        return not path or self.entry_at(path) is not None

    def entry_at(self, path: bytes) -> int | None:
        """The selected entry with a destination path below the destination; None if there is none."""
        if not self.whole:
            name, slash, below = path.partition(b"/")
            if name not in self._sources or (slash and not below):
                return None
            source = self._entries.path(self._sources[name])
            path = joined(source, below) if below else source
        number = self._entries.find(path)
        return number if number is not None and number in self else None

    def visible(self) -> bytes | None:
        """By entry: 1 for each that is selected or above a selected one in the served directory. None: all are."""
        if 0 in self._sources.values() and not self._left_out:
            return None
        visible = bytearray(len(self._entries))
        for run in self.runs:
            visible[run.start : run.stop] = b"\1" * len(run)
        for number in self._sources.values():
            while number:
                visible[number] = 1
                number = self._entries.directories[self._entries.directory_of(number)]
        visible[0] = 1
        return bytes(visible)


def _without(run: tuple[int, int], holes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of a range (start, stop) without these ranges, which rise and do not overlap."""
    start, stop = run
    for first, end in holes:
        if end <= start or first >= stop:
            continue
        if start < first:
            yield start, first
        start = end
    if start < stop:
        yield start, stop


def select(manifest: Manifest, sources: Sequence[bytes]) -> Selection:
    """Finds the sources in the manifest.

    Raises NotServed if a source is not there, and UsageError if two sources would have the same destination path,
    an entry would have two, or one would be where XGet keeps its temporary data.
    """
    if not sources:
        raise UsageError("no source given (use . for everything)")
    asked: dict[int, _Asked] = {}
    for source in sources:
        number = find_source(manifest, source)
        # What a link leads to gets the name of the link.
        name = normalise_source(source).rpartition(b"/")[2] or manifest.entries.name(0)
        if name == STAGING or (not name and manifest.entries.find(STAGING) is not None):
            raise UsageError(f"{printable(source)}: the name .xget is reserved for temporary data of XGet")
        former = asked.setdefault(number, _Asked(source, name))
        if former.name != name:
            raise _twice(source, name, former.name)
    by_name: dict[bytes, _Asked] = {}
    selected = {}
    for number, each in sorted(asked.items(), key=lambda item: len(manifest.entries.path(item[0]))):
        if _is_covered(manifest, number, asked):
            continue
        if each.name in by_name:
            former = by_name[each.name]
            raise UsageError(
                f"{printable(each.source)} and {printable(former.source)} would both be copied to"
                f" {printable(each.name)}"
            )
        by_name[each.name] = each
        selected[each.name] = number
    return Selection(manifest, selected)


class _Asked(NamedTuple):
    source: bytes
    """As it was given."""
    name: bytes
    """Its destination path."""


def _is_covered(manifest: Manifest, number: int, asked: Mapping[int, _Asked]) -> bool:
    """Whether another source contains this one, at the same destination path. At another it raises UsageError."""
    entries = manifest.entries
    path = entries.path(number)
    for above, each in asked.items():
        prefix = entries.path(above) + b"/" if above else b""
        if above != number and path.startswith(prefix):
            as_part = joined(each.name, path[len(prefix) :])
            if as_part == asked[number].name:
                return True
            raise _twice(asked[number].source, asked[number].name, as_part)
    return False


def _twice(source: bytes, name: bytes, other: bytes) -> UsageError:
    first, second = (printable(each or b".") for each in (name, other))
    return UsageError(f"{printable(source)}: would be copied to {first} and to {second} (name it once)")

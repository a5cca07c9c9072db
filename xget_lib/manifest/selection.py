"""Which entries of a manifest were asked for, and where each lands below the destination.

Sources are paths below what the master serves. A source keeps its last name: `a/b/file1` lands as `file1`, a
directory `a/b` as `b` with all that is below it; `.` lands as the destination itself. Whatever is selected has its
parent directory selected too, or lies directly in the destination, so nothing else ever has to be made.

What has several names (hard links) is made once. If its first name was not asked for, the first name that was takes
its place, and the rest are links to that one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from xget_lib.errors import NotServed, UsageError, printable
from xget_lib.manifest.entry import FILE, Entry, joined
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import Manifest, Omitted

STAGING = b".xget"  # the name in the destination that is XGet's own while a download lasts


class Siblings(NamedTuple):
    """Regular files that have one name each, in one directory. `files` are their numbers in the layout, rising."""

    directory: bytes
    """Where they land."""
    files: list[int]
    names: list[bytes]

    def landing(self, index: int) -> bytes:
        return joined(self.directory, self.names[index])

    def of(self, indices: Sequence[int]) -> Siblings:
        """Some of them."""
        return Siblings(self.directory, [self.files[i] for i in indices], [self.names[i] for i in indices])


class Selection:
    """What was asked for. Entries are meant by their numbers; paths are relative to the destination, which is b""."""

    def __init__(self, manifest: Manifest, sources: Sequence[int]) -> None:
        """`sources` are entries of which none is below another."""
        self._entries = manifest.entries
        self._omitted = manifest.omitted
        self._sources = {self._landing_of_source(number): number for number in sources}
        runs = sorted((run.start, run.stop, number) for number in sources for run in self._entries.subtree(number))
        self.runs = [range(start, stop) for start, stop, _ in runs]
        """The selected entries, rising."""
        self._starts = [start for start, _, _ in runs]
        self._strips = [len(self._entries.path(number)) - len(self._landing_of_source(number)) for _, _, number in runs]
        self.names = self._group_names()
        """By entry: all selected names, rising, of what has this for its first name, where any of them is a hard link.
        The first of them is to be made, the others are links to it."""

    def _landing_of_source(self, number: int) -> bytes:
        return self._entries.name(number)

    def _group_names(self) -> dict[int, list[int]]:
        names: dict[int, list[int]] = {}
        for number in self._entries.hard_links:
            if number in self:
                first = self._entries.first(number)
                names.setdefault(first, [first] if first in self else []).append(number)
        return names

    def __contains__(self, number: int) -> bool:
        run = bisect_right(self._starts, number) - 1
        return run >= 0 and number in self.runs[run]

    @property
    def whole(self) -> bool:
        """Whether the destination itself is to be like the served directory."""
        return b"" in self._sources

    def landing(self, number: int) -> bytes:
        """Where a selected entry lands."""
        run = bisect_right(self._starts, number) - 1
        return self._entries.path(number)[self._strips[run] :]

    def of_kind(self, kinds: str) -> Iterator[int]:
        """The selected entries of these kinds, rising. A hard link that is to be made first is of its first name's."""
        made = {names[0] for first, names in self.names.items() if self._entries.kind(first) in kinds}
        for run in self.runs:
            for number, is_one in zip(run, self._entries.are_of(kinds, run), strict=True):
                if is_one or number in made:
                    yield number

    def entries_of(self, kinds: str) -> Iterator[tuple[bytes, Entry]]:
        """As of_kind: where each lands, and what it is."""
        for number in self.of_kind(kinds):
            yield self.landing(number), self._entries[number]

    # The regular files among them, by their numbers in the layout.

    @cached_property
    def files(self) -> array[int]:
        """Those of which the content is to be there, rising."""
        numbers = self._entries.files
        files = array("I")
        for run in self.runs:
            files.extend(range(bisect_left(numbers, run.start), bisect_left(numbers, run.stop)))
        elsewhere = [first for first in self.names if first not in self and self._entries.kind(first) == FILE]
        if elsewhere:
            files = array("I", sorted([*files, *map(self._entries.file_number, elsewhere)]))
        return files

    @cached_property
    def _has(self) -> bytearray:
        has = bytearray(len(self._entries.files))
        for file in self.files:
            has[file] = 1
        return has

    def has(self, file: int) -> bool:
        """Whether the content of a file was asked for."""
        return bool(self._has[file])

    def place(self, file: int) -> bytes:
        """Where the content of a file lands."""
        first = self._entries.files[file]
        return self.landing(self.names[first][0] if first in self.names else first)

    @property
    def places(self) -> Iterator[tuple[int, bytes]]:
        """Each of the files, and where its content lands."""
        return ((file, self.place(file)) for file in self.files)

    def siblings(self, files: Sequence[int]) -> tuple[list[Siblings], list[int]]:
        """Of files (rising): those with one name, by the directory that they are in; and the others."""
        numbers = self._entries.files
        groups: list[Siblings] = []
        others: list[int] = []
        end = 0
        for file in files:
            number = numbers[file]
            if number in self.names:
                others.append(file)
                continue
            if number >= end:
                directory = self._entries.directory_of(number)
                end = self._entries.starts[directory + 1]
                groups.append(Siblings(self.landing(number).rpartition(b"/")[0], [], []))
            groups[-1].files.append(file)
            groups[-1].names.append(self._entries.name(number))
        return groups, others

    def links(self, file: int) -> list[bytes]:
        """Where further names of a file land."""
        return [self.landing(number) for number in self.names.get(self._entries.files[file], ())[1:]]

    @cached_property
    def omitted(self) -> tuple[Omitted, ...]:
        """What lies below the sources, and is not in the manifest."""
        sources = [self._entries.path(number) + b"/" for number in self._sources.values()]
        if 0 in self._sources.values():
            return self._omitted
        return tuple(each for each in self._omitted if (each.path + b"/").startswith(tuple(sources)))

    @cached_property
    def size(self) -> int:
        """Bytes of content."""
        return sum(map(self._entries.sizes.__getitem__, self.files))

    def piece_runs(self, layout: Layout) -> Iterator[range]:
        """The pieces asked for, as rising ranges that do not touch."""
        first = end = 0
        for file in self.files:
            pieces = layout.file_pieces(file)
            if pieces.start != end:
                if first < end:
                    yield range(first, end)
                first = pieces.start
            end = pieces.stop
        if first < end:
            yield range(first, end)

    # What others see of it.

    def lands(self, path: bytes) -> bool:
        """Whether something that was asked for lands at a path, or it is the destination itself."""
        if not path or self.whole:
            return not path or self._entries.find(path) is not None
        name, slash, below = path.partition(b"/")
        if name not in self._sources:
            return False
        source = self._entries.path(self._sources[name])
        return self._entries.find(source + slash + below) is not None

    def shown(self) -> bytes | None:
        """By entry: 1 for what was asked for and the directories on the way to it, at the master. None: all."""
        if 0 in self._sources.values():
            return None
        shown = bytearray(len(self._entries))
        for run in self.runs:
            shown[run.start : run.stop] = b"\1" * len(run)
        for number in self._sources.values():
            while number:
                shown[number] = 1
                number = self._entries.directories[self._entries.directory_of(number)]
        shown[0] = 1
        return bytes(shown)


def normalised(source: bytes) -> bytes:
    """A source in the manifest's form: `./a//b/` is b"a/b" and `.` is b"". Raises UsageError where it leads outside."""
    names = [name for name in source.split(b"/") if name not in (b"", b".")]
    if not source or b"\0" in source:
        raise UsageError(f"'{printable(source)}': not a path (. is everything)")
    if source.startswith(b"/"):
        raise UsageError(f"{printable(source)}: sources are paths below what the master serves (leave out the first /)")
    if b".." in names:
        raise UsageError(f"{printable(source)}: a source cannot contain ..")
    return b"/".join(names)


def select(manifest: Manifest, sources: Sequence[bytes]) -> Selection:
    """Finds the sources in the manifest and says what lands where.

    A source that is not there raises NotServed. Two sources that would land under one name, one entry that would
    land under two, and anything that would land where XGet keeps its temporary data, raise UsageError.
    """
    if not sources:
        raise UsageError("no source given (. is everything)")
    asked: dict[bytes, int] = {}
    for source in map(normalised, sources):
        number = manifest.find(source) if source else 0
        if number is None:
            raise NotServed(source, next((each.why for each in manifest.unreadable if each.path == source), ""))
        name = manifest.entries.name(number)
        if name == STAGING or (not name and manifest.find(STAGING) is not None):
            raise UsageError(f"{printable(source or STAGING)}: would land where XGet keeps its temporary data")
        asked[source] = number
    landings: dict[bytes, bytes] = {}
    for source in sorted(asked, key=len):
        name = manifest.entries.name(asked[source])
        if _is_covered(source, asked):
            continue
        if name in landings:
            raise UsageError(
                f"{printable(source)}: would land on {printable(name)}, where {printable(landings[name])} already lands"
            )
        landings[name] = source
    return Selection(manifest, [asked[source] for source in landings.values()])


def _is_covered(source: bytes, asked: dict[bytes, int]) -> bool:
    """Whether another source contains this one, at the same landing place. At another it raises UsageError."""
    above = source
    while above:
        above = above.rpartition(b"/")[0]
        if above in asked:
            there = source[above.rfind(b"/") + 1 :]
            landing = source.rpartition(b"/")[2]
            if there == landing:
                return True
            raise UsageError(
                f"{printable(source)}: would land as {printable(landing)}, and also as {printable(there)}"
                " (ask for it once)"
            )
    return False

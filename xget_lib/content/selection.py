"""Which entries of a manifest were asked for, and where each lands below the destination.

Sources are paths below what the master serves. A source keeps its last name: `a/b/file1` lands as `file1`, a
directory `a/b` as `b` with all that is below it; `.` lands as the destination itself. Whatever is selected has its
parent directory selected too, or lies directly in the destination, so nothing else ever has to be made.

A file with several names (hard links) has its content once. If its first name was not asked for, the first name
that was takes the content, and the rest are links to that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from xget_lib.content.layout import Layout
from xget_lib.content.manifest import Manifest
from xget_lib.errors import NotServed, UsageError, printable

WORKPLACE = b".xget"  # the name in the destination that is XGet's own while a download lasts


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for. Paths are relative to the destination, which itself is b""."""

    paths: tuple[bytes | None, ...]  # by entry number: where it lands; None: not asked for
    landings: dict[int, bytes]  # by file number (as in Layout): where its content is put; rising
    links: dict[int, tuple[bytes, ...]] = field(default_factory=dict)  # by file number: its further names
    size: int = 0  # bytes of content

    def piece_runs(self, layout: Layout) -> Iterator[range]:
        """The pieces asked for, as rising ranges that do not touch."""
        first = end = 0
        for file in self.landings:
            pieces = layout.file_pieces(file)
            if pieces.start != end:
                if first < end:
                    yield range(first, end)
                first = pieces.start
            end = pieces.stop
        if first < end:
            yield range(first, end)

    def shown(self, manifest: Manifest) -> bytes | None:
        """By entry number: 1 for what was asked for and the directories on the way to it, at the master. None: all."""
        if None not in self.paths:
            return None
        shown = bytearray(path is not None for path in self.paths)
        above: list[range] = []
        for number, entry in enumerate(manifest.entries):
            while above and number not in above[-1]:
                above.pop()
            if shown[number]:
                for directory in above:
                    shown[directory.start] = 1
            if entry.kind == "d":
                above.append(manifest.subtree(number))
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
    paths: list[bytes | None] = [None] * len(manifest.entries)
    taken: dict[bytes, int] = {}
    for source in dict.fromkeys(map(normalised, sources)):
        for number, landing in _landings(manifest, source):
            if taken.setdefault(landing, number) != number:
                other = manifest.entries[taken[landing]].path
                raise UsageError(
                    f"{printable(source)}: would land on {printable(landing)}, where {printable(other)} already lands"
                )
            if paths[number] not in (None, landing):
                raise UsageError(
                    f"{printable(source)}: would land as {printable(landing)}, and also as"
                    f" {printable(paths[number] or b'.')} (ask for it once)"
                )
            paths[number] = landing
    return _with_files(manifest, paths)


def _landings(manifest: Manifest, source: bytes) -> Iterator[tuple[int, bytes]]:
    """What a normalised source selects: (entry number, where it lands)."""
    numbers = range(len(manifest.entries))
    if source:
        first = manifest.find(source)
        if first is None:
            raise NotServed(source)
        numbers = manifest.subtree(first)
    strip = source.rfind(b"/") + 1
    for number in numbers:
        landing = manifest.entries[number].path[strip:]
        if landing == WORKPLACE or landing.startswith(WORKPLACE + b"/"):
            raise UsageError(
                f"{printable(manifest.entries[number].path)}: would land where XGet keeps its temporary data"
            )
        yield number, landing


def _with_files(manifest: Manifest, paths: list[bytes | None]) -> Selection:
    """Adds to the landing places of all entries which of them take content, and which are links to those."""
    entries = manifest.entries
    names: dict[bytes, list[bytes]] = {}  # path of the first name in the manifest -> where its names land
    for entry, landing in zip(entries, paths, strict=True):
        if landing is not None and entry.kind in ("f", "h"):
            first = entry.path if entry.kind == "f" else entry.target
            names.setdefault(first, []).append(landing)
    landings = {}
    links = {}
    size = 0
    for file, number in enumerate(manifest.files):
        entry = entries[number]
        if where := names.get(entry.path):
            landings[file] = where[0]
            size += entry.size
            if len(where) > 1:
                links[file] = tuple(where[1:])
    return Selection(tuple(paths), landings, links, size)

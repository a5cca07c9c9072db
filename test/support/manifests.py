"""Makes manifests and layouts from a few entries or files, in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

from xget_lib.manifest.entry import Entry, EntryMetadata
from xget_lib.manifest.index import PART_LIMIT, with_index
from xget_lib.manifest.layout import Layout, piece_count
from xget_lib.manifest.manifest import Manifest, Omitted
from xget_lib.manifest.table import Table
from xget_lib.manifest.table_builder import TableBuilder

DIGEST = bytes(range(32))
PLAIN = EntryMetadata(0o644, 1, 2)
OWN = EntryMetadata(0o755, 0, 0)
MOMENT = 1_700_000_000_123_456_789


def indexed(body: bytes) -> bytes:
    """An encoded manifest with any body, with a right index."""
    return with_index(body, [*range(PART_LIMIT, len(body), PART_LIMIT), len(body)] if body else [])


def entry(path: bytes, kind: str, metadata: EntryMetadata = PLAIN, mtime_ns: int = 7, **fields: object) -> Entry:
    return Entry(path, kind, metadata, mtime_ns, **fields)  # type: ignore[arg-type]  # what the caller says they are


def root(metadata: EntryMetadata = OWN, mtime_ns: int = MOMENT) -> Entry:
    return Entry(b"", "d", metadata, mtime_ns)


def directory(path: bytes) -> Entry:
    return entry(path, "d")


def file(path: bytes, size: int = 5, metadata: EntryMetadata = PLAIN, mtime_ns: int = 7) -> Entry:
    return entry(path, "f", metadata, mtime_ns, size=size)


def link(path: bytes, target: bytes) -> Entry:
    return entry(path, "l", target=target)


def hard_link(path: bytes, target: bytes) -> Entry:
    """It gets the metadata of its target, which must be among the entries."""
    return entry(path, "h", target=target)


def table(entries: Iterable[Entry], extents: Mapping[bytes, Sequence[int]] | None = None) -> Table:
    """The entries in the order of a table; `extents` by path."""
    by_path = {each.path: each for each in entries}
    below: dict[bytes, list[Entry]] = {}
    for path in sorted(by_path):
        if path:
            below.setdefault(path.rpartition(b"/")[0], []).append(by_path[path])
    builder = TableBuilder()
    numbers: dict[bytes, int] = {}

    def add(each: Entry) -> None:
        number = len(builder)
        name = each.path.rpartition(b"/")[2]
        if each.kind == "h":
            builder.add_hard_link(name, numbers[each.target])
            return
        builder.add(each.kind, name, each.metadata, each.mtime_ns)
        numbers[each.path] = number
        if each.kind == "f":
            builder.add_size(each.size, (extents or {}).get(each.path))
        elif each.kind == "l":
            builder.add_target(each.target)
        elif each.kind in "cb":
            builder.add_device(*each.device)

    if b"" not in by_path:
        add(*by_path.values())
        return builder.table()
    add(by_path[b""])
    unvisited = [b""]
    while unvisited:
        path = unvisited.pop(0)
        listing = sorted(below.get(path, []), key=lambda each: each.path)
        for each in listing:
            add(each)
        builder.end_directory(len(listing))
        unvisited += [each.path for each in listing if each.kind == "d"]
    return builder.table()


def manifest(
    *entries: Entry,
    users: Mapping[int, str] | None = None,
    groups: Mapping[int, str] | None = None,
    extents: Mapping[bytes, Sequence[int]] | None = None,
    digests: bytes | None = None,
    omitted: Sequence[Omitted] = (),
) -> Manifest:
    """A manifest of these entries, in which every piece has the digest DIGEST where no others are given."""
    made = table(entries, extents)
    if digests is None:
        digests = DIGEST * sum(piece_count(size, made.extents.get(number)) for number, size in enumerate(made.sizes))
    return Manifest(made, digests, users or {}, groups or {}, tuple(omitted))


def nested(depth: int) -> Manifest:
    """Directories in each other, so many."""
    zeros = [0] * (depth + 1)
    children = [1] * depth + [0]
    made = Table(b"d" * (depth + 1), b"\0" + b"n\0" * depth, children, (PLAIN,), zeros, zeros, [], [], b"", [], {})
    return Manifest(made, b"", {}, {})


def chunk_range(layout: Layout, chunk: int) -> tuple[int, int]:
    """The range of the stream that is a chunk: (offset, length)."""
    pieces = layout.chunk_pieces(chunk)
    first, last = layout.piece(pieces[0]), layout.piece(pieces[-1])
    return first.stream_offset, last.stream_offset + last.length - first.stream_offset


def layout(files: Sequence[tuple[bytes, int]], extents: Mapping[int, Sequence[int]] | None = None) -> Layout:
    """The layout of files with these paths and sizes."""
    return Layout([size for _, size in files], [crc32(path) for path, _ in files], extents)

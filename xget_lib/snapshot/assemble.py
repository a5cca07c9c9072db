"""Makes the manifest of a scan and its digests, without the files that could not be read."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

from xget_lib.dataclass import replace
from xget_lib.errors import PathRefused
from xget_lib.manifest.acl import owner_ids
from xget_lib.manifest.entry import BLOCK, CHARACTER, DIRECTORY, FILE, HARD_LINK, LINK
from xget_lib.manifest.manifest import DIGEST_SIZE, OMITTED_LIMIT, Manifest, Omitted
from xget_lib.manifest.table import Table
from xget_lib.manifest.table_builder import TableBuilder
from xget_lib.snapshot.scan import Scan


def assemble(scan: Scan, digests: bytes) -> Manifest:
    """The manifest of a scan with the digests of all its pieces, in order."""
    pieces = scan.layout.piece_count
    if len(digests) != pieces * DIGEST_SIZE:
        raise ValueError(f"{len(digests)} bytes of digests for {pieces} pieces")
    outline = scan.outline
    return Manifest(scan.entries, digests, outline.users, outline.groups, outline.omitted)


def without_unreadable(scan: Scan, digests: bytes, unreadable: Mapping[int, str]) -> tuple[Scan, bytes]:
    """The scan and its digests without the files that cannot be read: file number -> why. They become `omitted`.

    Raises PathRefused if the only file cannot be read.
    """
    if not unreadable:
        return scan, digests
    if scan.location:
        raise PathRefused(scan.location, unreadable[0])
    entries, layout, outline = scan.entries, scan.layout, scan.outline
    why = {entries.files[file]: reason for file, reason in unreadable.items()}
    why |= {link: why[first] for link in entries.hard_links if (first := entries.first_name(link)) in why}
    kept = [file for file in range(layout.file_count) if file not in unreadable]
    stamps = array("q", (word for file in kept for word in scan.stamp(file)))
    pieces = map(layout.file_pieces, kept)
    digests = b"".join(digests[each.start * DIGEST_SIZE : each.stop * DIGEST_SIZE] for each in pieces)
    table = _without(entries, why)
    uids, gids = owner_ids(table.distinct_metadata)
    omitted = [*outline.omitted, *(Omitted(entries.path(number), reason) for number, reason in why.items())]
    left = Manifest(
        table,
        b"",
        {number: name for number, name in outline.users.items() if number in uids},
        {number: name for number, name in outline.groups.items() if number in gids},
        tuple(sorted(omitted, key=lambda each: each.path)[:OMITTED_LIMIT]),
    )
    return replace(scan, outline=left, stamps=stamps), digests


def _without(entries: Table, excluded: Mapping[int, str]) -> Table:
    """The table without some entries, none of them a directory."""
    builder = TableBuilder()
    new_numbers: dict[int, int] = {}
    builder.add(DIRECTORY, b"", entries.metadata(0), entries.mtimes[0])
    for directory in range(len(entries.directories)):
        before = len(builder)
        for number in entries.entries_in(directory):
            if number not in excluded:
                new_numbers[number] = len(builder)
                _copy(entries, number, builder, new_numbers)
        builder.end_directory(len(builder) - before)
    return builder.table()


def _copy(entries: Table, number: int, builder: TableBuilder, new_numbers: Mapping[int, int]) -> None:
    kind, name = entries.kind(number), entries.name(number)
    if kind == HARD_LINK:
        builder.add_hard_link(name, new_numbers[entries.first_name(number)])
        return
    builder.add(kind, name, entries.metadata(number), entries.mtimes[number])
    if kind == FILE:
        file = entries.file_number(number)
        builder.add_size(entries.sizes[file], entries.extents.get(file))
    elif kind == LINK:
        builder.add_target(entries.target(number))
    elif kind in (CHARACTER, BLOCK):
        builder.add_device(*entries.device(number))

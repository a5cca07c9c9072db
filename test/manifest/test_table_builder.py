"""Building tables entry by entry."""

from __future__ import annotations

from test.support.manifests import (
    PLAIN,
)
from xget_lib.manifest.entry import Entry, EntryMetadata
from xget_lib.manifest.table_builder import TableBuilder


def test_what_is_added_is_in_the_table_in_its_order() -> None:
    other = EntryMetadata(0o600, 3, 4)
    builder = TableBuilder()
    builder.add("d", b"", PLAIN, 1)
    builder.add("f", b"a", other, 2)
    builder.add_size(9000, [0, 4096])
    builder.add_hard_link(b"b", 1)
    builder.add("b", b"c", PLAIN, 3)
    builder.add_device(8, 1)
    builder.add("d", b"d", PLAIN, 4)
    builder.end_directory(4)
    builder.add("l", b"e", other, 5)
    builder.add_target(b"target")
    builder.end_directory(1)
    assert len(builder) == 6
    made = builder.table()
    assert list(made) == [
        Entry(b"", "d", PLAIN, 1),
        Entry(b"a", "f", other, 2, size=9000),
        Entry(b"b", "h", other, 2, target=b"a"),
        Entry(b"c", "b", PLAIN, 3, device=(8, 1)),
        Entry(b"d", "d", PLAIN, 4),
        Entry(b"d/e", "l", other, 5, target=b"target"),
    ]
    assert made.extents == {0: [0, 4096]}
    assert made.distinct_metadata == (PLAIN, other)

"""Tables: entries are found by path, and their numbers are those of the layout."""

from __future__ import annotations

from hypothesis import given

from test.support.example_manifests import SINGLE, SMALL, manifests
from xget_lib.manifest.manifest import Manifest


def test_finds_entries_by_path() -> None:
    for number, each in enumerate(SMALL.entries):
        assert SMALL.entries.find(each.path) == number
    for path in (b"b", b"a/", b"a/c", b"/", b"\xff\xff", b"a/b/c", b"a//b"):
        assert SMALL.entries.find(path) is None
    assert (SINGLE.entries.find(b"f"), SINGLE.entries.find(b""), SINGLE.entries.find(b"f/f")) == (0, None, None)


@given(manifests())
def test_subtrees_and_children(tree: Manifest) -> None:
    entries = tree.entries
    for number, each in enumerate(entries):
        prefix = each.path + b"/" if each.path else b""
        below = [
            other
            for other, candidate in enumerate(entries)
            if other != number and candidate.path.startswith(prefix) and each.kind == "d"
        ]
        assert sorted(other for run in entries.subtree(number) for other in run) == sorted([number, *below])
        if each.kind == "d":
            children = [other for other in below if b"/" not in entries[other].path[len(prefix) :]]
            assert list(entries.children_of(number)) == children
            assert entries.names_in(entries.children_of(number)) == [entries.name(child) for child in children]

"""Manifests: one content has one encoding and one generation."""

from __future__ import annotations

import os

import pytest
from hypothesis import given

from test.support.example_manifests import ACL, SINGLE, SMALL, manifests
from test.support.manifests import (
    DIGEST,
    directory,
    entry,
    file,
    link,
    manifest,
    root,
)
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.entry import EntryMetadata
from xget_lib.manifest.index import Index
from xget_lib.manifest.manifest import DIGEST_SIZE, Manifest, Omitted


@given(manifests())
def test_every_manifest_comes_back_from_its_encoding(original: Manifest) -> None:
    data = original.encode()
    decoded = decode(data)
    assert decoded.encode() == data
    assert list(decoded.entries) == list(original.entries)
    assert (decoded.users, decoded.groups, decoded.omitted) == (
        original.users,
        original.groups,
        original.omitted,
    )
    assert decoded.generation == original.generation == Index.of(data).generation


def test_a_single_file_is_the_only_entry() -> None:
    single = decode(SINGLE.encode())
    assert single.single_file
    assert not SMALL.single_file
    assert single.layout.file_count == 1


def test_files_and_digests_are_numbered_as_the_layout_does() -> None:
    parts = [os.urandom(DIGEST_SIZE) for _ in range(5)]
    tree = manifest(
        root(),
        file(b"a", 130_000),
        directory(b"b"),
        file(b"b/empty", 0),
        file(b"c", 140_000),
        digests=b"".join(parts),
    )
    assert [tree.digest(piece) for piece in range(tree.layout.piece_count)] == parts
    assert [tree.file(number).path for number in range(3)] == [b"a", b"c", b"b/empty"]
    assert [tree.entries.file_number(number) for number in tree.entries.files] == [0, 1, 2]
    with pytest.raises(ValueError, match="not a regular file"):
        tree.entries.file_number(2)


def test_the_generation_changes_with_any_field() -> None:
    sparse = {b"a": (0, 4096)}
    variants = [
        manifest(root(), file(b"a")),
        manifest(root(), file(b"b")),
        manifest(root(), file(b"a", 6)),
        manifest(root(), file(b"a", 5, EntryMetadata(0o600, 1, 2))),
        manifest(root(), file(b"a", 5, EntryMetadata(0o644, 9, 2))),
        manifest(root(), file(b"a", 5, EntryMetadata(0o644, 1, 9))),
        manifest(root(), file(b"a", 5, EntryMetadata(0o644, 1, 2, (ACL,)))),
        manifest(root(), file(b"a", mtime_ns=8)),
        manifest(root(), file(b"a"), digests=DIGEST[::-1]),
        manifest(root(), file(b"a"), users={0: "root"}),
        manifest(root(), file(b"a"), groups={0: "root"}),
        manifest(root(), file(b"a"), omitted=[Omitted(b"b", "x")]),
        manifest(root(), entry(b"a", "p")),
        manifest(root(), entry(b"a", "c", device=(1, 3))),
        manifest(root(), entry(b"a", "c", device=(1, 5))),
        manifest(root(), entry(b"a", "b", device=(1, 3))),
        manifest(root(), link(b"a", b"x")),
        manifest(root(), link(b"a", b"y")),
        manifest(root(), file(b"a", 9000)),
        manifest(root(), file(b"a", 9000), extents=sparse),
        manifest(root(), file(b"a", 9000), extents={b"a": (4096, 4096)}),
    ]
    assert len({each.generation for each in variants}) == len(variants)

"""Manifests that are refused: each has one thing that no master would send."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from test.support.example_manifests import KIB, SMALL
from test.support.manifests import (
    DIGEST,
    PLAIN,
    directory,
    entry,
    file,
    hard_link,
    link,
    manifest,
    root,
)
from xget_lib.errors import MalformedManifest
from xget_lib.manifest import decoding
from xget_lib.manifest.checks import check
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.entry import DEPTH_LIMIT, EntryMetadata
from xget_lib.manifest.manifest import Manifest, Omitted
from xget_lib.manifest.table import Table


def changed(original: Manifest, **columns: Any) -> Manifest:
    """The manifest with other columns in its table."""
    return replace(original, entries=replace(original.entries, **columns))


def named(*names: bytes, kinds: bytes = b"dff", children: tuple[int, ...] = (2,)) -> Manifest:
    """Entries with these names, whatever they are."""
    joined = b"".join(name + b"\0" for name in names)
    size = kinds.count(b"f")
    zeros = [0] * len(kinds)
    made = Table(kinds, joined, children, (PLAIN,), zeros, zeros, [5] * size, [], b"", [], {})
    return Manifest(made, DIGEST * size, {}, {})


def with_xattr(name: bytes, value: bytes) -> Manifest:
    return manifest(root(), file(b"a", 5, EntryMetadata(0o644, 1, 2, ((name, value),))))


TWO_FILES = manifest(root(), file(b"a"), file(b"b"))
LINKED = manifest(root(), directory(b"c"), file(b"d"), link(b"e", b"x"), hard_link(b"f", b"d"), hard_link(b"g", b"d"))
SPARSE = manifest(root(), file(b"a", 300_000), extents={b"a": (4096, 8192, 200 * KIB, 4096)})

HOSTILE: Mapping[str, Manifest] = {
    "no entries": named(kinds=b"", children=()),
    "no root": named(b"a", b"b", kinds=b"ff", children=()),
    "a root and no number of its entries": named(b"", kinds=b"d", children=()),
    "a single directory that is not the root": named(b"a", kinds=b"d", children=(0,)),
    "a single file with entries": named(b"a", b"b", kinds=b"ff", children=(1,)),
    "a single file with a path": named(b"a/b", kinds=b"f", children=()),
    "a single file with a climbing name": named(b"..", kinds=b"f", children=()),
    "a single file that is a dot": named(b".", kinds=b"f", children=()),
    "a single file without a name": named(b"", kinds=b"f", children=()),
    "a single link": named(b"a", kinds=b"l", children=()),
    "a root with a name": named(b"a", b"b", b"c"),
    "a climbing name": named(b"", b"..", b"a"),
    "a dot": named(b"", b".", b"a"),
    "a climbing name at the end": named(b"", b"+", b".."),
    "an absolute name": named(b"", b"/etc", b"a"),
    "an empty name": named(b"", b"", b"a"),
    "a slash in a name": named(b"", b"a/b", b"c"),
    "a name of 256 bytes": named(b"", b"n" * 256, b"o"),
    "names too few": named(b"", b"a"),
    "names too many": named(b"", b"a", b"b", b"c"),
    "a name that does not end": changed(TWO_FILES, names=b"\0a\0b"),
    "twice the same": named(b"", b"a", b"a"),
    "out of order": named(b"", b"b", b"a"),
    "out of order where a directory would end": named(b"", b"b", b"a", b"c", kinds=b"dffd", children=(3, 0)),
    "an unknown kind": named(b"", b"a", b"b", kinds=b"dfx"),
    "a kind that is no letter": named(b"", b"a", b"b", kinds=b"df\xff"),
    "entries too few": named(b"", b"a", b"b", children=(1,)),
    "entries too many": named(b"", b"a", b"b", children=(3,)),
    "numbers of entries too many": named(b"", b"a", b"b", children=(2, 0)),
    "numbers of entries that are huge": named(b"", b"a", b"b", children=((1 << 32) - 1,)),
    "a directory that is in itself": named(b"", b"a", b"b", kinds=b"ddf", children=(0, 2)),
    "a directory that is behind its entries": named(b"", b"a", b"b", kinds=b"dfd", children=(1, 1)),
    "metadata that is not there": changed(TWO_FILES, metadata_numbers=[0, 1, 2]),
    "metadata that no entry has": changed(TWO_FILES, metadata_numbers=[0, 0, 0]),
    "an entry without metadata": changed(TWO_FILES, metadata_numbers=[0, 1]),
    "metadata in another order": changed(TWO_FILES, metadata_numbers=[1, 0, 0]),
    "metadata twice": changed(TWO_FILES, distinct_metadata=(PLAIN, PLAIN)),
    "a mode with the file type": manifest(root(), file(b"a", 5, EntryMetadata(0o100644, 1, 2))),
    "a negative mode": manifest(root(), file(b"a", 5, EntryMetadata(-1, 1, 2))),
    "an owner that chown does not take": manifest(root(), file(b"a", 5, EntryMetadata(0o644, (1 << 32) - 1, 2))),
    "a negative group": manifest(root(), file(b"a", 5, EntryMetadata(0o644, 1, -1))),
    "an extended attribute without a name": with_xattr(b"", b"x"),
    "an extended attribute with a NUL": with_xattr(b"user.\0", b"x"),
    "an extended attribute with a long name": with_xattr(b"user." + b"x" * 251, b"x"),
    "an extended attribute that is too large": with_xattr(b"user.x", bytes(65537)),
    "a time too few": changed(TWO_FILES, mtimes=[0, 0]),
    "a size too few": changed(TWO_FILES, sizes=[5]),
    "a size too many": changed(TWO_FILES, sizes=[5, 5, 5]),
    "a huge size": changed(TWO_FILES, sizes=[5, (1 << 64) - 1]),
    "sizes that are too much together": changed(TWO_FILES, sizes=[1 << 62, 1 << 62]),
    "a digest too few": replace(TWO_FILES, digests=DIGEST),
    "a digest too many": replace(TWO_FILES, digests=DIGEST * 3),
    "half a digest": replace(TWO_FILES, digests=DIGEST + DIGEST[:16]),
    "a symbolic link to nothing": manifest(root(), link(b"a", b"")),
    "a symbolic link that is too long": manifest(root(), link(b"a", b"x" * 4096)),
    "a target too many": changed(TWO_FILES, targets=b"x\0"),
    "a target too few": changed(LINKED, targets=b""),
    "a first name too few": changed(LINKED, first_names=[2]),
    "a hard link to itself": changed(LINKED, first_names=[4, 2]),
    "a hard link to a directory": changed(LINKED, first_names=[1, 2]),
    "a hard link to a hard link": changed(LINKED, first_names=[2, 4]),
    "a hard link with another time": changed(LINKED, mtimes=[0, 0, 7, 0, 7, 8]),
    "a hard link with other permissions": changed(LINKED, metadata_numbers=[0, 1, 1, 1, 1, 0]),
    "a device without numbers": changed(manifest(root(), entry(b"a", "c")), devices=[]),
    "numbers of no device": changed(TWO_FILES, devices=[1, 3]),
    "holes in what is no file": changed(SPARSE, extents={1: (4096, 8192)}),
    "an extent beyond the end": changed(SPARSE, extents={0: (4096, 300_000)}),
    "an extent that is not whole blocks": changed(SPARSE, extents={0: (4096, 8191)}),
    "an extent that begins within a block": changed(SPARSE, extents={0: (4095, 4097)}),
    "an extent of nothing": changed(SPARSE, extents={0: (4096, 0)}),
    "extents that touch": changed(SPARSE, extents={0: (4096, 4096, 8192, 4096)}),
    "extents out of order": changed(SPARSE, extents={0: (8192, 4096, 0, 4096)}),
    "an extent beyond 64 bits": changed(SPARSE, extents={0: (4096, (1 << 64) - 4096)}),
    "an extent that is the whole file": replace(changed(SPARSE, extents={0: (0, 300_000)}), digests=DIGEST * 5),
    "more extents than one file may have": changed(
        SPARSE, sizes=[1 << 40], extents={0: [word for n in range(16385) for word in (n * 8192, 4096)]}
    ),
    "a user that owns nothing": manifest(root(), users={5: "nobody"}),
    "a group that owns nothing": manifest(root(), groups={5: "nogroup"}),
    "a user without a name": manifest(root(), users={0: ""}),
    "a user with a line break": manifest(root(), users={0: "a\nb"}),
    "a user with a long name": manifest(root(), users={0: "a" * 257}),
    "unreadable things out of order": manifest(root(), omitted=[Omitted(b"b", "x"), Omitted(b"a", "x")]),
    "an unreadable NUL": manifest(root(), omitted=[Omitted(b"a\0", "x")]),
    "a reason of two lines": manifest(root(), omitted=[Omitted(b"a", "x\ny")]),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refuses(case: str) -> None:
    data = HOSTILE[case].encode()
    with pytest.raises(MalformedManifest, match=r"^invalid manifest: ."):
        decode(data)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("no entries", "no entries"),
        ("a single link", "a: the first entry is not the served directory or file"),
        ("a slash in a name", "/: invalid file name"),
        ("out of order", "names out of order"),
        ("numbers of entries too many", "numbers of entries in the directories are wrong"),
        ("a directory that is in itself", "a directory comes after its entries"),
        ("metadata in another order", "metadata is not in the order of first use"),
        ("metadata twice", "unused or duplicate metadata"),
        ("a symbolic link to nothing", "invalid target of a symbolic link"),
        ("a hard link to itself", "f: the target of a hard link is not an earlier file"),
        ("a hard link with another time", "g: a hard link has other metadata than its file"),
        ("numbers of no device", "number of device numbers is wrong"),
        ("a huge size", "a size exceeds the limit"),
        ("an extent beyond the end", "extents are not in order, or outside the file"),
        ("a digest too few", "number of digests does not match the sizes"),
    ],
)
def test_names_what_is_wrong(case: str, why: str) -> None:
    with pytest.raises(MalformedManifest, match=f"^invalid manifest: .*{why}"):
        check(HOSTILE[case])


@pytest.mark.parametrize("good", [SMALL, TWO_FILES, LINKED, SPARSE, named(b"", b"a", b"b")])
def test_what_the_test_before_changes_is_a_manifest(good: Manifest) -> None:
    check(good)
    assert decode(good.encode()).encode() == good.encode()


def test_a_path_that_is_too_long_is_refused() -> None:
    deepest = 255  # 255 directories of 255 bytes, with their slashes, are 65,279 bytes

    def deep(depth: int) -> Manifest:
        return named(b"", *[b"n" * 255] * depth, kinds=b"d" * (depth + 1), children=(1,) * depth + (0,))

    assert len(decode(deep(deepest).encode()).entries.path(deepest)) == 65279
    with pytest.raises(MalformedManifest, match="path too long"):
        decode(deep(deepest + 1).encode())


def test_directories_that_are_nested_too_deeply_are_refused() -> None:
    def deep(depth: int) -> Manifest:
        return named(b"", *[b"n"] * depth, kinds=b"d" * (depth + 1), children=(1,) * depth + (0,))

    assert len(decode(deep(DEPTH_LIMIT).encode()).entries) == DEPTH_LIMIT + 1
    for depth in (DEPTH_LIMIT + 1, 20_000):
        with pytest.raises(MalformedManifest, match="path too long"):
            decode(deep(depth).encode())


@pytest.mark.parametrize("limit", ["ENTRIES_LIMIT", "METADATA_LIMIT"])
def test_too_many_entries_and_too_many_kinds_of_metadata_are_refused(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode(SMALL.encode())
    monkeypatch.setattr(decoding, limit, 1)
    with pytest.raises(MalformedManifest, match=r"too many entries|list too long"):
        decode(SMALL.encode())


def test_no_step_of_decoding_holds_the_interpreter_for_long_however_many_entries_there_are() -> None:
    """In the slowest step, one of a million entries, a thread that only looks at the time must come to it often."""
    many = 1_000_000
    names = b"\0" + b"".join(b"%07d\0" % number for number in range(many))
    zeros = array("Q", bytes(8 * (many + 1)))
    made = Table(b"d" + b"f" * many, names, [many], (PLAIN,), zeros, zeros, zeros[1:], [], b"", [], {})
    data = Manifest(made, b"", {}, {}).encode()
    looks, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.001):
            looks[0] += 1

    looking = threading.Thread(target=look)
    looking.start()
    try:
        manifest = decode(data)
        assert manifest.layout.file_count == many
    finally:
        ended.set()
        looking.join()
    # Without slices it comes to it some ten times.
    assert looks[0] > 60

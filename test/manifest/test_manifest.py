"""Manifests: one encoding for one content, and nothing believed that comes from a stranger."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

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
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.entry import Entry, Look
from xget_lib.manifest.manifest import COLUMNS, DIGEST_SIZE, VERSION, Manifest, Omitted
from xget_lib.manifest.table import Table

KIB = 1024
ACL = (b"system.posix_acl_access", b"\2\0\0\0")

SMALL = manifest(
    root(),
    directory(b"a"),
    file(b"a/b", 70_000),
    link(b"a/z", b"../../etc/passwd"),
    file(b"a/\xff\n", 0),
    file(b"a.c", 300_000, Look(0o644, 1, 2, ((b"security.capability", b"\1"), ACL))),
    hard_link(b"ab", b"a.c"),
    entry(b"a/pipe", "p"),
    entry(b"a/null", "c", device=(1, 3)),
    entry(b"a/sda", "b", device=(8, 0)),
    directory(b"a/deep"),
    hard_link(b"a/deep/z", b"a/z"),
    users={0: "root", 1: "daemon"},
    groups={2: "domain users"},
    extents={b"a.c": (4096, 8192, 200 * KIB, 4096)},
    omitted=[Omitted(b"a/secret", "Permission denied")],
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """A valid manifest with everything in it: a tree of odd names, links of both kinds, holes, far times."""
    names = st.binary(min_size=1, max_size=6).filter(lambda name: name not in (b".", b"..") and not {0, 47} & {*name})
    entries: dict[bytes, Entry] = {b"": root(draw(looks()), draw(times))}
    extents: dict[bytes, tuple[int, ...]] = {}
    for _ in range(draw(st.integers(0, 12))):
        parent = draw(st.sampled_from(sorted(path for path, entry in entries.items() if entry.kind == "d")))
        name = draw(names)
        path = parent + b"/" + name if parent else name
        if path not in entries:
            entries[path] = made = draw(things(path))
            if made.kind == "f" and made.size > 64 * KIB and draw(st.booleans()):
                extents[path] = draw(st.sampled_from([(), (4096, 8192), (0, 4096, 8192, 56 * KIB)]))
    firsts = sorted(path for path, entry in entries.items() if entry.kind not in "dh" and b"/" not in path)
    if firsts and firsts[0] + b"+" not in entries:
        entries[firsts[0] + b"+"] = hard_link(firsts[0] + b"+", firsts[0])
    whole = manifest(*entries.values(), extents=extents)
    names_of = st.text("ab-9 ü", min_size=1, max_size=8)
    users = draw(st.dictionaries(st.sampled_from([entry.uid for entry in whole.entries]), names_of))
    groups = draw(st.dictionaries(st.sampled_from([entry.gid for entry in whole.entries]), names_of))
    reasons = st.tuples(names_of, st.booleans())
    omitted = draw(st.dictionaries(st.binary(min_size=1, max_size=4).filter(lambda path: 0 not in path), reasons))
    digests = bytes(draw(st.binary(min_size=len(whole.digests), max_size=len(whole.digests))))
    said = tuple(Omitted(path, *why) for path, why in sorted(omitted.items()))
    return Manifest(whole.entries, digests, users, groups, said)


@st.composite
def looks(draw: st.DrawFn) -> Look:
    number = st.one_of(st.integers(0, 3), st.integers(0, (1 << 32) - 2))
    xattrs = draw(st.dictionaries(st.binary(min_size=1, max_size=3).filter(lambda name: 0 not in name), st.binary()))
    return Look(draw(st.integers(0, 0o7777)), draw(number), draw(number), tuple(sorted(xattrs.items())))


times = st.one_of(st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))


@st.composite
def things(draw: st.DrawFn, path: bytes) -> Entry:
    kind = draw(st.sampled_from("ddfffflcbp"))
    fields: dict[str, Any] = {}
    if kind == "f":
        fields["size"] = draw(st.one_of(st.just(0), st.integers(0, 200_000)))
    elif kind == "l":
        fields["target"] = draw(st.binary(min_size=1, max_size=9).filter(lambda target: 0 not in target))
    elif kind in "cb":
        fields["device"] = draw(st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 3)))
    return entry(path, kind, draw(looks()), draw(times), **fields)


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
    assert decoded.generation == original.generation == blake3(data).digest()


def decode_or_refuse(data: bytes) -> None:
    """What is not refused has this encoding, and can be used."""
    try:
        decoded = decode(data)
    except MalformedManifest:
        return
    assert decoded.encode() == data
    assert len(list(decoded.entries)) == len(decoded.entries)
    assert decoded.layout.piece_count * DIGEST_SIZE == len(decoded.digests)
    for number in range(decoded.layout.piece_count):
        assert decoded.layout.parts(decoded.layout.piece(number))


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedManifest):
        decode(data)


@given(manifests(), st.data())
def test_changed_bytes_are_refused_or_are_another_manifest_in_its_one_encoding(
    original: Manifest, data: st.DataObject
) -> None:
    encoded = bytearray(original.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(encoded)))
        until = data.draw(st.integers(at, min(len(encoded), at + 4)))
        encoded[at:until] = data.draw(st.binary(max_size=4))
    decode_or_refuse(bytes(encoded))


any_value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)),
    max_leaves=5,
)


@given(manifests(), any_value, st.data())
def test_any_value_in_any_place_is_refused_or_makes_another_manifest(
    original: Manifest, value: object, data: st.DataObject
) -> None:
    whole = msgpack.unpackb(original.encode(), strict_map_key=False)
    place = data.draw(st.sampled_from([whole, whole[4], *whole[4], whole[5] or whole]))
    place[data.draw(st.integers(0, len(place) - 1))] = value
    decode_or_refuse(msgpack.packb(whole))


@given(manifests(), st.data())
def test_any_bytes_of_a_column_are_refused_or_make_another_manifest(original: Manifest, data: st.DataObject) -> None:
    whole = msgpack.unpackb(original.encode(), strict_map_key=False)
    number = data.draw(st.integers(6, len(whole) - 1))
    column = bytearray(whole[number])
    at = data.draw(st.integers(0, len(column)))
    until = data.draw(st.integers(at, min(len(column), at + 8)))
    column[at:until] = data.draw(st.binary(min_size=until - at, max_size=until - at))
    whole[number] = bytes(column)
    decode_or_refuse(msgpack.packb(whole))


@given(manifests(), st.data())
def test_every_cut_is_refused(original: Manifest, data: st.DataObject) -> None:
    encoded = original.encode()
    with pytest.raises(MalformedManifest):
        decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


# What a stranger may write.


def changed(original: Manifest, **columns: Any) -> Manifest:
    """The manifest with other columns in its table."""
    return replace(original, entries=replace(original.entries, **columns))


def named(*names: bytes, kinds: bytes = b"dff", children: tuple[int, ...] = (2,)) -> Manifest:
    """Entries with these names, whatever they are."""
    joined = b"".join(name + b"\0" for name in names)
    size = kinds.count(b"f")
    made = Table(kinds, joined, children, (PLAIN,), [0] * len(kinds), [0] * len(kinds), [5] * size, [], b"", [], {})
    return Manifest(made, DIGEST * size, {}, {})


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
    "a look that there is not": changed(TWO_FILES, look_numbers=[0, 1, 2]),
    "a look that nothing has": changed(TWO_FILES, look_numbers=[0, 0, 0]),
    "a look too few": changed(TWO_FILES, look_numbers=[0, 1]),
    "looks in another order": changed(TWO_FILES, look_numbers=[1, 0, 0]),
    "a look twice": changed(TWO_FILES, looks=(PLAIN, PLAIN)),
    "a mode with the file type": manifest(root(), file(b"a", 5, Look(0o100644, 1, 2))),
    "a negative mode": manifest(root(), file(b"a", 5, Look(-1, 1, 2))),
    "an owner that chown does not take": manifest(root(), file(b"a", 5, Look(0o644, (1 << 32) - 1, 2))),
    "a negative group": manifest(root(), file(b"a", 5, Look(0o644, 1, -1))),
    "an extended attribute without a name": manifest(root(), file(b"a", 5, Look(0o644, 1, 2, ((b"", b"x"),)))),
    "an extended attribute with a NUL": manifest(root(), file(b"a", 5, Look(0o644, 1, 2, ((b"user.\0", b"x"),)))),
    "an extended attribute with a long name": manifest(
        root(), file(b"a", 5, Look(0o644, 1, 2, ((b"user." + b"x" * 251, b"x"),)))
    ),
    "an extended attribute that is too large": manifest(
        root(), file(b"a", 5, Look(0o644, 1, 2, ((b"user.x", bytes(65537)),)))
    ),
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
    "a first name too few": changed(LINKED, firsts=[2]),
    "a first name too many": changed(TWO_FILES, firsts=[1]),
    "a hard link to a later file": changed(LINKED, firsts=[6, 2]),
    "a hard link to itself": changed(LINKED, firsts=[4, 2]),
    "a hard link to a directory": changed(LINKED, firsts=[1, 2]),
    "a hard link to a hard link": changed(LINKED, firsts=[2, 4]),
    "a hard link with another time": changed(LINKED, mtimes=[0, 0, 7, 0, 7, 8]),
    "a hard link with other permissions": changed(LINKED, look_numbers=[0, 1, 1, 1, 1, 0]),
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
    "files with holes out of order": changed(TWO_FILES, sizes=[5000, 5000], extents={1: (0, 4096), 0: (0, 4096)}),
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
    with pytest.raises(MalformedManifest, match=r"^manifest refused: ."):
        decode(data)


@pytest.mark.parametrize("good", [SMALL, TWO_FILES, LINKED, SPARSE, named(b"", b"a", b"b")])
def test_what_the_test_before_changes_is_a_manifest(good: Manifest) -> None:
    assert decode(good.encode()).encode() == good.encode()


def test_a_path_that_is_too_long_is_refused() -> None:
    deepest = 255  # 255 directories of 255 bytes, with their slashes, are 65,279 bytes

    def deep(depth: int) -> Manifest:
        return named(b"", *[b"n" * 255] * depth, kinds=b"d" * (depth + 1), children=(1,) * depth + (0,))

    assert len(decode(deep(deepest).encode()).entries.path(deepest)) == 65279
    with pytest.raises(MalformedManifest, match="too long a path"):
        decode(deep(deepest + 1).encode())


def packed(original: Manifest, place: int, value: bytes) -> bytes:
    """The encoding, with other bytes for the element at a place; the columns begin at 6."""
    whole = msgpack.unpackb(original.encode(), strict_map_key=False)
    elements = [msgpack.packb(element) for element in whole]
    elements[place] = value
    return b"\xdc\x00\x12" + b"".join(elements)


SINGLE = manifest(file(b"f"))
OTHER_BYTES = {
    "another version": packed(SINGLE, 1, b"\x09"),
    "true for a version": packed(SINGLE, 1, b"\xc3"),
    "a longer number": packed(SINGLE, 1, b"\xcc\x02"),
    "a longer header": b"\xdd\x00\x00\x00\x12" + SINGLE.encode()[3:],
    "a name that stands twice": packed(SINGLE, 2, b"\x82\x01\xa1a\x01\xa1a"),
    "users by numbers and names": packed(SINGLE, 2, b"\x82\x01\xa1a\xa1b\xa1c"),
    "true for a mode": packed(SINGLE, 4, msgpack.packb([[True, 0, 0, {}]])),
    "text for an attribute": packed(SINGLE, 4, msgpack.packb([[0o644, 1, 2, {"user.x": b""}]])),
    "a field more": packed(SINGLE, 4, msgpack.packb([[0o644, 1, 2, {}, 0]])),
    "a longer mode": packed(SINGLE, 4, b"\x91\x94\xce\0\0\x01\xa4\x01\x02\x80"),
    "attributes out of order": packed(SINGLE, 4, msgpack.packb([[0o644, 1, 2, {b"b": b"", b"a": b""}]])),
    "an attribute twice": packed(SINGLE, 4, b"\x91\x94\xcd\x01\xa4\x01\x02\x82\xc4\x01a\xc4\x00\xc4\x01a\xc4\x00"),
    "an omitted path without a reason": packed(SINGLE, 5, msgpack.packb([b"a"])),
    "text for an omitted path": packed(SINGLE, 5, msgpack.packb(["a", "x", False])),
    "a number for whether it is expected": packed(SINGLE, 5, msgpack.packb([b"a", "x", 0])),
    "text for a column": packed(SINGLE, 6, b"\xa1f"),
    "a column with a longer header": packed(SINGLE, 6, b"\xc5\x00\x01f"),
    "a column that is cut off": SINGLE.encode()[:-1],
    "a column of 4 GiB": packed(SINGLE, 17, b"\xc6\xff\xff\xff\xff"),
    "a column of half a number": packed(SINGLE, 9, b"\xc4\x03\0\0\0"),
    "bytes behind its end": SINGLE.encode() + b"\0",
    "four thousand million looks": packed(SINGLE, 4, b"\xdd\xff\xff\xff\xff"),
    "four thousand million users": packed(SINGLE, 2, b"\xdf\xff\xff\xff\xff"),
    "arrays in arrays": packed(SINGLE, 4, b"\x91" * 100_000),
    "maps in maps": packed(SINGLE, 4, b"\x91\x94\0\0\0" + b"\x81" * 100_000),
    "a timestamp": packed(SINGLE, 4, b"\x91\xd6\xff\0\0\0\0"),
    "a broken timestamp": packed(SINGLE, 4, b"\x91\xc7\x03\xff\0\0\0"),
}


def test_the_bytes_that_the_next_test_changes_are_a_manifest() -> None:
    assert packed(SINGLE, 1, bytes([VERSION])) == SINGLE.encode()
    assert len(COLUMNS) == 12
    decode(SINGLE.encode())


@pytest.mark.parametrize("case", OTHER_BYTES)
def test_refuses_bytes_with(case: str) -> None:
    with pytest.raises(MalformedManifest):
        decode(OTHER_BYTES[case])


def test_a_newer_version_is_told_from_rubbish() -> None:
    with pytest.raises(MalformedManifest, match="version 9 is not known here"):
        decode(OTHER_BYTES["another version"])


def test_a_stranger_cannot_make_it_use_much_more_memory_than_was_sent() -> None:
    """Each of these would be tens of bytes in memory for one or two sent, if it were built before it is checked."""
    import tracemalloc

    wide = b"\xdd\x00\x0f\xff\xff"
    fillers = [wide + b"\xc0" * 2_000_000, b"\xdd\x7f\xff\xff\xff" + b"\x94" * 2_000_000]
    fillers += [
        b"\xdd\x7f\xff\xff\xff" + nested * (2_000_000 // len(nested))
        for nested in (b"\x91\xc0", b"\x94" + b"\xc0" * 4, b"\x81\xa0\xc0", b"\x90", b"\x94\x01\x01\x01\x80")
    ]
    for filler in fillers:
        data = packed(SINGLE, 4, filler)
        tracemalloc.start()
        try:
            decode_or_refuse(data)
            assert tracemalloc.get_traced_memory()[1] < 30 * len(data) + (1 << 20)
        finally:
            tracemalloc.stop()


# Looking around in one.


def test_a_single_file_is_the_only_entry() -> None:
    single = decode(SINGLE.encode())
    assert single.single_file
    assert not SMALL.single_file
    assert single.layout.file_count == 1


def test_finds_entries_by_path() -> None:
    for number, each in enumerate(SMALL.entries):
        assert SMALL.find(each.path) == number
    for path in (b"b", b"a/", b"a/c", b"/", b"\xff\xff", b"a/b/c", b"a//b"):
        assert SMALL.find(path) is None
    assert (SINGLE.find(b"f"), SINGLE.find(b""), SINGLE.find(b"f/f")) == (0, None, None)


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
        manifest(root(), file(b"a", 5, Look(0o600, 1, 2))),
        manifest(root(), file(b"a", 5, Look(0o644, 9, 2))),
        manifest(root(), file(b"a", 5, Look(0o644, 1, 9))),
        manifest(root(), file(b"a", 5, Look(0o644, 1, 2, (ACL,)))),
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

"""Manifests: one encoding for one content, and nothing believed that comes from a stranger."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from xget_lib.content.layout import piece_count
from xget_lib.content.manifest import DIGEST_SIZE, Entry, Manifest, order
from xget_lib.errors import MalformedManifest

DIGEST = bytes(range(32))
ROOT = Entry(b"", "d", 0o755, 0, 0, 1_700_000_000_123_456_789)


def directory(path: bytes) -> Entry:
    return replace(ROOT, path=path)


def file(path: bytes, size: int = 5, **fields: Any) -> Entry:
    return replace(Entry(path, "f", 0o644, 1, 2, 7, size, digests=DIGEST * piece_count(size)), **fields)


def symbolic_link(path: bytes, target: bytes) -> Entry:
    return Entry(path, "l", 0o777, 0, 0, -1, target=target)


def hard_link(path: bytes, target: bytes, **fields: Any) -> Entry:
    return replace(Entry(path, "h", 0o644, 1, 2, 7, target=target), **fields)


def manifest(*entries: Entry, users: dict[int, str] | None = None, groups: dict[int, str] | None = None) -> Manifest:
    return Manifest(entries, users or {}, groups or {})


SMALL = manifest(
    ROOT,
    directory(b"a"),
    file(b"a/b", 70_000),
    symbolic_link(b"a/z", b"../../etc/passwd"),
    file(b"a/\xff\n", 0),
    file(b"a.c", extra=(("holes", b"\1"), ("xattr", b""))),
    hard_link(b"ab", b"a/b"),
    users={0: "root", 1: "daemon"},
    groups={2: "domain users"},
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """A valid manifest with everything in it: a tree of odd names, links of both kinds, extras, far times."""
    names = st.binary(min_size=1, max_size=6).filter(lambda name: name not in (b".", b"..") and not {0, 47} & {*name})
    entries: dict[bytes, Entry] = {b"": draw(metadata(b""))}
    for _ in range(draw(st.integers(0, 12))):
        parent = draw(st.sampled_from(sorted(path for path, entry in entries.items() if entry.kind == "d")))
        name = draw(names)
        path = parent + b"/" + name if parent else name
        if path not in entries:
            entries[path] = draw(contents(draw(metadata(path))))
    files = sorted((path for path, entry in entries.items() if entry.kind == "f"), key=order)
    if files:
        first = entries[files[0]]
        path = files[0] + b"+"
        if path not in entries:
            entries[path] = replace(first, path=path, kind="h", target=first.path, size=0, digests=b"")
    ordered = tuple(entries[path] for path in sorted(entries, key=order))
    names_of = st.text("ab-9 ü", min_size=1, max_size=8)
    users = draw(st.dictionaries(st.sampled_from([entry.uid for entry in ordered]), names_of))
    groups = draw(st.dictionaries(st.sampled_from([entry.gid for entry in ordered]), names_of))
    return Manifest(ordered, users, groups)


@st.composite
def metadata(draw: st.DrawFn, path: bytes) -> Entry:
    number = st.one_of(st.integers(0, 3), st.integers(0, (1 << 32) - 2))
    mtime = st.one_of(st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
    return Entry(path, "d", draw(st.integers(0, 0o7777)), draw(number), draw(number), draw(mtime))


@st.composite
def contents(draw: st.DrawFn, entry: Entry) -> Entry:
    kind = draw(st.sampled_from("dfl"))
    if kind == "f":
        size = draw(st.one_of(st.just(0), st.integers(0, 200_000)))
        extra = draw(st.dictionaries(st.text(max_size=3), st.binary(max_size=3), max_size=3))
        digests = draw(st.binary(min_size=32, max_size=32)) * piece_count(size)
        return replace(entry, kind=kind, size=size, digests=digests, extra=tuple(sorted(extra.items())))
    if kind == "l":
        target = draw(st.binary(min_size=1, max_size=9).filter(lambda target: 0 not in target))
        return replace(entry, kind=kind, target=target)
    return entry


@given(manifests())
def test_every_manifest_comes_back_from_its_encoding(original: Manifest) -> None:
    data = original.encode()
    decoded = Manifest.decode(data)
    assert decoded == original
    assert decoded.encode() == data
    assert decoded.generation == original.generation == blake3(data).digest()


def decode_or_refuse(data: bytes) -> None:
    try:
        decoded = Manifest.decode(data)
    except MalformedManifest:
        return
    assert decoded.encode() == data


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedManifest):
        Manifest.decode(data)


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
    place = data.draw(st.sampled_from([whole, whole[4], *whole[4]]))
    place[data.draw(st.integers(0, len(place) - 1))] = value
    decode_or_refuse(msgpack.packb(whole))


@given(manifests(), st.data())
def test_every_cut_is_refused(original: Manifest, data: st.DataObject) -> None:
    encoded = original.encode()
    with pytest.raises(MalformedManifest):
        Manifest.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


HOSTILE = {
    "no entries": manifest(),
    "no root": manifest(file(b"a"), file(b"b")),
    "a single directory that is not the root": manifest(directory(b"a")),
    "a single file with a path": manifest(file(b"a/b")),
    "a single file with a climbing name": manifest(file(b"..")),
    "a single file with a NUL": manifest(file(b"a\0")),
    "a root that is a file": manifest(file(b"")),
    "a root that is a link": manifest(symbolic_link(b"", b"/etc")),
    "a second root": manifest(ROOT, ROOT),
    "a climbing name": manifest(ROOT, file(b"..")),
    "a climbing directory": manifest(ROOT, directory(b".."), file(b"../x")),
    "a dot": manifest(ROOT, file(b".")),
    "an absolute path": manifest(ROOT, file(b"/etc")),
    "an absolute path in a directory without a name": manifest(ROOT, directory(b"/"), file(b"//x")),
    "an empty name": manifest(ROOT, directory(b"a"), file(b"a/")),
    "two slashes": manifest(ROOT, directory(b"a"), file(b"a//b")),
    "a NUL": manifest(ROOT, file(b"a\0b")),
    "a NUL for a slash": manifest(ROOT, directory(b"a"), file(b"a\0b")),
    "a name of 256 bytes": manifest(ROOT, file(b"n" * 256)),
    "a path of 64 KiB": manifest(
        ROOT,
        *(directory(b"/".join([b"n" * 255] * n)) for n in range(1, 256)),
        file(b"/".join([b"n" * 255] * 256) + b"x"),
    ),
    "no parent": manifest(ROOT, file(b"a/b")),
    "a parent that is a file": manifest(ROOT, file(b"a"), file(b"a/b")),
    "a parent that is a link": manifest(ROOT, symbolic_link(b"a", b"/etc"), file(b"a/passwd")),
    "twice the same": manifest(ROOT, file(b"a"), file(b"a")),
    "twice the same, of two kinds": manifest(ROOT, directory(b"a"), symbolic_link(b"a", b"/etc"), file(b"a/passwd")),
    "out of order": manifest(ROOT, file(b"b"), file(b"a")),
    "in the order of bytes and not of components": manifest(ROOT, directory(b"a"), file(b"a.c"), file(b"a/b")),
    "an unknown kind": manifest(ROOT, replace(directory(b"a"), kind="x")),
    "an empty kind": manifest(ROOT, replace(directory(b"a"), kind="")),
    "two kinds": manifest(ROOT, replace(directory(b"a"), kind="df")),
    "a mode with the file type": manifest(ROOT, file(b"a", mode=0o100644)),
    "a negative mode": manifest(ROOT, file(b"a", mode=-1)),
    "an owner that chown does not take": manifest(ROOT, file(b"a", uid=(1 << 32) - 1)),
    "a negative group": manifest(ROOT, file(b"a", gid=-1)),
    "a time beyond 64 bits": manifest(ROOT, file(b"a", mtime_ns=1 << 63)),
    "a digest too few": manifest(ROOT, file(b"a", 65537, digests=DIGEST)),
    "a digest too many": manifest(ROOT, file(b"a", 0, digests=DIGEST)),
    "half a digest": manifest(ROOT, file(b"a", digests=DIGEST[:31])),
    "a negative size": manifest(ROOT, replace(file(b"a"), size=-1, digests=b"")),
    "a huge size": manifest(ROOT, replace(file(b"a"), size=(1 << 64) - 1)),
    "a directory with content": manifest(ROOT, replace(directory(b"a"), size=5, digests=DIGEST)),
    "a hard link with content": manifest(ROOT, file(b"a"), hard_link(b"b", b"a", size=5, digests=DIGEST)),
    "a symbolic link to nothing": manifest(ROOT, symbolic_link(b"a", b"")),
    "a symbolic link to a NUL": manifest(ROOT, symbolic_link(b"a", b"x\0y")),
    "a symbolic link that is too long": manifest(ROOT, symbolic_link(b"a", b"x" * 4096)),
    "a file with a target": manifest(ROOT, file(b"a", target=b"b")),
    "a directory with a target": manifest(ROOT, replace(directory(b"a"), target=b"b")),
    "a hard link to nothing": manifest(ROOT, hard_link(b"b", b"a")),
    "a hard link outside": manifest(ROOT, hard_link(b"b", b"../a")),
    "a hard link to a later file": manifest(ROOT, hard_link(b"a", b"b"), file(b"b")),
    "a hard link to itself": manifest(ROOT, hard_link(b"a", b"a")),
    "a hard link to a directory": manifest(ROOT, directory(b"a"), hard_link(b"b", b"a")),
    "a hard link to a symbolic link": manifest(ROOT, symbolic_link(b"a", b"x"), hard_link(b"b", b"a")),
    "a hard link to a hard link": manifest(ROOT, file(b"a"), hard_link(b"b", b"a"), hard_link(b"c", b"b")),
    "a hard link with another mode": manifest(ROOT, file(b"a"), hard_link(b"b", b"a", mode=0o4755)),
    "an extra of another type": manifest(ROOT, file(b"a", extra=((1, b""),))),
    "too many extras": manifest(ROOT, file(b"a", extra=tuple((f"{n:02}", b"") for n in range(17)))),
    "a user that owns nothing": manifest(ROOT, users={5: "nobody"}),
    "a group that owns nothing": manifest(ROOT, groups={5: "nogroup"}),
    "a user without a name": manifest(ROOT, users={0: ""}),
    "a user with a line break": manifest(ROOT, users={0: "a\nb"}),
    "a user with a long name": manifest(ROOT, users={0: "a" * 257}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refuses(case: str) -> None:
    data = HOSTILE[case].encode()
    with pytest.raises(MalformedManifest, match=r"^manifest refused: ."):
        Manifest.decode(data)


def test_content_that_does_not_fit_63_bits_is_refused_before_it_is_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xget_lib.content.manifest.piece_count", lambda size: 0)  # else 2**58 bytes of digests
    huge = replace(file(b"a", 0), size=1 << 62)
    Manifest.decode(manifest(ROOT, huge).encode())
    with pytest.raises(MalformedManifest, match="more content than there can be"):
        Manifest.decode(manifest(ROOT, huge, replace(huge, path=b"b")).encode())


def packed(*parts: bytes) -> bytes:
    return b"".join(parts)


HEAD = packed(b"\x95\xad", b"xget-manifest")
ENTRY_OF_SINGLE_FILE = msgpack.packb((b"f", "f", 0o644, 0, 0, 0, 0, b"", b"", {}))
OTHER_BYTES = {
    "another version": packed(HEAD, b"\x02\x80\x80\x91", ENTRY_OF_SINGLE_FILE),
    "true for version 1": packed(HEAD, b"\xc3\x80\x80\x91", ENTRY_OF_SINGLE_FILE),
    "a longer number": packed(HEAD, b"\xcc\x01\x80\x80\x91", ENTRY_OF_SINGLE_FILE),
    "a longer header": packed(HEAD, b"\x01\x80\x80\xdc\x00\x01", ENTRY_OF_SINGLE_FILE),
    "a name that stands twice": packed(HEAD, b"\x01\x82\x00\xa1a\x00\xa1a\x80\x91", ENTRY_OF_SINGLE_FILE),
    "users by numbers and names": packed(HEAD, b"\x01\x82\x00\xa1a\xa1b\xa1c\x80\x91", ENTRY_OF_SINGLE_FILE),
    "true for a mode": packed(HEAD, b"\x01\x80\x80\x91", msgpack.packb((b"f", "f", True, 0, 0, 0, 0, b"", b"", {}))),
    "text for a path": packed(HEAD, b"\x01\x80\x80\x91", msgpack.packb(("f", "f", 0, 0, 0, 0, 0, b"", b"", {}))),
    "a field more": packed(HEAD, b"\x01\x80\x80\x91", msgpack.packb((b"f", "f", 0, 0, 0, 0, 0, b"", b"", {}, 0))),
    "a longer mode": packed(
        HEAD, b"\x01\x80\x80\x91", ENTRY_OF_SINGLE_FILE.replace(b"\xcd\x01\xa4", b"\xce\0\0\x01\xa4")
    ),
    "extras out of order": packed(
        HEAD, b"\x01\x80\x80\x91", msgpack.packb((b"f", "f", 0, 0, 0, 0, 0, b"", b"", {"b": b"", "a": b""}))
    ),
    "bytes behind its end": packed(HEAD, b"\x01\x80\x80\x91", ENTRY_OF_SINGLE_FILE, b"\x00"),
    "an entry less than said": packed(HEAD, b"\x01\x80\x80\x92", ENTRY_OF_SINGLE_FILE),
    "four thousand million entries": packed(HEAD, b"\x01\x80\x80\xdd\xff\xff\xff\xff", ENTRY_OF_SINGLE_FILE),
    "four thousand million users": packed(HEAD, b"\x01\xdf\xff\xff\xff\xff"),
    "a path of 4 GiB": packed(HEAD, b"\x01\x80\x80\x91\x9a\xc6\xff\xff\xff\xff"),
    "arrays in arrays": packed(HEAD, b"\x01\x80\x80\x91", b"\x91" * 100_000),
    "maps in maps": packed(HEAD, b"\x01\x80\x80\x91\x9a", b"\x81" * 100_000),
    "an entry in an entry": packed(HEAD, b"\x01\x80\x80\x91\x9a", ENTRY_OF_SINGLE_FILE, ENTRY_OF_SINGLE_FILE[2:]),
    "a timestamp": packed(HEAD, b"\x01\x80\x80\x91\xd6\xff\0\0\0\0"),
    "a broken timestamp": packed(HEAD, b"\x01\x80\x80\x91\xc7\x03\xff\0\0\0"),
}


def test_the_bytes_that_the_next_test_changes_are_a_manifest() -> None:
    data = packed(HEAD, b"\x01\x80\x80\x91", ENTRY_OF_SINGLE_FILE)
    assert Manifest.decode(data).encode() == data


@pytest.mark.parametrize("case", OTHER_BYTES)
def test_refuses_bytes_with(case: str) -> None:
    with pytest.raises(MalformedManifest):
        Manifest.decode(OTHER_BYTES[case])


def test_a_newer_version_is_told_from_rubbish() -> None:
    with pytest.raises(MalformedManifest, match="version 2 is not known here"):
        Manifest.decode(OTHER_BYTES["another version"])


def test_a_stranger_cannot_make_it_use_much_more_memory_than_was_sent() -> None:
    """Each of these would be tens of bytes in memory for one or two sent, if it were built before it is checked."""
    import tracemalloc

    wide, narrow = b"\xdd\x00\x0f\xff\xff", b"\x9a"
    fillers = [wide + b"\xc0" * 2_000_000]
    fillers += [
        narrow + nested * (2_000_000 // len(nested))
        for nested in (b"\x91\xc0", b"\x9a" + b"\xc0" * 10, b"\x81\xa0\xc0", b"\x90")
    ]
    for filler in fillers:
        data = packed(HEAD, b"\x01\x80\x80\xdd\x7f\xff\xff\xff", filler)
        tracemalloc.start()
        try:
            decode_or_refuse(data)
            assert tracemalloc.get_traced_memory()[1] < 3 * len(data) + (1 << 20)
        finally:
            tracemalloc.stop()


def test_the_order_is_that_of_components() -> None:
    paths = [b"", b"a", b"a/b", b"a/b/c", b"a/b.c", b"a b", b"a.c", b"a0"]
    assert sorted(paths, key=order) == sorted(paths, key=lambda path: path.split(b"/") if path else [])


def test_a_single_file_is_the_only_entry() -> None:
    single = Manifest.decode(manifest(file(b"image")).encode())
    assert single.single_file
    assert not SMALL.single_file
    assert single.layout.file_count == 1


def test_finds_entries_by_path() -> None:
    for index, entry in enumerate(SMALL.entries):
        assert SMALL.find(entry.path) == index
    for path in (b"b", b"a/", b"a/c", b"/", b"\xff\xff"):
        assert SMALL.find(path) is None


@given(manifests())
def test_subtrees_and_children(tree: Manifest) -> None:
    for index, entry in enumerate(tree.entries):
        prefix = entry.path + b"/" if entry.path else b""
        below = [
            other
            for other, candidate in enumerate(tree.entries)
            if other != index and candidate.path.startswith(prefix) and entry.kind == "d"
        ]
        assert list(tree.subtree(index)) == [index, *below]
        assert list(tree.children(index)) == [
            other for other in below if b"/" not in tree.entries[other].path[len(prefix) :]
        ]


def test_files_and_digests_are_numbered_as_the_layout_does() -> None:
    parts = [os.urandom(DIGEST_SIZE) for _ in range(5)]
    tree = manifest(
        ROOT,
        file(b"a", 130_000, digests=b"".join(parts[:2])),
        directory(b"b"),
        file(b"b/empty", 0),
        file(b"c", 140_000, digests=b"".join(parts[2:])),
    )
    assert [tree.digest(piece) for piece in range(tree.layout.piece_count)] == parts
    assert [tree.file(number).path for number in range(3)] == [b"a", b"b/empty", b"c"]
    assert [tree.file_number(index) for index in tree.files] == [0, 1, 2]
    with pytest.raises(ValueError, match="not a regular file"):
        tree.file_number(2)


def test_the_generation_changes_with_any_field() -> None:
    changes: list[dict[str, Any]] = [
        {"mode": 0o600},
        {"uid": 9},
        {"gid": 9},
        {"mtime_ns": 8},
        {"size": 6},
        {"digests": DIGEST[::-1]},
        {"extra": (("x", b"y"),)},
        {"path": b"b"},
    ]
    generations = {manifest(ROOT, replace(file(b"a"), **change)).generation for change in [{}, *changes]}
    generations.add(manifest(ROOT, file(b"a"), users={0: "root"}).generation)
    generations.add(manifest(ROOT, file(b"a"), groups={0: "root"}).generation)
    assert len(generations) == len(changes) + 3

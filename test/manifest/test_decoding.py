"""Decoding: every byte string is refused, or is the one encoding of a manifest."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.example_manifests import SINGLE, SMALL, manifests
from test.support.manifests import PLAIN, indexed
from xget_lib.errors import MalformedManifest
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.index import VERSION
from xget_lib.manifest.manifest import COLUMNS, DIGEST_SIZE, Manifest
from xget_lib.manifest.table import Table


def decode_or_refuse(body: bytes) -> None:
    """What is not refused has this body, and can be used."""
    try:
        decoded = decode(indexed(body))
    except MalformedManifest:
        return
    assert decoded.encode_body() == body
    assert len(list(decoded.entries)) == len(decoded.entries)
    assert decoded.layout.piece_count * DIGEST_SIZE == len(decoded.digests)
    for number in range(decoded.layout.piece_count):
        assert decoded.layout.parts(decoded.layout.piece(number))


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    for each in (data, indexed(data)):
        with pytest.raises(MalformedManifest):
            decode(each)


@given(manifests(), st.data())
def test_changed_bytes_are_refused_or_are_another_manifest_in_its_one_encoding(
    original: Manifest, data: st.DataObject
) -> None:
    encoded = bytearray(original.encode_body())
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
    whole = msgpack.unpackb(original.encode_body(), strict_map_key=False)
    place = data.draw(st.sampled_from([whole, whole[4], *whole[4], whole[5] or whole]))
    place[data.draw(st.integers(0, len(place) - 1))] = value
    decode_or_refuse(msgpack.packb(whole))


@given(manifests(), st.data())
def test_any_bytes_of_a_column_are_refused_or_make_another_manifest(original: Manifest, data: st.DataObject) -> None:
    whole = msgpack.unpackb(original.encode_body(), strict_map_key=False)
    number = data.draw(st.integers(6, len(whole) - 1))
    column = bytearray(whole[number])
    at = data.draw(st.integers(0, len(column)))
    until = data.draw(st.integers(at, min(len(column), at + 8)))
    column[at:until] = data.draw(st.binary(min_size=until - at, max_size=until - at))
    whole[number] = bytes(column)
    decode_or_refuse(msgpack.packb(whole))


@given(manifests(), st.data())
def test_every_cut_is_refused(original: Manifest, data: st.DataObject) -> None:
    body = original.encode_body()
    with pytest.raises(MalformedManifest):
        decode(indexed(body[: data.draw(st.integers(0, len(body) - 1))]))


def packed(original: Manifest, place: int, value: bytes) -> bytes:
    """The encoding, with other bytes for the element at a place; the columns begin at 6."""
    whole = msgpack.unpackb(original.encode_body(), strict_map_key=False)
    elements = [msgpack.packb(element) for element in whole]
    elements[place] = value
    return b"\xdc\x00\x12" + b"".join(elements)


OTHER_BYTES = {
    "another version": packed(SINGLE, 1, b"\x09"),
    "true for a version": packed(SINGLE, 1, b"\xc3"),
    "a longer number": packed(SINGLE, 1, b"\xcc\x02"),
    "a longer header": b"\xdd\x00\x00\x00\x12" + SINGLE.encode_body()[3:],
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
    "a column that is cut off": SINGLE.encode_body()[:-1],
    "a column of 4 GiB": packed(SINGLE, 17, b"\xc6\xff\xff\xff\xff"),
    "a column of half a number": packed(SINGLE, 9, b"\xc4\x03\0\0\0"),
    "a first name too many": packed(SINGLE, 12, b"\xc4\4\1\0\0\0"),
    "a first name too few": packed(SMALL, 12, b"\xc4\0"),
    "a hard link to a later file": packed(SMALL, 12, msgpack.packb(b"\xff\xff\xff\xff" * 2)),
    "a hard link to itself": packed(SMALL, 12, msgpack.packb(b"\0\0\0\0" * 2)),
    "the same file with holes twice": packed(SMALL, 15, msgpack.packb(b"\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0")),
    "bytes behind its end": SINGLE.encode_body() + b"\0",
    "metadata of four thousand million": packed(SINGLE, 4, b"\xdd\xff\xff\xff\xff"),
    "four thousand million users": packed(SINGLE, 2, b"\xdf\xff\xff\xff\xff"),
    "arrays in arrays": packed(SINGLE, 4, b"\x91" * 100_000),
    "maps in maps": packed(SINGLE, 4, b"\x91\x94\0\0\0" + b"\x81" * 100_000),
    "a timestamp": packed(SINGLE, 4, b"\x91\xd6\xff\0\0\0\0"),
    "a broken timestamp": packed(SINGLE, 4, b"\x91\xc7\x03\xff\0\0\0"),
}


def test_the_bytes_that_the_next_test_changes_are_a_manifest() -> None:
    assert packed(SINGLE, 1, bytes([VERSION])) == SINGLE.encode_body()
    assert len(COLUMNS) == 12
    decode(indexed(SINGLE.encode_body()))
    for place, column in ((12, "first_names"), (15, "sparse")):
        assert list(COLUMNS)[place - 6] == column


@pytest.mark.parametrize("case", OTHER_BYTES)
def test_refuses_bytes_with(case: str) -> None:
    with pytest.raises(MalformedManifest):
        decode(indexed(OTHER_BYTES[case]))


def test_a_newer_version_is_told_from_rubbish() -> None:
    with pytest.raises(MalformedManifest, match="version 9 is not supported"):
        decode(indexed(OTHER_BYTES["another version"]))


@pytest.mark.parametrize("elements", [17, 19])
def test_a_newer_version_may_have_another_number_of_elements(elements: int) -> None:
    encoded = OTHER_BYTES["another version"]
    assert encoded.startswith(b"\xdc\0\x12")
    with pytest.raises(MalformedManifest, match="version 9 is not supported"):
        decode(indexed(b"\xdc\0" + bytes([elements]) + encoded[3:]))


def test_decoding_never_takes_much_more_memory_than_the_data() -> None:
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


def peak_of(count: int) -> tuple[int, int]:
    """Bytes of memory that decoding a manifest of so many empty files takes at most, and its size."""
    import tracemalloc

    zeros = [0] * (count + 1)
    names = b"\0" + b"".join(b"%07d\0" % number for number in range(count))
    table = Table(b"d" + b"f" * count, names, [count], (PLAIN,), zeros, zeros, zeros[1:], [], b"", [], {})
    data = Manifest(table, b"", {}, {}).encode()
    tracemalloc.start()
    try:
        assert decode(data).layout.file_count == count
        return tracemalloc.get_traced_memory()[1], len(data)
    finally:
        tracemalloc.stop()


def test_the_memory_for_decoding_grows_with_the_number_of_entries_and_no_faster() -> None:
    """What does not grow is one slice of each column."""
    (small, small_size), (large, large_size) = peak_of(200_000), peak_of(400_000)
    assert large - small < 3 * (large_size - small_size)
    assert large < 6 * large_size

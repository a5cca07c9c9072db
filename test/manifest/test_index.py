"""The index of a manifest: what it names, and what of a stranger's is refused before it is used."""

from __future__ import annotations

import struct
from random import Random

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from test.support.changing_manifests import files_of, manifest_of
from xget_lib.errors import MalformedManifest
from xget_lib.manifest.index import HEAD_SIZE, PAGE_LIMIT, PART_LIMIT, VERSION, Index, root_size, verify, with_index

LARGE = manifest_of(files_of(Random(1), directories=30, files=100)).encode()


def crafted(
    parts: list[tuple[bytes, int]], body: bytes, counts: list[int] | None = None, version: int = VERSION
) -> bytes:
    """A manifest with any index, whose pages have their digests. `parts`: digest and size."""
    pages, rows = b"", b""
    at = 0
    for count in counts if counts is not None else [len(parts)]:
        some = parts[at : at + count]
        page = b"".join(digest + struct.pack("<I", size) for digest, size in some)
        rows += blake3(page).digest() + struct.pack("<II", count, sum(size for _, size in some) & 0xFFFF_FFFF)
        pages += page
        at += count
    return struct.pack("<14sHI", b"xget-manifest\0", version, len(rows) // 40) + rows + pages + body


def named(body: bytes) -> tuple[bytes, int]:
    return blake3(body).digest(), len(body)


def test_what_is_crafted_here_is_right() -> None:
    assert verify(crafted([named(b"a"), named(b"bc")], b"abc")).body_start == HEAD_SIZE + 40 + 2 * 36
    assert crafted([named(b"a")], b"a") == with_index(b"a", [1])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a manifest"),
        (b"x" * 100, "not a manifest"),
        (LARGE[: HEAD_SIZE - 1], "not a manifest"),
        (LARGE[: HEAD_SIZE + 1], "cut off"),
        (LARGE[:-1], "another size"),
        (LARGE + b"x", "another size"),
        (crafted([named(b"a")], b"a", version=9), "version 9 is not supported"),
        (crafted([named(b"a")], b"b"), "a part has another digest"),
        (crafted([named(b"a")], b"ab"), "another size"),
        (crafted([named(b"a"), named(b"")], b"a"), "no valid size"),
        (crafted([named(b"a" * (PART_LIMIT + 1))], b"a" * (PART_LIMIT + 1)), "no valid size"),
        (crafted([named(b"a")], b"a", [1, 0]), "has no parts, or too many"),
        (crafted([named(b"a")] * (PAGE_LIMIT + 1), b"a" * (PAGE_LIMIT + 1)), "has no parts, or too many"),
        (struct.pack("<14sHI", b"xget-manifest\0", VERSION, 0xFFFF_FFFF), "cut off"),
        (struct.pack("<14sHI32sII", b"xget-manifest\0", VERSION, 1, bytes(32), 1, 0xFFFF_FFFF), "another size"),
    ],
)
def test_refuses(data: bytes, why: str) -> None:
    with pytest.raises(MalformedManifest, match=why):
        verify(data)


def test_a_page_with_another_digest_or_another_size_is_refused() -> None:
    good = crafted([named(b"a"), named(b"b")], b"ab")
    page = bytearray(good)
    page[HEAD_SIZE + 40] ^= 1
    with pytest.raises(MalformedManifest, match="a page of its index has another digest"):
        verify(bytes(page))
    size = bytearray(good)
    size[HEAD_SIZE + 36] -= 1
    with pytest.raises(MalformedManifest, match="the parts of a page have another size"):
        verify(bytes(size[:-1]))


@given(st.integers(0, len(LARGE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused_or_is_another_generation(at: int, change: int) -> None:
    spoilt = bytearray(LARGE)
    spoilt[at] ^= change
    try:
        index = verify(bytes(spoilt))
    except MalformedManifest:
        return
    assert at < index.pages[0].start
    assert index.generation != Index.of(LARGE).generation


def test_pages_have_at_most_so_many_parts_also_if_no_digest_ends_one() -> None:
    """All parts are the same."""
    body = bytes(300_000)
    encoded = with_index(body, list(range(300, 300_001, 300)))
    index = verify(encoded)
    assert root_size(encoded[:HEAD_SIZE]) == index.pages[0].start
    assert len(index.pages) >= 2
    assert max(len(page.parts(encoded[page.start : page.start + page.size])) for page in index.pages) <= PAGE_LIMIT


def test_the_generation_is_the_digest_of_the_root() -> None:
    index = Index.of(LARGE)
    assert index.generation == blake3(LARGE[: index.pages[0].start]).digest()
    assert sum(part.size for part in index.parts(LARGE)) == len(LARGE) - index.body_start

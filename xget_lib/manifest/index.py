"""The index of an encoded manifest: a tree of digests, so that who has an older manifest reads only what differs.

An encoded manifest has three sections:

    root     what it is, and for each page: its digest, the number of its parts, and their bytes
    pages    for each part: its digest, and its bytes
    body     the parts, one after the other (`manifest.manifest`)

The generation is the BLAKE3 of the root, and so names all of it. `manifest.parts` decides where the body is cut; a page
ends where the digest of a part says so. Both depend on the content only near the cut: a change moves no other cut, and
what is the same in two manifests has the same parts and pages. docs/protocol.md, section 3.4, has the format.

Everything here comes from strangers: each size is compared with what is there before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from blake3 import blake3

from xget_lib.errors import MalformedManifest

MANIFEST_LIMIT = 1 << 30
"""Bytes of an encoded manifest, at most: some 14 million files."""
PART_LIMIT = 1 << 16
"""Bytes of a part, at most."""
PAGE_LIMIT = 512
"""Parts of a page, at most."""
_MAGIC = b"xget-manifest\0"
VERSION = 4
"""Of the index and of the body."""
_HEAD = struct.Struct("<14sHI")  # magic, version, number of pages
_PAGE = struct.Struct("<32sII")  # digest, number of parts, bytes of all its parts
_PART = struct.Struct("<32sI")  # digest, bytes
HEAD_SIZE = _HEAD.size
_ENDS_PAGE = 32
"""A page ends after one part in so many, by its digest,"""
_SMALLEST_PAGE = 8
"""but not before it has so many parts."""


class Part(NamedTuple):
    """Where a part is in the encoded manifest, in bytes."""

    digest: bytes
    start: int
    size: int


class Page(NamedTuple):
    """Where a page and its parts are in the encoded manifest, in bytes."""

    digest: bytes
    start: int
    size: int
    parts_start: int
    parts_size: int

    def parts(self, data: bytes | memoryview) -> list[Part]:
        """`data` is the page. Raises MalformedManifest where it is not."""
        if blake3(data).digest() != self.digest:
            raise MalformedManifest("a page of its index has another digest")
        found, at = [], self.parts_start
        for digest, size in _PART.iter_unpack(data):
            if not 0 < size <= PART_LIMIT:
                raise MalformedManifest("a part has no valid size")
            found.append(Part(digest, at, size))
            at += size
        if at != self.parts_start + self.parts_size:
            raise MalformedManifest("the parts of a page have another size")
        return found


class Index:
    """The root of an encoded manifest. Raises MalformedManifest for what is no root."""

    def __init__(self, root: bytes | memoryview, size: int) -> None:
        """`size`: that of the whole manifest."""
        self.size = size
        self.generation = blake3(root).digest()
        if len(root) < HEAD_SIZE or len(root) != root_size(root):
            raise MalformedManifest("the root of its index is cut off")
        pages = list(_PAGE.iter_unpack(root[HEAD_SIZE:]))
        self.body_start = len(root) + sum(count for _, count, _ in pages) * _PART.size
        self.pages: list[Page] = []
        at, parts_at = len(root), self.body_start
        for digest, count, parts_size in pages:
            if not 0 < count <= PAGE_LIMIT:
                raise MalformedManifest("a page of its index has no parts, or too many")
            self.pages.append(Page(digest, at, count * _PART.size, parts_at, parts_size))
            at += count * _PART.size
            parts_at += parts_size
        if parts_at != size:
            raise MalformedManifest("its index describes another size")

    @classmethod
    def of(cls, data: bytes | memoryview) -> Index:
        """Of a whole encoded manifest, of which only the root is looked at."""
        return cls(data[: root_size(data[:HEAD_SIZE])], len(data))

    def parts(self, data: bytes | memoryview) -> Iterator[Part]:
        """All parts of the whole manifest `data`."""
        for page in self.pages:
            yield from page.parts(data[page.start : page.start + page.size])


def format_of(head: bytes | memoryview) -> int | None:
    """The number of the format, by the first HEAD_SIZE bytes; None if this is no manifest that has one there."""
    if len(head) < HEAD_SIZE or head[: len(_MAGIC)] != _MAGIC:
        return None
    return int(_HEAD.unpack(head[:HEAD_SIZE])[1])


def root_size(head: bytes | memoryview) -> int:
    """The size of a root, by its first HEAD_SIZE bytes."""
    version = format_of(head)
    if version is None:
        raise MalformedManifest("not a manifest")
    if version != VERSION:
        raise MalformedManifest(f"version {version} is not supported (use the same version of XGet at the master)")
    return int(HEAD_SIZE + _HEAD.unpack(head[:HEAD_SIZE])[2] * _PAGE.size)


def verify(data: bytes | memoryview) -> Index:
    """The index of a whole encoded manifest, every part of which has the digest that its page says. Raises
    MalformedManifest."""
    index = Index.of(data)
    for digest, start, size in index.parts(data):
        if blake3(data[start : start + size]).digest() != digest:
            raise MalformedManifest("a part has another digest")
    return index


def with_index(body: bytes, ends: list[int]) -> bytes:
    """The encoded manifest that has this body. `ends`: where the parts end, rising; the last is the end of the body."""
    view = memoryview(body)
    root, pages, page, page_start = bytearray(), bytearray(), bytearray(), 0
    for start, end in pairwise([0, *ends]):
        digest = blake3(view[start:end]).digest()
        page += _PART.pack(digest, end - start)
        count = len(page) // _PART.size
        ends_page = digest[0] % _ENDS_PAGE == 0 and count >= _SMALLEST_PAGE
        if ends_page or count == PAGE_LIMIT or end == ends[-1]:
            root += _PAGE.pack(blake3(page).digest(), count, end - page_start)
            pages += page
            page, page_start = bytearray(), end
    return b"".join((_HEAD.pack(_MAGIC, VERSION, len(root) // _PAGE.size), root, pages, body))

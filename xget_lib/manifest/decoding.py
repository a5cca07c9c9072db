"""Decodes a manifest from an untrusted source, and refuses everything that is not exactly the canonical encoding.

This module reads the msgpack values; `manifest.checks` compares the columns with each other.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from operator import sub
from typing import Any

import msgpack

from xget_lib.errors import MalformedManifest
from xget_lib.manifest.acl import owner_ids
from xget_lib.manifest.checks import check, refuse
from xget_lib.manifest.entry import (
    ID_LIMIT,
    MODE_LIMIT,
    PATH_LIMIT,
    XATTR_NAME_LIMIT,
    XATTR_VALUE_LIMIT,
    XATTRS_LIMIT,
    EntryMetadata,
    Xattrs,
)
from xget_lib.manifest.extents import EXTENTS_LIMIT
from xget_lib.manifest.index import VERSION, Index, verify
from xget_lib.manifest.manifest import (
    COLUMNS,
    ENTRIES_LIMIT,
    MAGIC,
    METADATA_LIMIT,
    OMITTED_LIMIT,
    OWNER_LIMIT,
    OWNER_NAME_LIMIT,
    REASON_LIMIT,
    Manifest,
    Omitted,
    decode_column,
    pack_head,
)
from xget_lib.manifest.table import Table

_READ_SIZE = 1 << 16
_HEAD_ITEM_LIMIT = 1 << 28
"""Bytes of one value before the columns, at most: a file may have a thousand attributes of 64 KiB."""
_BIN_HEADS = {0xC4: 1, 0xC5: 2, 0xC6: 4}  # first byte of a msgpack bin: how many bytes its length has


def decode(data: bytes | memoryview) -> Manifest:
    """The manifest of which `data` is the encoding. Raises MalformedManifest for anything else.

    The manifest goes on using `data`, which must not change.
    """
    verify(data)
    return decode_verified(data)


def decode_verified(data: bytes | memoryview) -> Manifest:
    """As decode, for what `manifest.index.verify` has accepted."""
    manifest = decode_trusted(data)
    check(manifest)
    return manifest


def decode_trusted(data: bytes | memoryview) -> Manifest:
    """As decode, for what a process of this program has encoded: compares neither digests nor columns."""
    view = memoryview(data)
    index = Index.of(view)
    manifest = decode_body(view[index.body_start :])
    manifest.__dict__["generation"] = index.generation
    return manifest


def decode_body(body: bytes | memoryview) -> Manifest:
    """The inverse of `Manifest.encode_body`: refuses all but the canonical encoding, and does not compare columns."""
    try:
        return _read(memoryview(body))
    except (msgpack.UnpackException, ValueError, OverflowError, RecursionError) as error:
        raise MalformedManifest(f"invalid msgpack ({error or type(error).__name__})") from error


def _read(view: memoryview) -> Manifest:
    # It has a copy of what it has read, so it reads only the part before the columns.
    unpacker = msgpack.Unpacker(
        _Reader(view),
        object_pairs_hook=_xattrs,
        read_size=_READ_SIZE,
        max_buffer_size=_HEAD_ITEM_LIMIT,
        max_array_len=4,
        max_map_len=XATTRS_LIMIT,
        max_bin_len=max(PATH_LIMIT, XATTR_VALUE_LIMIT),
        max_str_len=4 * max(REASON_LIMIT, OWNER_NAME_LIMIT),
        max_ext_len=0,
    )
    elements = unpacker.read_array_header()
    if unpacker.unpack() != MAGIC:
        refuse("not a manifest")
    version = unpacker.unpack()  # which may have another number of elements
    if version != VERSION:
        what = f"version {version}" if type(version) is int else "its version"
        refuse(f"{what} is not supported (use the same version of XGet at the master)")
    if elements != 6 + len(COLUMNS):
        refuse(f"{elements} elements")
    users, groups = _names(unpacker), _names(unpacker)
    metadata = tuple(map(_metadata, _elements(unpacker, METADATA_LIMIT)))
    omitted = tuple(_omitted(list(_elements(unpacker, 3 * OMITTED_LIMIT))))
    at = unpacker.tell()
    packer = msgpack.Packer(autoreset=False)
    pack_head(packer, users, groups, metadata, omitted)
    if view[:at] != packer.getbuffer():
        refuse("not in canonical encoding")
    del unpacker, packer
    columns: dict[str, Any] = {}
    for name, code in COLUMNS.items():
        column, at = _column(view, at)
        columns[name] = column if code == "B" else decode_column(code, column)
    if at != len(view):
        refuse("extra bytes at the end")
    owners = owner_ids(metadata)
    if not (users.keys() <= owners[0] and groups.keys() <= owners[1]):
        refuse("a user or group in the list owns nothing")
    extents = _extents(columns.pop("sparse"), columns.pop("extents"))
    digests = columns.pop("digests")
    if len(columns["kinds"]) > ENTRIES_LIMIT:
        refuse("too many entries")
    columns |= {name: bytes(columns[name]) for name in ("kinds", "names", "targets")}
    entries = Table(distinct_metadata=metadata, extents=extents, **columns)
    if len(entries.first_names) and len(entries.first_names) == len(entries.hard_links):
        columns["first_names"] = _first_names(entries)
        entries = Table(distinct_metadata=metadata, extents=extents, **columns)
    return Manifest(entries, digests, users, groups, omitted)


class _Reader:
    """The bytes as a file."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def read(self, count: int) -> bytes:
        part = bytes(self._view[self._at : self._at + count])
        self._at += len(part)
        return part


def _elements(unpacker: msgpack.Unpacker, limit: int) -> Iterator[Any]:
    count = unpacker.read_array_header()
    if count > limit:
        refuse("list too long")
    for _ in range(count):
        yield unpacker.unpack()


def _names(unpacker: msgpack.Unpacker) -> dict[int, str]:
    names: dict[int, str] = {}
    for _ in range(unpacker.read_map_header()):
        number, name = unpacker.unpack(), unpacker.unpack()
        if type(number) is not int or not isinstance(name, str) or not name.isprintable():
            refuse("a user or group is not a number and a name")
        if not 0 < len(name.encode()) <= OWNER_NAME_LIMIT or len(names) == OWNER_LIMIT:
            refuse("too many users or groups, or a name is too long")
        names[number] = name
    return names


def _xattrs(pairs: list[tuple[Any, Any]]) -> Xattrs:
    for name, value in pairs:
        if type(name) is not bytes or type(value) is not bytes or len(value) > XATTR_VALUE_LIMIT:
            refuse("an extended attribute is not a name and a value")
        if not 0 < len(name) <= XATTR_NAME_LIMIT or b"\0" in name:
            refuse("an extended attribute has no valid name")
    return tuple(sorted(dict(pairs).items()))


def _metadata(fields: Any) -> EntryMetadata:
    if type(fields) is not list or tuple(map(type, fields)) != (int, int, int, tuple):
        refuse("metadata has wrong fields")
    metadata = EntryMetadata(*fields)
    if not (0 <= metadata.mode <= MODE_LIMIT and 0 <= metadata.uid < ID_LIMIT and 0 <= metadata.gid < ID_LIMIT):
        refuse("a mode or owner is outside the limits")
    return metadata


def _omitted(fields: list[Any]) -> Iterator[Omitted]:
    last: bytes | None = None
    for path, why, expected in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        if (type(path), type(why), type(expected)) != (bytes, str, bool):
            refuse("an omitted path has no reason, or its type is wrong")
        if not why.isprintable() or len(why) > REASON_LIMIT:
            refuse("the reason why it is omitted is not printable, or too long", path)
        if len(path) > PATH_LIMIT or b"\0" in path or (last is not None and path <= last):
            refuse("omitted paths are not in order, or not valid paths", path)
        last = path
        yield Omitted(path, why, expected)


def _column(view: memoryview, at: int) -> tuple[memoryview, int]:
    """The bytes in the msgpack bin at an offset, and where it ends."""
    width = _BIN_HEADS.get(view[at], 0) if at < len(view) else 0
    start = at + 1 + width
    length = int.from_bytes(view[at + 1 : start], "big")
    if not width or start + length > len(view) or (width > 1 and length >> 4 * width == 0):
        refuse("a column is missing, truncated, or not in canonical encoding")
    return view[start : start + length], start + length


def _first_names(entries: Table) -> Sequence[int]:
    """The first names of hard links, of a table that has the distances to them."""
    try:
        return array("I", map(sub, entries.hard_links, entries.first_names))
    except OverflowError:
        refuse("the target of a hard link is not an earlier file")


def _extents(sparse: Sequence[int], extents: Sequence[int]) -> dict[int, Sequence[int]]:
    """By file number. `manifest.checks` compares them with the files."""
    by_file: dict[int, Sequence[int]] = {}
    at = 0
    last = -1
    for distance, count in zip(sparse[::2], sparse[1::2], strict=True):
        if not distance or count > EXTENTS_LIMIT:
            refuse("files with holes are out of order, or have too many extents")
        file = last + distance
        by_file[file] = extents[at : at + 2 * count]
        at += 2 * count
        last = file
    if at != len(extents):
        refuse("the number of extents is wrong")
    return by_file

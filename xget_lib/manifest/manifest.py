"""A manifest: every entry of a served directory with its metadata, and the digest of every piece.

Its encoding is msgpack and canonical: the same content gives the same bytes, and `decoding` refuses any other bytes for
it. So the BLAKE3 of the encoding, the *generation*, names exactly one content, and who knows it needs to trust nobody
for the rest. It is one array of

    "xget-manifest", 2
    users, groups     {number: name}, those of the owners that have a name
    looks             [[mode, uid, gid, {name of an extended attribute: value}], ...], each once
    omitted           [path, why, as it should be?, ...], sorted: what is there and not in here, as it could not be
                      read, or is nothing to be copied
    kinds, names, children, looks, mtimes, sizes, firsts, targets, devices
                      the columns of `table`
    sparse            file number, number of extents, ... of the files that have holes
    extents           their extents, one file's after another's
    digests           the BLAKE3 of each piece

All from `kinds` on are msgpack's bin, with numbers as in COLUMNS, little-endian: so half a million entries are checked
column by column, and used where they are. `names` and `targets` end with a NUL each.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgpack
from blake3 import blake3

from xget_lib.manifest.entry import FILE, Entry, Look
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.table import Table

MAGIC = "xget-manifest"
VERSION = 3
DIGEST_SIZE = 32

OWNER_LIMIT = 65536  # users, or groups, that have a name
OWNER_NAME_LIMIT = 256  # bytes
OMITTED_LIMIT = 1000000

COLUMNS = {
    "kinds": "B",
    "names": "B",
    "children": "I",
    "look_numbers": "I",
    "mtimes": "q",
    "sizes": "Q",
    "firsts": "I",
    "targets": "B",
    "devices": "I",
    "sparse": "Q",
    "extents": "Q",
    "digests": "B",
}
"""The columns in their order, and what numbers they are of, in the letters of `struct`: bytes, or of 4 or 8 bytes."""


@dataclass(frozen=True)
class Omitted:
    """Something in the served directory of which nothing is known here; of a directory, nothing of what is in it."""

    path: bytes
    why: str
    expected: bool = False
    """Whether nobody expects it to be copied: a socket, another file system. Else the master could not read it."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """The entries, what those of them contain that are files, and the names of their owners that have one.

    The constructor trusts its caller; what comes from elsewhere goes through `decoding.decode`.
    """

    entries: Table
    digests: bytes | memoryview
    """DIGEST_SIZE bytes for each piece of the layout."""
    users: Mapping[int, str]
    groups: Mapping[int, str]
    omitted: tuple[Omitted, ...] = ()

    @property
    def single_file(self) -> bool:
        """Whether the master was given one file, which then is the only entry."""
        return self.entries.kind(0) == FILE

    @property
    def unreadable(self) -> list[Omitted]:
        """What its master could not read."""
        return [each for each in self.omitted if not each.expected]

    @property
    def layout(self) -> Layout:
        return self.entries.layout

    @cached_property
    def generation(self) -> bytes:
        """The BLAKE3 of the encoding: the name of exactly this content."""
        return blake3(self.encode()).digest()

    def file(self, number: int) -> Entry:
        """The entry of regular file `number` of the layout."""
        return self.entries[self.entries.files[number]]

    def find(self, path: bytes) -> int | None:
        """The number of the entry with this path."""
        return self.entries.find(path)

    def path_of(self, file: int) -> bytes:
        """The path of regular file `file` of the layout."""
        return self.entries.path(self.entries.files[file])

    def digest(self, number: int) -> bytes:
        """The BLAKE3 of piece `number` of the layout."""
        return bytes(self.digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE])

    def content_of(self, file: int) -> bytes:
        """What names the content of regular file `file` of the layout: the same in two manifests for the same bytes."""
        pieces = self.layout.file_pieces(file)
        numbers = array("Q", (self.entries.sizes[file], *self.entries.extents.get(file, ())))
        return numbers.tobytes() + self.digests[pieces.start * DIGEST_SIZE : pieces.stop * DIGEST_SIZE]

    def encode(self) -> bytes:
        packer = msgpack.Packer(autoreset=False)
        pack_head(packer, self.users, self.groups, self.entries.looks, self.omitted)
        for column in encode_columns(self.entries):
            packer.pack(column)
        packer.pack(self.digests)
        encoded: bytes = packer.bytes()
        return encoded


def pack_head(
    packer: msgpack.Packer,
    users: Mapping[int, str],
    groups: Mapping[int, str],
    looks: Iterable[Look],
    omitted: Iterable[Omitted],
) -> None:
    """Everything before the columns."""
    packer.pack_array_header(6 + len(COLUMNS))
    packer.pack(MAGIC)
    packer.pack(VERSION)
    for names in (users, groups):
        packer.pack_map_pairs(sorted(names.items()))
    packer.pack([[look.mode, look.uid, look.gid, dict(look.xattrs)] for look in looks])
    packer.pack([field for each in omitted for field in (each.path, each.why, each.expected)])


def encode_columns(entries: Table) -> list[bytes]:
    """The columns in the order of COLUMNS, but for the digests."""
    sparse = array("Q", (number for file in entries.extents for number in (file, len(entries.extents[file]) // 2)))
    extents = array("Q", (number for file in entries.extents for number in entries.extents[file]))
    columns: dict[str, Sequence[int] | bytes] = {"sparse": sparse, "extents": extents}
    return [
        _encode_column(code, columns[name] if name in columns else getattr(entries, name))
        for name, code in COLUMNS.items()
        if name != "digests"
    ]


def _encode_column(code: str, column: Sequence[int] | bytes) -> bytes:
    if isinstance(column, bytes):
        return column
    numbers = array(code, column)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def numbers_of(code: str, column: memoryview) -> Sequence[int]:
    """The numbers of an encoded column; on a little-endian machine, these very bytes. ValueError for an odd length."""
    if len(column) % array(code).itemsize:
        raise ValueError(f"{len(column)} bytes of numbers")
    if sys.byteorder == "little":
        return column.cast(code)  # type: ignore[call-overload,no-any-return]  # stubs know only literal codes
    numbers = array(code, bytes(column))
    numbers.byteswap()
    return numbers

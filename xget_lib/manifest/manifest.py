"""The manifest: every entry of a served directory with its metadata, and the digest of every piece of its files.

docs/protocol.md, section 3, has the encoding: a msgpack array, canonical. The BLAKE3 of the encoding (32 bytes), the
*generation*, is therefore the name of exactly this content, and a node that knows the generation can take the manifest
and the content from any peer. A column is used where it lies in the received bytes, so half a million entries cost no
more than checking them.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import msgpack
from blake3 import blake3

from xget_lib.dataclass import dataclass
from xget_lib.manifest.entry import FILE, Entry, EntryMetadata
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.table import Table

MAGIC = "xget-manifest"
VERSION = 3
DIGEST_SIZE = 32  # bytes

ENTRIES_LIMIT = 1 << 24
METADATA_LIMIT = 1 << 22  # different sets of permissions, owners and extended attributes
OWNER_LIMIT = 65536  # users, or groups, that have a name
OWNER_NAME_LIMIT = 256  # bytes
OMITTED_LIMIT = 1000000
REASON_LIMIT = 256  # characters
STILL_CHANGING = "still changing"
"""The reason why a file is omitted that changed each time the master read it. It may be complete soon."""

COLUMNS = {
    "kinds": "B",
    "names": "B",
    "children": "I",
    "metadata_numbers": "I",
    "mtimes": "q",
    "sizes": "Q",
    "first_names": "I",
    "targets": "B",
    "devices": "I",
    "sparse": "Q",
    "extents": "Q",
    "digests": "B",
}
"""The columns in the order of the encoding, with the type of their values as a letter of the array module."""


@dataclass(frozen=True)
class Omitted:
    """Something in the served directory that the manifest does not contain; of a directory, everything in it."""

    path: bytes
    why: str
    expected: bool = False
    """True: nobody expects a copy of it (a socket, another file system). False: the master could not read it."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """The content of a served directory. The constructor checks nothing; `manifest.decoding` does."""

    entries: Table
    digests: bytes | memoryview
    """DIGEST_SIZE bytes for each piece of the layout."""
    users: Mapping[int, str]
    groups: Mapping[int, str]
    omitted: tuple[Omitted, ...] = ()
    """Sorted by path."""

    @property
    def single_file(self) -> bool:
        """Whether the master serves one file, which then is the only entry."""
        return self.entries.kind(0) == FILE

    @property
    def unreadable(self) -> list[Omitted]:
        """What the master could not read."""
        return [each for each in self.omitted if not each.expected]

    @property
    def layout(self) -> Layout:
        return self.entries.layout

    @cached_property
    def generation(self) -> bytes:
        """The BLAKE3 of the encoding."""
        return blake3(self.encode()).digest()

    def file(self, number: int) -> Entry:
        """The entry with this file number."""
        return self.entries[self.entries.files[number]]

    def path_of(self, file: int) -> bytes:
        """The path of a regular file, by file number."""
        return self.entries.path(self.entries.files[file])

    def digest(self, piece: int) -> bytes:
        """The BLAKE3 of a piece."""
        return bytes(self.digests[piece * DIGEST_SIZE : (piece + 1) * DIGEST_SIZE])

    def content_of(self, file: int) -> bytes:
        """Identifies the content of a regular file: equal in two manifests if the file has the same bytes and holes."""
        pieces = self.layout.file_pieces(file)
        numbers = array("Q", (self.entries.sizes[file], *self.entries.extents.get(file, ())))
        return numbers.tobytes() + self.digests[pieces.start * DIGEST_SIZE : pieces.stop * DIGEST_SIZE]

    def encode(self) -> bytes:
        packer = msgpack.Packer(autoreset=False)
        pack_head(packer, self.users, self.groups, self.entries.distinct_metadata, self.omitted)
        for column in _encoded_columns(self.entries):
            packer.pack(column)
        packer.pack(self.digests)
        encoded: bytes = packer.bytes()
        return encoded


def pack_head(
    packer: msgpack.Packer,
    users: Mapping[int, str],
    groups: Mapping[int, str],
    metadata: Sequence[EntryMetadata],
    omitted: Sequence[Omitted],
) -> None:
    """Packs everything before the columns."""
    packer.pack_array_header(6 + len(COLUMNS))
    packer.pack(MAGIC)
    packer.pack(VERSION)
    for names in (users, groups):
        packer.pack_map_pairs(sorted(names.items()))
    packer.pack_array_header(len(metadata))
    for each in metadata:
        packer.pack((each.mode, each.uid, each.gid, dict(each.xattrs)))
    packer.pack_array_header(3 * len(omitted))
    for lacking in omitted:
        for field in (lacking.path, lacking.why, lacking.expected):
            packer.pack(field)


def _encoded_columns(entries: Table) -> Iterator[bytes]:
    """The columns in the order of COLUMNS, without the digests."""
    columns: dict[str, Sequence[int] | bytes] = {
        "sparse": array("Q", (value for file, each in entries.extents.items() for value in (file, len(each) // 2))),
        "extents": array("Q", (value for each in entries.extents.values() for value in each)),
    }
    for name, code in COLUMNS.items():
        if name != "digests":
            yield _encode_column(code, columns[name] if name in columns else getattr(entries, name))


def _encode_column(code: str, column: Sequence[int] | bytes) -> bytes:
    if isinstance(column, bytes):
        return column
    numbers = array(code, column)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def decode_column(code: str, column: memoryview) -> Sequence[int]:
    """The values of a column, without a copy on a little-endian machine. ValueError if the last is incomplete."""
    if len(column) % array(code).itemsize:
        raise ValueError(f"{len(column)} bytes of numbers")
    if sys.byteorder == "little":
        return column.cast(code)  # type: ignore[call-overload,no-any-return]  # stubs know only literal codes
    numbers = array(code, bytes(column))
    numbers.byteswap()
    return numbers

"""The manifest: every entry of a served directory with its metadata, and the digest of every piece of its files.

docs/protocol.md, section 3, has the encoding: an index of digests (`manifest.index`), and the body, a canonical msgpack
array. The BLAKE3 of the root of the index (32 bytes), the *generation*, is therefore the name of exactly this content,
and a node that knows the generation can take the manifest and the content from any peer. A column is used where it lies
in the received bytes, so half a million entries cost no more than checking them.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from operator import sub

import msgpack

from xget_lib.dataclass import dataclass
from xget_lib.manifest.entry import FILE, Entry, EntryMetadata
from xget_lib.manifest.index import VERSION, Index, with_index
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.parts import part_ends
from xget_lib.manifest.table import Table

MAGIC = "xget-manifest"
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
        """The BLAKE3 of the root of the index."""
        return Index.of(self.encode()).generation

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
        """As it is served: the index and the body."""
        body, head_items, columns = self._packed()
        encoded = with_index(body, part_ends(body, self.entries, head_items, columns))
        self.__dict__["generation"] = Index.of(encoded).generation
        return encoded

    def encode_body(self) -> bytes:
        return self._packed()[0]

    def _packed(self) -> tuple[bytes, Sequence[int], dict[str, tuple[int, int]]]:
        """The body; where the items before the columns end; where the values of each column begin and end."""
        packer = msgpack.Packer(autoreset=False)
        head_items = pack_head(packer, self.users, self.groups, self.entries.distinct_metadata, self.omitted)
        columns = {}
        for name, column in (*_encoded_columns(self.entries), ("digests", self.digests)):
            packer.pack(column)
            end = len(packer.getbuffer())
            columns[name] = end - len(column), end
        body: bytes = packer.bytes()
        return body, head_items, columns


def pack_head(
    packer: msgpack.Packer,
    users: Mapping[int, str],
    groups: Mapping[int, str],
    metadata: Sequence[EntryMetadata],
    omitted: Sequence[Omitted],
) -> Sequence[int]:
    """Packs everything before the columns. Returns where its items end."""
    ends = array("Q")
    packer.pack_array_header(6 + len(COLUMNS))
    packer.pack(MAGIC)
    packer.pack(VERSION)
    for names in (users, groups):
        packer.pack_map_pairs(sorted(names.items()))
    packer.pack_array_header(len(metadata))
    ends.append(len(packer.getbuffer()))
    for each in metadata:
        packer.pack((each.mode, each.uid, each.gid, dict(each.xattrs)))
        ends.append(len(packer.getbuffer()))
    packer.pack_array_header(3 * len(omitted))
    for lacking in omitted:
        for field in (lacking.path, lacking.why, lacking.expected):
            packer.pack(field)
        ends.append(len(packer.getbuffer()))
    if not omitted:
        ends.append(len(packer.getbuffer()))
    return ends


def _encoded_columns(entries: Table) -> Iterator[tuple[str, bytes]]:
    """The columns in the order of COLUMNS, without the digests.

    What points to an entry or a file says how far away that is: so it stays the same if entries are added elsewhere.
    """
    columns: dict[str, Sequence[int] | bytes] = {
        "first_names": array("I", map(sub, entries.hard_links, entries.first_names)),
        "sparse": array("Q", _sparse(entries.extents)),
        "extents": array("Q", (value for each in entries.extents.values() for value in each)),
    }
    for name, code in COLUMNS.items():
        if name != "digests":
            yield name, _encode_column(code, columns[name] if name in columns else getattr(entries, name))


def _sparse(extents: Mapping[int, Sequence[int]]) -> Iterator[int]:
    """For each file with holes: how many files after the one before it is, and the number of its extents."""
    last = -1
    for file, each in extents.items():
        yield file - last
        yield len(each) // 2
        last = file


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

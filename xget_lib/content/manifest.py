"""A manifest: every entry of a served directory with its metadata, and the digest of every piece.

Its encoding is msgpack and canonical: the same entries give the same bytes, and decode refuses any other bytes for
them. So the BLAKE3 of the encoding, the *generation*, names exactly one content, and who knows it needs to trust
nobody for the rest. As read by any msgpack tool:

    ["xget-manifest", 1, {uid: name}, {gid: name}, [entry, ...]]
    entry: [path, kind, mode, uid, gid, mtime_ns, size, target, digests, {extra name: bytes}]

The entries stand in the order of their paths, compared component by component, so a directory stands before what is
in it, and all of that in one run. The first is the served directory itself (path b""); where a master serves one
file, that file is the only entry.

Manifests come from strangers. decode checks everything that the rest of the program relies on, entry by entry while
they are read, and builds no object that a stranger's number alone asked for.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import msgpack
from blake3 import blake3

from xget_lib.content.layout import Layout, piece_count
from xget_lib.errors import MalformedManifest, printable

MAGIC = "xget-manifest"
VERSION = 1
DIGEST_SIZE = 32

NAME_LIMIT = 255  # bytes; NAME_MAX of every Linux file system
PATH_LIMIT = 65535  # bytes; more than PATH_MAX, as paths are walked component by component
TARGET_LIMIT = 4095  # bytes; PATH_MAX without its NUL
OWNER_LIMIT = 65536  # users, or groups, that have a name
OWNER_NAME_LIMIT = 256  # bytes
EXTRA_LIMIT = 16
SIZE_LIMIT = 1 << 63  # of all content together, exclusive
ID_LIMIT = (1 << 32) - 1  # exclusive: chown takes it for "leave as it is"
MODE_LIMIT = 0o7777


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the served directory.

    kind is "d" directory, "f" regular file, "l" symbolic link to `target`, "h" hard link: another name of the file
    at path `target`, which stands earlier. `size` (bytes) and `digests` (DIGEST_SIZE bytes a piece) are those of "f"
    and empty for all others. A hard link has the metadata of its file. `extra` is the place for what a later version
    knows about an entry: (name, encoded value) by name; unknown ones are kept and mean nothing.
    """

    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    target: bytes = b""
    digests: bytes = b""
    extra: tuple[tuple[str, bytes], ...] = ()


def order(path: bytes) -> bytes:
    """The sort key of a path. A NUL is in no name and below every byte: so this compares component by component."""
    return path.replace(b"/", b"\0")


def entry_fields(entry: Entry) -> tuple[object, ...]:
    """An entry as msgpack carries it."""
    return (
        entry.path,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.mtime_ns,
        entry.size,
        entry.target,
        entry.digests,
        dict(entry.extra),
    )


@dataclass(frozen=True)
class Manifest:
    """The entries in their order, and the names of the users and groups among their owners that have one.

    The constructor trusts its caller; what comes from elsewhere goes through decode.
    """

    entries: tuple[Entry, ...]
    users: Mapping[int, str]
    groups: Mapping[int, str]

    @property
    def single_file(self) -> bool:
        """Whether the master was given one file, which then is the only entry."""
        return self.entries[0].kind != "d"

    @cached_property
    def files(self) -> array[int]:
        """By file number (as the layout counts them): the index of the entry."""
        return array("Q", (index for index, entry in enumerate(self.entries) if entry.kind == "f"))

    @cached_property
    def layout(self) -> Layout:
        return Layout([(entry.path, entry.size) for entry in self.entries if entry.kind == "f"])

    @cached_property
    def generation(self) -> bytes:
        """The BLAKE3 of the encoding: the name of exactly this content."""
        return blake3(self.encode()).digest()

    def file(self, number: int) -> Entry:
        """The entry of regular file `number` of the layout."""
        return self.entries[self.files[number]]

    def file_number(self, index: int) -> int:
        """The layout's number of the regular file that is entry `index`. Another kind of entry raises ValueError."""
        if self.entries[index].kind != "f":
            raise ValueError(f"entry {index} is not a regular file")
        return bisect_left(self.files, index)

    def digest(self, number: int) -> bytes:
        """The BLAKE3 of piece `number` of the layout."""
        file = self.layout.file_of_piece(number)
        start = (number - self.layout.file_pieces(file).start) * DIGEST_SIZE
        return self.file(file).digests[start : start + DIGEST_SIZE]

    def find(self, path: bytes) -> int | None:
        """The index of the entry with this path."""
        index = bisect_left(self.entries, order(path), key=_entry_order)
        if index < len(self.entries) and self.entries[index].path == path:
            return index
        return None

    def subtree(self, index: int) -> range:
        """The indices of an entry and of all that is below it."""
        path = self.entries[index].path
        if not path:
            return range(index, len(self.entries))
        return range(index, bisect_left(self.entries, order(path) + b"\1", index, key=_entry_order))

    def children(self, index: int) -> Iterator[int]:
        """The indices of the entries directly in a directory."""
        end = self.subtree(index).stop
        index += 1
        while index < end:
            yield index
            index = self.subtree(index).stop if self.entries[index].kind == "d" else index + 1

    def encode(self) -> bytes:
        packer = msgpack.Packer(autoreset=False)
        _pack_head(packer, self.users, self.groups, len(self.entries))
        for entry in self.entries:
            packer.pack(entry_fields(entry))
        encoded: bytes = packer.bytes()
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The manifest that these bytes are the encoding of. Anything else raises MalformedManifest."""
        reader = _Reader(data)
        try:
            manifest = reader.read()
        except (msgpack.UnpackException, ValueError, OverflowError) as error:
            raise MalformedManifest(f"not msgpack of a manifest ({error or type(error).__name__})") from error
        manifest.__dict__["generation"] = blake3(data).digest()  # canonical: the encoding is these bytes
        return manifest


def _entry_order(entry: Entry) -> bytes:
    return order(entry.path)


def _pack_head(packer: msgpack.Packer, users: Mapping[int, str], groups: Mapping[int, str], count: int) -> None:
    packer.pack_array_header(5)
    packer.pack(MAGIC)
    packer.pack(VERSION)
    for names in (users, groups):
        packer.pack_map_pairs(sorted(names.items()))
    packer.pack_array_header(count)


def _refuse(path: object, why: str) -> NoReturn:
    raise MalformedManifest(f"{printable(path) or '/'}: {why}" if isinstance(path, bytes) else why)


_FIELD_TYPES = (bytes, str, int, int, int, int, int, bytes, bytes, tuple)


class _Reader:
    """Reads one encoding. What must hold between entries is in its attributes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._packer = msgpack.Packer()
        # Arrays only ever are entries and maps extras: each is checked the moment it is complete, the innermost
        # first, so nothing nested can pile up in memory.
        self._unpacker = msgpack.Unpacker(
            list_hook=self._entry,
            object_pairs_hook=self._extra,
            max_buffer_size=max(1, len(data)),
            max_array_len=len(_FIELD_TYPES),
            max_map_len=EXTRA_LIMIT,
        )
        self._unpacker.feed(data)
        self._order: bytes | None = None  # of the entry before
        self._directories: set[bytes] = set()
        self._owners: tuple[set[int], set[int]] = (set(), set())
        self._size = 0

    def read(self) -> Manifest:
        count, users, groups = self._head()
        entries: list[Entry] = []
        hard_links: list[Entry] = []
        for _ in range(count):
            start = self._unpacker.tell()
            entry = self._unpacker.unpack()
            if not isinstance(entry, Entry):
                _refuse(None, "an entry is not an array")
            if self._data[start : self._unpacker.tell()] != self._packer.pack(entry_fields(entry)):
                _refuse(entry.path, "encoded in another way than it should be")
            entries.append(entry)
            if entry.kind == "h":
                hard_links.append(entry)
        if self._unpacker.tell() != len(self._data):
            _refuse(None, "bytes follow its end")
        manifest = Manifest(tuple(entries), users, groups)
        self._check_whole(manifest, hard_links)
        return manifest

    def _head(self) -> tuple[int, dict[int, str], dict[int, str]]:
        unpacker = self._unpacker
        if unpacker.read_array_header() != 5 or unpacker.unpack() != MAGIC:
            _refuse(None, "not a manifest")
        version = unpacker.unpack()
        if version != VERSION:
            what = f"version {version}" if type(version) is int else "its version"
            _refuse(None, f"{what} is not known here (a newer xget wrote it?)")
        users = self._names()
        groups = self._names()
        count = int(unpacker.read_array_header())
        packer = msgpack.Packer(autoreset=False)
        _pack_head(packer, users, groups, count)
        if self._data[: unpacker.tell()] != packer.bytes():
            _refuse(None, "its head is encoded in another way than it should be")
        return count, users, groups

    def _names(self) -> dict[int, str]:
        names: dict[int, str] = {}
        for _ in range(self._unpacker.read_map_header()):
            number, name = self._unpacker.unpack(), self._unpacker.unpack()
            if type(number) is not int or not isinstance(name, str) or not name.isprintable():
                _refuse(None, "a user or group is not a number and a name")
            if not 0 < len(name.encode()) <= OWNER_NAME_LIMIT or len(names) == OWNER_LIMIT:
                _refuse(None, "too many users or groups, or too long a name")
            names[number] = name
        return names

    @staticmethod
    def _extra(pairs: list[tuple[Any, Any]]) -> tuple[tuple[str, bytes], ...]:
        if any(type(name) is not str or type(value) is not bytes for name, value in pairs):
            _refuse(None, "an extra is not a name and bytes")
        return tuple(sorted(pairs))

    def _entry(self, fields: list[Any]) -> Entry:
        """Checks one entry by itself, and against those before it."""
        if tuple(map(type, fields)) != _FIELD_TYPES:
            _refuse(fields[0] if fields else None, "an entry with wrong fields")
        entry = Entry(*fields)
        path = entry.path
        self._check_path(path, entry.kind)
        if not (0 <= entry.mode <= MODE_LIMIT and 0 <= entry.uid < ID_LIMIT and 0 <= entry.gid < ID_LIMIT):
            _refuse(path, "mode or owner out of bounds")
        if not -SIZE_LIMIT <= entry.mtime_ns < SIZE_LIMIT:
            _refuse(path, "time out of bounds")
        self._check_content(entry)
        self._owners[0].add(entry.uid)
        self._owners[1].add(entry.gid)
        return entry

    def _check_path(self, path: bytes, kind: str) -> None:
        """Every parent is an entry that was checked before: so only the last component is new."""
        key = order(path)
        if self._order is None:
            single = kind == "f" and path not in (b"", b".", b"..") and b"/" not in path
            if not single and (path or kind != "d"):
                _refuse(path, "the first entry is not the served directory or file")
        else:
            parent, slash, name = path.rpartition(b"/")
            if key <= self._order:
                _refuse(path, "out of order, or twice")
            if parent not in self._directories or (slash and not parent):
                _refuse(path, "not in a directory of the manifest")
            if name in (b"", b".", b".."):
                _refuse(path, "not a file name")
        if len(path) - path.rfind(b"/") - 1 > NAME_LIMIT or len(path) > PATH_LIMIT or b"\0" in path:
            _refuse(path[:NAME_LIMIT], "too long, or with a NUL")
        self._order = key
        if kind == "d":
            self._directories.add(path)

    def _check_content(self, entry: Entry) -> None:
        if entry.kind == "f":
            if not 0 <= entry.size < SIZE_LIMIT or len(entry.digests) != DIGEST_SIZE * piece_count(entry.size):
                _refuse(entry.path, "size and number of digests do not match")
            self._size += entry.size
            if self._size >= SIZE_LIMIT:
                _refuse(entry.path, "more content than there can be")
        elif entry.size or entry.digests:
            _refuse(entry.path, "content in what is not a regular file")
        if entry.kind == "l":
            if not 0 < len(entry.target) <= TARGET_LIMIT or b"\0" in entry.target:
                _refuse(entry.path, "not a target of a symbolic link")
        elif entry.kind in ("d", "f"):
            if entry.target:
                _refuse(entry.path, "a target in what is not a link")
        elif entry.kind != "h":
            _refuse(entry.path, "unknown kind")

    def _check_whole(self, manifest: Manifest, hard_links: list[Entry]) -> None:
        if not manifest.entries:
            _refuse(None, "no entries")
        if not (manifest.users.keys() <= self._owners[0] and manifest.groups.keys() <= self._owners[1]):
            _refuse(None, "it names a user or group that owns nothing")
        for link in hard_links:
            index = manifest.find(link.target)
            file = manifest.entries[index] if index is not None else link
            if file.kind != "f" or order(file.path) > order(link.path):
                _refuse(link.path, "a hard link to what is not an earlier file")
            if (file.mode, file.uid, file.gid, file.mtime_ns) != (link.mode, link.uid, link.gid, link.mtime_ns):
                _refuse(link.path, "a hard link with other metadata than its file")

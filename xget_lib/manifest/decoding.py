"""Reading an encoded manifest that a stranger made: everything that the rest of the program relies on is checked.

The columns are looked through as wholes, with what Python does at the speed of C, for half a million entries in a
fraction of a second; and nothing is built that a stranger's number alone asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress, islice
from operator import ge
from typing import Any, NoReturn

import msgpack
from blake3 import blake3

from xget_lib.errors import MalformedManifest, printable
from xget_lib.manifest.acl import owners
from xget_lib.manifest.entry import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    DIRECTORY_LIMIT,
    FILE,
    HARD_LINK,
    ID_LIMIT,
    KINDS,
    LINK,
    MODE_LIMIT,
    NAME_LIMIT,
    PATH_LIMIT,
    SIZE_LIMIT,
    TARGET_LIMIT,
    XATTR_NAME_LIMIT,
    XATTR_VALUE_LIMIT,
    XATTRS_LIMIT,
    Look,
    Xattrs,
)
from xget_lib.manifest.extents import BLOCK as EXTENT_BLOCK
from xget_lib.manifest.extents import EXTENTS_LIMIT
from xget_lib.manifest.layout import SMALLEST_GRANULE, piece_count
from xget_lib.manifest.manifest import (
    COLUMNS,
    DIGEST_SIZE,
    MAGIC,
    OMITTED_LIMIT,
    OWNER_LIMIT,
    OWNER_NAME_LIMIT,
    VERSION,
    Manifest,
    Omitted,
    numbers_of,
    pack_head,
)
from xget_lib.manifest.table import Table

_NO_NAMES = (b"/", b"\0\0", b"\0.\0", b"\0..\0")  # among names that end with a NUL
_WHY_LIMIT = 256  # characters
_BIN_HEADS = {0xC4: 1, 0xC5: 2, 0xC6: 4}  # first byte of msgpack's bin: how many bytes its length has


def decode(data: bytes | memoryview) -> Manifest:
    """The manifest that these bytes are the encoding of. Anything else raises MalformedManifest.

    It goes on using the bytes: they must not change.
    """
    manifest = read(data)
    for check in (_check_names, _check_tree, _check_looks, _check_links, _check_devices, _check_content):
        check(manifest)
    return manifest


def read(data: bytes | memoryview) -> Manifest:
    """As decode, for what a process of this program has encoded: between the columns nothing is checked."""
    view = memoryview(data)
    try:
        manifest = _read(view)
    except (msgpack.UnpackException, ValueError, OverflowError, RecursionError) as error:
        raise MalformedManifest(f"not msgpack of a manifest ({error or type(error).__name__})") from error
    manifest.__dict__["generation"] = blake3(data).digest()  # canonical: the encoding is these bytes
    return manifest


def _refuse(why: str, path: bytes | None = None) -> NoReturn:
    raise MalformedManifest(why if path is None else f"{printable(path[:NAME_LIMIT]) or '/'}: {why}")


# What is not columns.


def _read(view: memoryview) -> Manifest:
    unpacker = msgpack.Unpacker(
        object_pairs_hook=_xattrs,
        max_buffer_size=max(1, len(view)),
        max_array_len=4,
        max_map_len=XATTRS_LIMIT,
        max_bin_len=max(PATH_LIMIT, XATTR_VALUE_LIMIT),
        max_str_len=4 * max(_WHY_LIMIT, OWNER_NAME_LIMIT),
        max_ext_len=0,
    )
    unpacker.feed(view)
    if unpacker.read_array_header() != 6 + len(COLUMNS) or unpacker.unpack() != MAGIC:
        _refuse("not a manifest")
    version = unpacker.unpack()
    if version != VERSION:
        what = f"version {version}" if type(version) is int else "its version"
        _refuse(f"{what} is not known here (a newer xget wrote it?)")
    users, groups = _names(unpacker), _names(unpacker)
    looks = tuple(map(_look, _elements(unpacker, len(view))))
    omitted = tuple(_omitted(list(_elements(unpacker, 3 * OMITTED_LIMIT))))
    at = unpacker.tell()
    packer = msgpack.Packer(autoreset=False)
    pack_head(packer, users, groups, looks, omitted)
    if view[:at] != packer.bytes():
        _refuse("its head is encoded in another way than it should be")
    del unpacker  # it has a copy of it all
    columns: dict[str, Any] = {}
    for name, code in COLUMNS.items():
        column, at = _column(view, at)
        columns[name] = column if code == "B" else numbers_of(code, column)
    if at != len(view):
        _refuse("bytes follow its end")
    there = owners(looks)
    if not (users.keys() <= there[0] and groups.keys() <= there[1]):
        _refuse("it names a user or group that owns nothing")
    extents = _extents(columns.pop("sparse"), columns.pop("extents"))
    digests = columns.pop("digests")
    kinds, names, targets = (bytes(columns.pop(name)) for name in ("kinds", "names", "targets"))
    entries = Table(kinds=kinds, names=names, targets=targets, looks=looks, extents=extents, **columns)
    return Manifest(entries, digests, users, groups, omitted)


def _elements(unpacker: msgpack.Unpacker, limit: int) -> Iterator[Any]:
    count = unpacker.read_array_header()
    if count > limit:
        _refuse("too long a list")
    for _ in range(count):
        yield unpacker.unpack()


def _names(unpacker: msgpack.Unpacker) -> dict[int, str]:
    names: dict[int, str] = {}
    for _ in range(unpacker.read_map_header()):
        number, name = unpacker.unpack(), unpacker.unpack()
        if type(number) is not int or not isinstance(name, str) or not name.isprintable():
            _refuse("a user or group is not a number and a name")
        if not 0 < len(name.encode()) <= OWNER_NAME_LIMIT or len(names) == OWNER_LIMIT:
            _refuse("too many users or groups, or too long a name")
        names[number] = name
    return names


def _xattrs(pairs: list[tuple[Any, Any]]) -> Xattrs:
    for name, value in pairs:
        if type(name) is not bytes or type(value) is not bytes or len(value) > XATTR_VALUE_LIMIT:
            _refuse("an extended attribute is not a name and a value")
        if not 0 < len(name) <= XATTR_NAME_LIMIT or b"\0" in name:
            _refuse("an extended attribute without a good name")
    return tuple(sorted(dict(pairs).items()))


def _look(fields: Any) -> Look:
    if type(fields) is not list or tuple(map(type, fields)) != (int, int, int, tuple):
        _refuse("a look with wrong fields")
    look = Look(*fields)
    if not (0 <= look.mode <= MODE_LIMIT and 0 <= look.uid < ID_LIMIT and 0 <= look.gid < ID_LIMIT):
        _refuse("mode or owner out of bounds")
    return look


def _omitted(fields: list[Any]) -> Iterator[Omitted]:
    last: bytes | None = None
    for path, why, expected in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        if (type(path), type(why), type(expected)) != (bytes, str, bool):
            _refuse("what is omitted is not a path, why, and whether it should be")
        if not why.isprintable() or len(why) > _WHY_LIMIT:
            _refuse("what is omitted has no good reason", path)
        if len(path) > PATH_LIMIT or b"\0" in path or (last is not None and path <= last):
            _refuse("what is omitted is not in order, or no path", path)
        last = path
        yield Omitted(path, why, expected)


def _column(view: memoryview, at: int) -> tuple[memoryview, int]:
    """The content of the bin at an offset, and where it ends."""
    width = _BIN_HEADS.get(view[at], 0) if at < len(view) else 0
    start = at + 1 + width
    length = int.from_bytes(view[at + 1 : start], "big")
    if not width or start + length > len(view) or (width > 1 and length >> 4 * width == 0):
        _refuse("a column is missing, cut off, or encoded in another way than it should be")
    return view[start : start + length], start + length


def _extents(sparse: Sequence[int], extents: Sequence[int]) -> dict[int, Sequence[int]]:
    """By file number. The numbers themselves are looked at with the files."""
    by_file: dict[int, Sequence[int]] = {}
    at = 0
    last = -1
    for file, count in zip(sparse[::2], sparse[1::2], strict=True):
        if file <= last or count > EXTENTS_LIMIT:
            _refuse("files with holes are out of order, or have too many")
        by_file[file] = extents[at : at + 2 * count]
        at += 2 * count
        last = file
    if at != len(extents):
        _refuse("extents of no file, or too few")
    return by_file


# What must hold between columns.


def _check_names(manifest: Manifest) -> None:
    """Each is the name of a file, and each directory's are in order. The first may be b"": the served directory."""
    entries = manifest.entries
    count = len(entries)
    names = _split(entries.names, count, "names")
    if not count or entries.kinds.translate(None, KINDS.encode()):
        _refuse("no entries, or of an unknown kind")
    single = entries.kind(0) == FILE
    if not (single if names[0] else entries.kind(0) == DIRECTORY) or (count > 1 and single):
        _refuse("the first entry is not the served directory or file", names[0])
    forbidden = next((bad for bad in _NO_NAMES if bad in entries.names), None)
    if forbidden or names[0] in (b".", b"..") or max(map(len, names)) > NAME_LIMIT:
        _refuse("not a file name", forbidden or max(names, key=len))
    # Between two directories' entries the order begins anew.
    starts = set(entries.starts) if sum(entries.children) == count - 1 else set()
    for number in compress(range(1, count), map(ge, names, islice(names, 1, None))):
        if number not in starts:
            _refuse("out of order, or twice", names[number])


def _check_tree(manifest: Manifest) -> None:
    """Every entry but the first is in a directory that stands before it, and whose path is not too long."""
    entries = manifest.entries
    directories = entries.directories
    if len(entries.children) != len(directories) or entries.starts[-1] != len(entries):
        _refuse("the directories' numbers of entries do not add up")
    lengths = [0]
    for directory, (number, start) in enumerate(zip(directories, entries.starts, strict=False)):
        if start <= number:
            _refuse("a directory stands behind what is in it", entries.name(number))
        if directory:
            above = lengths[entries.directory_of(number)]
            lengths.append(above + (above > 0) + len(entries.name(number)))
    if max(lengths) > DIRECTORY_LIMIT:
        _refuse("too long a path")


def _check_looks(manifest: Manifest) -> None:
    """Every entry has a look and a time, and the looks stand in the order of their first use, each once."""
    entries = manifest.entries
    if not len(entries) == len(entries.look_numbers) == len(entries.mtimes):
        _refuse("not every entry has a look and a time")
    used = 0
    for number in entries.look_numbers:
        if number > used:
            _refuse("the looks are not in the order of their use")
        used += number == used
    if used != len(entries.looks) or len(set(entries.looks)) != used:
        _refuse("some looks are not used, or twice there")


def _check_links(manifest: Manifest) -> None:
    entries = manifest.entries
    targets = _split(entries.targets, entries.kinds.count(LINK.encode()), "targets")
    if targets and (b"" in targets or max(map(len, targets)) > TARGET_LIMIT):
        _refuse("not a target of a symbolic link")
    if len(entries.firsts) != len(entries.hard_links):
        _refuse("not every hard link has a first name")
    looks, mtimes = entries.look_numbers, entries.mtimes
    for number, first in zip(entries.hard_links, entries.firsts, strict=True):
        if first >= number or entries.kind(first) in (DIRECTORY, HARD_LINK):
            _refuse("a hard link to what is no earlier file", entries.path(number))
        if (looks[first], mtimes[first]) != (looks[number], mtimes[number]):
            _refuse("a hard link with other metadata than its file", entries.path(number))


def _check_devices(manifest: Manifest) -> None:
    entries = manifest.entries
    if len(entries.devices) != 2 * sum(entries.kinds.count(kind.encode()) for kind in (CHARACTER, BLOCK)):
        _refuse("not every device has its two numbers")


def _check_content(manifest: Manifest) -> None:
    """Sizes, holes and digests fit together. Builds nothing: the layout may be built when this has passed."""
    entries = manifest.entries
    sizes = entries.sizes
    if len(sizes) != len(entries.files) or max(sizes, default=0) >= SIZE_LIMIT:
        _refuse("not every file has a size")
    size = sum(sizes)
    pieces = sum([size > 0 if size <= SMALLEST_GRANULE else piece_count(size) for size in sizes])
    for file, extents in entries.extents.items():
        if file >= len(sizes):
            _refuse("holes in what is no file")
        data = _check_extents(extents, sizes[file])
        size += data - sizes[file]
        pieces += piece_count(data, extents) - piece_count(sizes[file])
    if size >= SIZE_LIMIT:
        _refuse("more content than there can be")
    if len(manifest.digests) != DIGEST_SIZE * pieces:
        _refuse("sizes and number of digests do not match")


def _check_extents(extents: Sequence[int], size: int) -> int:
    """How much data the extents are, of a file of this size that has holes."""
    end = -1
    for start, length in zip(extents[::2], extents[1::2], strict=True):
        if start <= end or start % EXTENT_BLOCK or not length or start + length > size:
            _refuse("extents are not in order, or not in the file")
        end = start + length
        if end % EXTENT_BLOCK and end != size:
            _refuse("extents are not whole blocks")
    data = sum(extents[1::2])
    if data == size:
        _refuse("holes where there are none")
    return data


def _split(joined: bytes, count: int, what: str) -> list[bytes]:
    """The names that end with a NUL each."""
    names = joined.split(b"\0")
    if names.pop() or len(names) != count:
        _refuse(f"not as many {what} as there should be")
    return names

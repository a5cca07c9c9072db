"""A directory on disk at one moment, on its way to a manifest.

Three steps, so that several worker processes can share the work: one *scans* the tree (names and metadata, one stat
each), all *hash* pieces of the files found, and one *assembles* the manifest. A scan carries a stamp of every regular
file; hashing checks it before and after reading, so a manifest never mixes two states of a file. Where a file
changed meanwhile, hashing says so and the caller scans again.

Nothing below the served directory is reached through a link (beneath.py): a link is an entry, never a way.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import msgpack
from blake3 import blake3

from xget_lib.content.beneath import Root
from xget_lib.content.layout import Layout
from xget_lib.content.manifest import (
    DIGEST_SIZE,
    OWNER_LIMIT,
    OWNER_NAME_LIMIT,
    PATH_LIMIT,
    SIZE_LIMIT,
    Entry,
    Manifest,
    entry_fields,
    order,
)
from xget_lib.content.selection import WORKPLACE
from xget_lib.content.stamp import STAMP_WORDS, Stamp, stamp_of
from xget_lib.errors import PathRefused, StaleGeneration


@dataclass(frozen=True)
class Scan:
    """What a scan found.

    base        absolute path of the directory that files are read below: the served one, or that of the single file
    outline     the manifest, with no digests yet
    stamps      STAMP_WORDS numbers per regular file, in the layout's order
    skipped     (path, why) of what is there and not in the outline
    location    the name below base of a single served file, which may differ from its entry's path: it may have been
                named through a link. Otherwise b""
    """

    base: bytes
    outline: Manifest
    stamps: array[int]
    skipped: tuple[tuple[bytes, str], ...]
    location: bytes = b""

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self.outline.entries

    @cached_property
    def layout(self) -> Layout:
        return self.outline.layout

    def path_of(self, file: int) -> bytes:
        """Where regular file `file` of the layout is, below base."""
        return self.location or self.outline.file(file).path

    def stamp(self, file: int) -> Stamp:
        size, mtime, ctime, inode, device = self.stamps[file * STAMP_WORDS : (file + 1) * STAMP_WORDS]
        return size, mtime, ctime, inode, device

    def encode(self) -> bytes:
        """For a process of the same program. It is not canonical, nor checked when decoded."""
        packer = msgpack.Packer(autoreset=False)
        names = [list(owners.items()) for owners in (self.outline.users, self.outline.groups)]
        packer.pack((self.base, self.location, self.skipped, self.stamps.tobytes(), *names))
        for entry in self.entries:
            packer.pack(entry_fields(entry))
        encoded: bytes = packer.bytes()
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Scan:
        """What encode gave, in this program: for other bytes there is no promise."""
        unpacker = msgpack.Unpacker(use_list=False, object_pairs_hook=tuple, max_buffer_size=max(1, len(data)))
        unpacker.feed(data)
        base, location, skipped, stamps, users, groups = unpacker.unpack()
        entries = tuple(Entry(*fields) for fields in unpacker)
        return cls(base, Manifest(entries, dict(users), dict(groups)), array("q", stamps), skipped, location)


def scan(root: bytes, one_file_system: bool = False, owner_names: bool = True) -> Scan:
    """Looks at all that is below a directory, or at one regular file. Links in `root` itself are followed.

    With `one_file_system`, what is mounted below stays out (the directory it is mounted on is an empty entry).
    Without `owner_names`, users and groups are not looked up. A root that cannot be served raises PathRefused; what
    cannot be below it, the scan skips and says. The same tree gives the same scan.
    """
    try:
        status = os.stat(root)
        if stat.S_ISREG(status.st_mode):
            return _scan_file(root, owner_names)
        if not stat.S_ISDIR(status.st_mode):
            raise PathRefused(root, "neither a directory nor a regular file")
        base = os.path.realpath(root)
        with Root(base) as below:
            tree = _Tree(below, one_file_system)
            tree.scan()
    except OSError as error:
        raise PathRefused(root, error.strerror or str(error)) from error
    entries, stamps = tree.in_order()
    return Scan(base, _outline(entries, owner_names), stamps, tuple(sorted(tree.skipped)))


def _scan_file(root: bytes, owner_names: bool) -> Scan:
    base, location = os.path.split(os.path.realpath(root))
    with Root(base) as below:
        descriptor = below.open(location, os.O_RDONLY)  # also: may it be read?
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    entry = _entry(os.path.basename(os.path.abspath(root)), "f", status, status.st_size)
    return Scan(base, _outline((entry,), owner_names), array("q", stamp_of(status)), (), location)


def _entry(path: bytes, kind: str, status: os.stat_result, size: int = 0, target: bytes = b"") -> Entry:
    mtime = min(max(status.st_mtime_ns, -SIZE_LIMIT), SIZE_LIMIT - 1)  # file systems know later times than int64
    return Entry(path, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, mtime, size, target)


_SKIPPED_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class _Tree:
    """Collects the entries below a directory, in any order, and then puts them in theirs."""

    def __init__(self, root: Root, one_file_system: bool) -> None:
        self.skipped: list[tuple[bytes, str]] = []
        self._root = root
        self._one_file_system = one_file_system
        self._device = 0
        self._entries: list[Entry] = []
        self._stamps = array("q")  # per entry, whatever its kind
        self._linked: dict[int, tuple[int, int]] = {}  # entry -> (device, inode), of files with several names
        self._unvisited: list[bytes] = []

    def scan(self) -> None:
        """Raises OSError when the root itself cannot be read."""
        status = self._root.lstat(b"")
        self._device = status.st_dev
        self._add(_entry(b"", "d", status), status)
        self._list(b"")
        while self._unvisited:
            path = self._unvisited.pop()
            try:
                self._list(path)
            except OSError as error:
                self._skip(path, error)

    def _list(self, path: bytes) -> None:
        """One directory. Through a descriptor: every stat is then one component, and no link can come between."""
        descriptor = self._root.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as listing:
                for found in listing:
                    name = os.fsencode(found.name)
                    below = path + b"/" + name if path else name
                    try:
                        self._visit(descriptor, below, name, found.stat(follow_symlinks=False))
                    except OSError as error:
                        self._skip(below, error)
        finally:
            os.close(descriptor)

    def _visit(self, directory: int, path: bytes, name: bytes, status: os.stat_result) -> None:
        kind = stat.S_IFMT(status.st_mode)
        if path == WORKPLACE:
            self._skip(path, "left by an interrupted download into this directory")
        elif len(path) > PATH_LIMIT:
            self._skip(path, "path too long")
        elif kind == stat.S_IFDIR:
            self._add(_entry(path, "d", status), status)
            if not self._one_file_system or status.st_dev == self._device:
                self._unvisited.append(path)
        elif self._one_file_system and status.st_dev != self._device:
            self._skip(path, "on another file system")
        elif kind == stat.S_IFREG:
            if not os.access(name, os.R_OK, dir_fd=directory, effective_ids=True):
                self._skip(path, os.strerror(errno.EACCES))
                return
            if status.st_nlink > 1:
                self._linked[len(self._entries)] = (status.st_dev, status.st_ino)
            self._add(_entry(path, "f", status, status.st_size), status)
        elif kind == stat.S_IFLNK:
            self._add(_entry(path, "l", status, target=os.readlink(name, dir_fd=directory)), status)
        else:
            self._skip(path, _SKIPPED_KINDS.get(kind, "neither file, directory nor link"))

    def _add(self, entry: Entry, status: os.stat_result) -> None:
        self._entries.append(entry)
        self._stamps.extend(stamp_of(status))

    def _skip(self, path: bytes, why: str | OSError) -> None:
        if isinstance(why, FileNotFoundError):
            return  # gone since it was listed: then it is not there
        self.skipped.append((path, why if isinstance(why, str) else why.strerror or str(why)))

    def in_order(self) -> tuple[tuple[Entry, ...], array[int]]:
        """The entries in manifest order, all names of a file but its first turned to hard links; stamps of files."""
        keys = [order(entry.path) for entry in self._entries]
        stamps = array("q")
        entries: list[Entry] = []
        first_names: dict[tuple[int, int], Entry] = {}
        for index in sorted(range(len(keys)), key=keys.__getitem__):
            entry = self._entries[index]
            if index in self._linked:
                first = first_names.setdefault(self._linked[index], entry)
                if first is not entry:
                    entry = Entry(entry.path, "h", first.mode, first.uid, first.gid, first.mtime_ns, target=first.path)
            if entry.kind == "f":
                stamps.extend(self._stamps[index * STAMP_WORDS : (index + 1) * STAMP_WORDS])
            entries.append(entry)
        return tuple(entries), stamps


def _outline(entries: tuple[Entry, ...], owner_names: bool) -> Manifest:
    if not owner_names:
        return Manifest(entries, {}, {})
    users = _names({entry.uid for entry in entries}, lambda uid: pwd.getpwuid(uid).pw_name)
    groups = _names({entry.gid for entry in entries}, lambda gid: grp.getgrgid(gid).gr_name)
    return Manifest(entries, users, groups)


def _names(numbers: Iterable[int], look_up: Callable[[int], str]) -> dict[int, str]:
    """The names of those that have one that a manifest can carry."""
    names: dict[int, str] = {}
    for number in sorted(numbers)[:OWNER_LIMIT]:
        try:
            name = look_up(number)
        except KeyError:
            continue
        if name.isprintable() and 0 < len(name.encode()) <= OWNER_NAME_LIMIT:
            names[number] = name
    return names


def hash_pieces(root: Root, scan: Scan, layout: Layout, first: int, end: int) -> bytes:
    """The digests of pieces first .. end - 1, DIGEST_SIZE bytes each; root is scan.base, layout is scan.layout.

    A file that is gone or changed since the scan raises StaleGeneration; one that cannot be read, PathRefused.
    """
    digests = bytearray()
    buffer = memoryview(bytearray(layout.chunk_size))  # a piece is never larger
    while first < end:
        file = layout.file_of_piece(first)
        stop = min(end, layout.file_pieces(file).stop)
        path = scan.path_of(file)
        try:
            descriptor = root.open(path, os.O_RDONLY)
            try:
                _check_stamp(descriptor, path, scan.stamp(file))
                for number in range(first, stop):
                    piece = layout.piece(number)
                    _read(descriptor, path, piece.file_offset, buffer[: piece.length])
                    digests += blake3(buffer[: piece.length]).digest()
                _check_stamp(descriptor, path, scan.stamp(file))
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                raise StaleGeneration(path) from error
            raise PathRefused(path, error.strerror or str(error)) from error
        first = stop
    return bytes(digests)


def _check_stamp(descriptor: int, path: bytes, expected: Stamp) -> None:
    if stamp_of(os.fstat(descriptor)) != expected:
        raise StaleGeneration(path)


def _read(descriptor: int, path: bytes, offset: int, buffer: memoryview) -> None:
    while buffer:
        count = os.preadv(descriptor, [buffer], offset)
        if count == 0:
            raise StaleGeneration(path)
        buffer = buffer[count:]
        offset += count


def assemble(scan: Scan, digests: bytes) -> Manifest:
    """The manifest of a scan and the digests of all its pieces, in order."""
    layout = scan.layout
    if len(digests) != layout.piece_count * DIGEST_SIZE:
        raise ValueError(f"{len(digests)} bytes of digests for {layout.piece_count} pieces")
    entries = list(scan.entries)
    for file, index in enumerate(scan.outline.files):
        pieces = layout.file_pieces(file)
        own = digests[pieces.start * DIGEST_SIZE : pieces.stop * DIGEST_SIZE]
        entries[index] = replace(entries[index], digests=own)
    return Manifest(tuple(entries), scan.outline.users, scan.outline.groups)

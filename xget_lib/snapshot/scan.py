"""Scans a directory on disk: the names and metadata of everything in it, with one stat for each name.

No link below the served directory is followed (`fs.rooted`). What cannot be served becomes `omitted`, with the reason.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgpack
from blake3 import blake3

from xget_lib.errors import PathRefused
from xget_lib.fs import xattrs
from xget_lib.fs.rooted import Root
from xget_lib.fs.sparse import data_ranges
from xget_lib.fs.stamp import STAMP_WORDS, Stamp, stamp_of
from xget_lib.fs.thread_cwd import inside
from xget_lib.manifest.acl import owner_ids
from xget_lib.manifest.decoding import decode_trusted
from xget_lib.manifest.entry import (
    BLOCK,
    CHARACTER,
    DEPTH_LIMIT,
    DIRECTORY,
    DIRECTORY_LIMIT,
    FIFO,
    FILE,
    LINK,
    TIME_LIMIT,
    EntryMetadata,
    Xattrs,
)
from xget_lib.manifest.extents import BLOCK as SMALLEST_HOLE
from xget_lib.manifest.extents import extents_of
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import OMITTED_LIMIT, OWNER_LIMIT, OWNER_NAME_LIMIT, Manifest, Omitted
from xget_lib.manifest.selection import STAGING
from xget_lib.manifest.table import Table
from xget_lib.manifest.table_builder import TableBuilder


@dataclass(frozen=True, eq=False)
class Scan:
    """The result of a scan.

    It is plain data: one worker makes it, and the others get its encoding.
    """

    base: bytes
    """Absolute path of the directory below which files are read: the served one, or that of the served file."""
    outline: Manifest
    """The manifest, still without digests."""
    stamps: array[int]
    """STAMP_WORDS numbers for each regular file, by file number."""
    location: bytes = b""
    """The name below `base` of a single served file. If it was given as a link, its entry has the name of the link.
    b"" where a directory is served."""
    device: int = 0
    """The st_dev of `base`."""
    mounts: tuple[bytes, ...] = ()
    """The paths below `base` of other file systems that are mounted there."""

    @property
    def entries(self) -> Table:
        return self.outline.entries

    @property
    def layout(self) -> Layout:
        return self.outline.layout

    def path_of(self, file: int) -> bytes:
        """The path below `base` of a regular file, by file number."""
        return self.location or self.outline.path_of(file)

    def stamp(self, file: int) -> Stamp:
        size, mtime, ctime, inode, device = self.stamps[file * STAMP_WORDS : (file + 1) * STAMP_WORDS]
        return size, mtime, ctime, inode, device

    @property
    def cache_keys(self) -> array[int]:
        """Stamps under which the digest cache keeps digests. In that of a file with holes, the size is replaced by a
        hash of size and extents: the file system may report other extents the next time, and then pieces differ."""
        keys = self.stamps[:]
        for file, extents in self.entries.extents.items():
            where = blake3(array("Q", (self.entries.sizes[file], *extents)).tobytes()).digest(8)
            keys[file * STAMP_WORDS] = int.from_bytes(where, "little", signed=True)
        return keys

    def encode(self) -> bytes:
        """For a process of the same program, which does not check it."""
        outline = self.outline.encode()
        fields = (self.base, outline, self.stamps.tobytes(), self.location, self.device, self.mounts)
        encoded: bytes = msgpack.packb(fields)
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Scan:
        """The inverse of encode."""
        base, outline, stamps, *rest = msgpack.unpackb(data, use_list=False)
        return cls(base, decode_trusted(outline), array("q", stamps), *rest)


def scan(root: bytes, one_file_system: bool = False, owner_names: bool = True) -> Scan:
    """Scans everything below a directory, or one regular file. Links in `root` itself are followed.

    `one_file_system`: leave out what is mounted below; the mount point becomes an empty directory. `owner_names`: look
    up the names of users and groups. Raises PathRefused if `root` cannot be served. The same tree gives the same
    scan.
    """
    try:
        status = os.stat(root)
        if stat.S_ISREG(status.st_mode):
            return _scan_file(root, owner_names)
        if not stat.S_ISDIR(status.st_mode):
            raise PathRefused(root, "neither a directory nor a regular file")
        base = os.path.realpath(root)
        with Root(base) as below:
            scanner = _Scanner(below, one_file_system)
            scanner.scan()
    except OSError as error:
        raise PathRefused(root, error.strerror or str(error)) from error
    mounts = tuple(scanner.mounts)
    return Scan(base, scanner.outline(owner_names), scanner.stamps, device=scanner.device, mounts=mounts)


def _scan_file(root: bytes, owner_names: bool) -> Scan:
    base, location = os.path.split(os.path.realpath(root))
    with Root(base) as below, below.opened(b"", os.O_RDONLY | os.O_DIRECTORY) as directory:
        with below.opened(location, os.O_RDONLY) as descriptor:  # raises where it may not be read
            status = os.fstat(descriptor)
        scanner = _Scanner(below, one_file_system=False)
        with inside(directory) as path_of:
            found = xattrs.read(path_of(location))
        scanner.add_file(
            os.path.basename(os.path.abspath(root)), status, found, _find_extents(directory, location, status)
        )
    return Scan(base, scanner.outline(owner_names), scanner.stamps, location, status.st_dev)


_COMPRESSION_LIMIT = 1024
"""Bytes of data for each byte that a file occupies: no file system compresses better."""
_NOT_ON_DISK_LIMIT = 1 << 40
"""Bytes of data of a file that occupies nothing: some file systems do not say what a file occupies."""
_OTHER_FILE_SYSTEM = "on another file system"
_KINDS = {
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFREG: FILE,
    stat.S_IFLNK: LINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO,
}


class _Scanner:
    """Walks below a directory level by level, which is the order of a table, and collects the entries."""

    def __init__(self, root: Root, one_file_system: bool) -> None:
        self.stamps = array("q")  # of regular files
        self._omitted: list[Omitted] = []
        self._root = root
        self._path_of: Callable[[bytes], bytes]  # of a name in the directory that is being scanned
        self._one_file_system = one_file_system
        self.device = 0
        self.mounts: list[bytes] = []
        self._device_here = 0  # of the directory that is being scanned
        self._builder = TableBuilder()
        self._metadata: dict[tuple[int, int, int, Xattrs], EntryMetadata] = {}
        self._first_names: dict[tuple[int, int], int] = {}  # (device, inode) of a file with several names -> entry
        self._unvisited: deque[bytes | None] = deque()  # paths of directories in their order; None: leave it empty

    def scan(self) -> None:
        """Scans everything below the root. Raises OSError where the root itself cannot be read."""
        with self._root.opened(b"", os.O_RDONLY | os.O_DIRECTORY) as directory, inside(directory) as path_of:
            os.listdir(directory)
            status = os.fstat(directory)
            self.device = status.st_dev
            self.add_entry(DIRECTORY, b"", status, xattrs.read(path_of(b".")))
        self._unvisited.append(b"")
        while self._unvisited:
            path = self._unvisited.popleft()
            before = len(self._builder)
            if path is not None:
                try:
                    self._scan_directory(path)
                except OSError as error:
                    self._refused(path, error)
            self._builder.end_directory(len(self._builder) - before)

    def outline(self, owner_names: bool) -> Manifest:
        """The manifest without digests."""
        omitted = sorted(self._omitted, key=lambda each: each.path)[:OMITTED_LIMIT]
        users: dict[int, str] = {}
        groups: dict[int, str] = {}
        if owner_names:
            uids, gids = owner_ids(self._metadata.values())
            users = _names(uids, lambda uid: pwd.getpwuid(uid).pw_name)
            groups = _names(gids, lambda gid: grp.getgrgid(gid).gr_name)
        return Manifest(self._builder.table(), b"", users, groups, tuple(omitted))

    def _scan_directory(self, path: bytes) -> None:
        """Scans one directory through a descriptor: each stat walks one component, so no link is followed."""
        above = path + b"/" if path else b""
        with (
            self._root.opened(path, os.O_RDONLY | os.O_DIRECTORY) as directory,
            inside(directory) as self._path_of,
        ):
            self._device_here = os.fstat(directory).st_dev
            for name in sorted(os.listdir(self._path_of(b"."))):
                try:
                    self._add(directory, above, name, os.lstat(self._path_of(name)))
                except OSError as error:
                    self._refused(above + name, error)

    def _add(self, directory: int, above: bytes, name: bytes, status: os.stat_result) -> None:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        other_file_system = self._one_file_system and status.st_dev != self.device
        if name == STAGING:  # at any depth: it may be that of another download, into a directory below this one
            self._skip(above + name, "temporary data of XGet")
        elif kind is None:
            self._skip(above + name, "a socket")
        elif kind == DIRECTORY:
            self._add_directory(directory, above + name, name, status, other_file_system)
        elif other_file_system:
            self._skip(above + name, _OTHER_FILE_SYSTEM)
        elif status.st_nlink > 1 and (status.st_dev, status.st_ino) in self._first_names:
            self._builder.add_hard_link(name, self._first_names[status.st_dev, status.st_ino])
        else:
            number = len(self._builder)
            self._add_other(kind, directory, name, status)
            if status.st_nlink > 1:
                self._first_names[status.st_dev, status.st_ino] = number

    def _add_directory(
        self, directory: int, path: bytes, name: bytes, status: os.stat_result, other_file_system: bool
    ) -> None:
        if len(path) > DIRECTORY_LIMIT or path.count(b"/") >= DEPTH_LIMIT:
            self._omitted.append(Omitted(path, "path too long"))
        else:
            self.add_entry(DIRECTORY, name, status, xattrs.read(self._path_of(name)))
            self._unvisited.append(None if other_file_system else path)
            if other_file_system:
                self._skip(path, _OTHER_FILE_SYSTEM)
            elif status.st_dev != self._device_here:
                self.mounts.append(path)

    def _add_other(self, kind: str, directory: int, name: bytes, status: os.stat_result) -> None:
        """Does everything that can fail before it adds something: an entry is added as a whole or not at all."""
        found = xattrs.read(self._path_of(name))
        if kind == FILE:
            self.add_file(name, status, found, _find_extents(directory, name, status))
            return
        target = os.readlink(name, dir_fd=directory) if kind == LINK else b""
        self.add_entry(kind, name, status, found)
        if kind == LINK:
            self._builder.add_target(target)
        elif kind != FIFO:
            self._builder.add_device(os.major(status.st_rdev), os.minor(status.st_rdev))

    def add_file(self, name: bytes, status: os.stat_result, found: Xattrs, extents: array[int] | None) -> None:
        self.add_entry(FILE, name, status, found)
        self._builder.add_size(status.st_size, extents)
        self.stamps.extend(stamp_of(status))

    def add_entry(self, kind: str, name: bytes, status: os.stat_result, found: Xattrs) -> None:
        key = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, found)
        metadata = self._metadata.get(key)
        if metadata is None:
            metadata = self._metadata[key] = EntryMetadata(*key)
        # File systems have later times than an int64 of nanoseconds.
        self._builder.add(kind, name, metadata, min(max(status.st_mtime_ns, -TIME_LIMIT), TIME_LIMIT - 1))

    def _skip(self, path: bytes, why: str) -> None:
        self._omitted.append(Omitted(path, why, expected=True))

    def _refused(self, path: bytes, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # removed since the directory was read: no entry
            self._omitted.append(Omitted(path, error.strerror or str(error)))


def _find_extents(directory: int, name: bytes, status: os.stat_result) -> array[int] | None:
    """The extents of a file in an open directory; None if it has no holes. Raises OSError.

    Only a file that occupies fewer bytes than its size can have holes, and only such a file is opened. A size that
    cannot be true raises OSError, before anything is done so many times: /proc/kcore is 128 TiB long.
    """
    if not SMALLEST_HOLE <= status.st_size > status.st_blocks * 512:
        return None
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        extents = extents_of(data_ranges(descriptor, status.st_size), status.st_size)
    finally:
        os.close(descriptor)
    occupied = status.st_blocks * 512
    if (status.st_size if extents is None else sum(extents[1::2])) > occupied * _COMPRESSION_LIMIT + _NOT_ON_DISK_LIMIT:
        raise OSError(errno.EFBIG, f"its size of {status.st_size} bytes cannot be true (it occupies {occupied} bytes)")
    return extents


def _names(numbers: Iterable[int], look_up: Callable[[int], str]) -> dict[int, str]:
    """Of each ID that has a name which a manifest can contain: the name."""
    names: dict[int, str] = {}
    for number in sorted(numbers)[:OWNER_LIMIT]:
        try:
            name = look_up(number)
        except KeyError:
            continue
        if name.isprintable() and 0 < len(name.encode()) <= OWNER_NAME_LIMIT:
            names[number] = name
    return names

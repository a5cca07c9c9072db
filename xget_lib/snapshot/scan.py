"""Looking at a directory on disk: the names and metadata of all that is in it, one stat each.

The first of the three steps to a manifest (see `snapshot`). Nothing below the served directory is reached through a
link (fs/rooted.py): a link is an entry, never a way. What cannot be served is said, with why.
"""

from __future__ import annotations

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
from xget_lib.fs.rooted import Root, in_directory
from xget_lib.fs.sparse import data_ranges
from xget_lib.fs.stamp import STAMP_WORDS, Stamp, stamp_of
from xget_lib.fs.thread_cwd import inside
from xget_lib.manifest.acl import owners
from xget_lib.manifest.decoding import read
from xget_lib.manifest.entry import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    DIRECTORY_LIMIT,
    FIFO,
    FILE,
    LINK,
    TIME_LIMIT,
    Look,
    Xattrs,
)
from xget_lib.manifest.extents import BLOCK as SMALLEST_HOLE
from xget_lib.manifest.extents import extents_of
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import OMITTED_LIMIT, OWNER_LIMIT, OWNER_NAME_LIMIT, Manifest, Omitted
from xget_lib.manifest.selection import STAGING
from xget_lib.manifest.table import Table, TableBuilder


@dataclass(frozen=True, eq=False)
class Scan:
    """What a scan found.

    base        absolute path of the directory that files are read below: the served one, or that of the single file
    outline     the manifest, with no digests yet
    stamps      STAMP_WORDS numbers per regular file, in the layout's order
    location    the name below base of a single served file, which may differ from its entry's path: it may have been
                named through a link. Otherwise b""
    """

    base: bytes
    outline: Manifest
    stamps: array[int]
    location: bytes = b""

    @property
    def entries(self) -> Table:
        return self.outline.entries

    @property
    def layout(self) -> Layout:
        return self.outline.layout

    def path_of(self, file: int) -> bytes:
        """Where regular file `file` of the layout is, below base."""
        return self.location or self.outline.path_of(file)

    def stamp(self, file: int) -> Stamp:
        size, mtime, ctime, inode, device = self.stamps[file * STAMP_WORDS : (file + 1) * STAMP_WORDS]
        return size, mtime, ctime, inode, device

    @property
    def marks(self) -> array[int]:
        """By what digests are kept: the stamps. That of a file with holes also says where it has data, as that may be
        told differently another time (where the file system has allocated more, say), and is then hashed otherwise."""
        marks = self.stamps[:]
        for file, extents in self.entries.extents.items():
            where = blake3(array("Q", (self.entries.sizes[file], *extents)).tobytes()).digest(8)
            marks[file * STAMP_WORDS] = int.from_bytes(where, "little", signed=True)
        return marks

    def encode(self) -> bytes:
        """For a process of the same program. It is not checked when decoded."""
        fields = (self.base, self.location, self.stamps.tobytes(), self.outline.encode())
        encoded: bytes = msgpack.packb(fields)
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Scan:
        """What encode gave, in this program: for other bytes there is no promise."""
        base, location, stamps, outline = msgpack.unpackb(data, use_list=False)
        return cls(base, read(outline), array("q", stamps), location)


def scan(root: bytes, one_file_system: bool = False, owner_names: bool = True) -> Scan:
    """Looks at all that is below a directory, or at one regular file. Links in `root` itself are followed.

    With `one_file_system`, what is mounted below stays out (the directory it is mounted on is an empty entry).
    Without `owner_names`, users and groups are not looked up. A root that cannot be served raises PathRefused; what
    cannot be below it, the scan says. The same tree gives the same scan.
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
    return Scan(base, tree.outline(owner_names), tree.stamps)


def _scan_file(root: bytes, owner_names: bool) -> Scan:
    base, location = os.path.split(os.path.realpath(root))
    with Root(base) as below, below.opened(b"", os.O_RDONLY | os.O_DIRECTORY) as directory:
        with below.opened(location, os.O_RDONLY) as descriptor:  # also: may it be read?
            status = os.fstat(descriptor)
        tree = _Tree(below, one_file_system=False)
        found = xattrs.read(in_directory(directory, location))
        tree.add_file(
            os.path.basename(os.path.abspath(root)), status, found, _find_extents(directory, location, status)
        )
    return Scan(base, tree.outline(owner_names), tree.stamps, location)


_ELSEWHERE = "on another file system"
_KINDS = {
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFREG: FILE,
    stat.S_IFLNK: LINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO,
}


class _Tree:
    """Collects the entries below a directory, in the order of a table."""

    def __init__(self, root: Root, one_file_system: bool) -> None:
        self.stamps = array("q")  # of regular files
        self._omitted: list[Omitted] = []
        self._root = root
        self._path_of: Callable[[bytes], bytes]  # of a name in the directory that is just looked at
        self._one_file_system = one_file_system
        self._device = 0
        self._builder = TableBuilder()
        self._looks: dict[tuple[int, int, int, Xattrs], Look] = {}
        self._first_names: dict[tuple[int, int], int] = {}  # (device, inode) of what has several names -> its entry
        self._unvisited: deque[bytes | None] = deque()  # directories in their order; None: not to be looked into

    def scan(self) -> None:
        """All that is below the root. Raises OSError when the root itself cannot be read."""
        with self._root.opened(b"", os.O_RDONLY | os.O_DIRECTORY) as directory:
            os.listdir(directory)
            status = os.fstat(directory)
            self._device = status.st_dev
            self.add_entry(DIRECTORY, b"", status, xattrs.read(in_directory(directory, b".")))
        self._unvisited.append(b"")
        while self._unvisited:
            path = self._unvisited.popleft()
            before = len(self._builder)
            if path is not None:
                try:
                    self._list(path)
                except OSError as error:
                    self._refused(path, error)
            self._builder.end_directory(len(self._builder) - before)

    def outline(self, owner_names: bool) -> Manifest:
        """The manifest, as far as a scan knows it."""
        omitted = sorted(self._omitted, key=lambda each: each.path)[:OMITTED_LIMIT]
        users: dict[int, str] = {}
        groups: dict[int, str] = {}
        if owner_names:
            uids, gids = owners(self._looks.values())
            users = _names(uids, lambda uid: pwd.getpwuid(uid).pw_name)
            groups = _names(gids, lambda gid: grp.getgrgid(gid).gr_name)
        return Manifest(self._builder.table(), b"", users, groups, tuple(omitted))

    def _list(self, path: bytes) -> None:
        """One directory. Through a descriptor: every stat is then one component, and no link can come between."""
        above = path + b"/" if path else b""
        with (
            self._root.opened(path, os.O_RDONLY | os.O_DIRECTORY) as directory,
            inside(directory) as self._path_of,
        ):
            for name in sorted(os.listdir(self._path_of(b"."))):
                try:
                    self._visit(directory, above, name, os.lstat(self._path_of(name)))
                except OSError as error:
                    self._refused(above + name, error)

    def _visit(self, directory: int, above: bytes, name: bytes, status: os.stat_result) -> None:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        elsewhere = self._one_file_system and status.st_dev != self._device
        if kind is None:
            self._skip(above + name, "a socket")
        elif kind == DIRECTORY:
            self._visit_directory(directory, above + name, name, status, elsewhere)
        elif elsewhere:
            self._skip(above + name, _ELSEWHERE)
        elif status.st_nlink > 1 and (status.st_dev, status.st_ino) in self._first_names:
            self._builder.add_again(name, self._first_names[status.st_dev, status.st_ino])
        else:
            number = len(self._builder)
            self._visit_other(kind, directory, name, status)
            if status.st_nlink > 1:
                self._first_names[status.st_dev, status.st_ino] = number

    def _visit_directory(
        self, directory: int, path: bytes, name: bytes, status: os.stat_result, elsewhere: bool
    ) -> None:
        if path == STAGING:
            self._skip(path, "left by an interrupted download into this directory")
        elif len(path) > DIRECTORY_LIMIT:
            self._omitted.append(Omitted(path, "path too long"))
        else:
            self.add_entry(DIRECTORY, name, status, xattrs.read(self._path_of(name)))
            self._unvisited.append(None if elsewhere else path)
            if elsewhere:
                self._skip(path, _ELSEWHERE)

    def _visit_other(self, kind: str, directory: int, name: bytes, status: os.stat_result) -> None:
        """What can fail comes first: an entry is there as a whole or not at all."""
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
        self._builder.add_file(status.st_size, extents)
        self.stamps.extend(stamp_of(status))

    def add_entry(self, kind: str, name: bytes, status: os.stat_result, found: Xattrs) -> None:
        key = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, found)
        look = self._looks.get(key)
        if look is None:
            look = self._looks[key] = Look(*key)
        # File systems know later times than int64.
        self._builder.add(kind, name, look, min(max(status.st_mtime_ns, -TIME_LIMIT), TIME_LIMIT - 1))

    def _skip(self, path: bytes, why: str) -> None:
        self._omitted.append(Omitted(path, why, expected=True))

    def _refused(self, path: bytes, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # gone since it was listed: then it is not there
            self._omitted.append(Omitted(path, error.strerror or str(error)))


def _find_extents(directory: int, name: bytes, status: os.stat_result) -> array[int] | None:
    """Where a file in an open directory has data; None where in all of it. Raises OSError.

    It is asked only of files that take less than their size: others have no holes.
    """
    if not SMALLEST_HOLE <= status.st_size > status.st_blocks * 512:
        return None
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        return extents_of(data_ranges(descriptor, status.st_size), status.st_size)
    finally:
        os.close(descriptor)


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

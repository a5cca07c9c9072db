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
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial

import msgpack
from blake3 import blake3

from xget_lib.dataclass import dataclass, replace
from xget_lib.errors import PathRefused
from xget_lib.fs import xattrs
from xget_lib.fs.leases import LeasePatience
from xget_lib.fs.private import is_private
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import STAMP_WORDS, Stamp, stamp_of
from xget_lib.fs.thread_cwd import inside
from xget_lib.manifest.acl import ACCESS, owner_ids
from xget_lib.manifest.decoding import decode_body
from xget_lib.manifest.entry import (
    BLOCK,
    CHARACTER,
    DEPTH_LIMIT,
    DIRECTORY,
    DIRECTORY_LIMIT,
    FIFO,
    FILE,
    LINK,
    SIZE_LIMIT,
    TARGET_LIMIT,
    TIME_LIMIT,
    XATTRS_LIMIT,
    EntryMetadata,
    Xattrs,
)
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import (
    ENTRIES_LIMIT,
    METADATA_LIMIT,
    OMITTED_LIMIT,
    OWNER_LIMIT,
    OWNER_NAME_LIMIT,
    Manifest,
    Omitted,
)
from xget_lib.manifest.patterns import NO_PATTERNS, Patterns
from xget_lib.manifest.selection import SERIAL, STAGING
from xget_lib.manifest.table import Table
from xget_lib.manifest.table_builder import TableBuilder
from xget_lib.snapshot.holes import find_extents
from xget_lib.snapshot.refusals import LEASE_WAIT, raise_if_ours
from xget_lib.snapshot.source_identity import UNKNOWN_SOURCE, SourceIdentity, SourceNotes
from xget_lib.snapshot.steps import Steps


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
    source: SourceIdentity = UNKNOWN_SOURCE
    """What `base` is recognised by."""
    private: int = 0
    """Regular files that not every user of this machine may read, or reach."""

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
        outline = self.outline.encode_body()
        fields = (self.base, outline, self.stamps.tobytes(), self.location, self.source.encode(), self.private)
        encoded: bytes = msgpack.packb(fields)
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Scan:
        """The inverse of encode."""
        base, outline, stamps, location, source, private = msgpack.unpackb(data)
        return cls(base, decode_body(outline), array("q", stamps), location, SourceIdentity.decode(source), private)


def scan(
    root: bytes,
    one_file_system: bool = False,
    owner_names: bool = True,
    *,
    public_only: bool = False,
    exclude: Patterns = NO_PATTERNS,
    own_files: Collection[bytes] = (),
    steps: Steps | None = None,
) -> Scan:
    """Scans everything below a directory, or one regular file. Links in `root` itself are followed.

    `one_file_system`: leave out what is mounted below; the mount point becomes an empty directory. `owner_names`: look
    up the names of users and groups. `public_only`: leave out what `fs.private` says is private. `exclude`: leave out
    what these match, as if it were not there; a single file is served all the same. `own_files`: leave out these paths
    below the root. `steps` counts. Raises PathRefused if `root` cannot be served. The same tree gives the same scan.
    """
    steps = steps or Steps()
    try:
        status = os.stat(root)
        if stat.S_ISREG(status.st_mode):
            return _scan_file(root, owner_names, steps, public_only=public_only)
        if not stat.S_ISDIR(status.st_mode):
            raise PathRefused(root, "neither a directory nor a regular file")
        base = os.path.realpath(root)
        with Root(base) as top:
            scanner = _Scanner(
                top, one_file_system, steps, public_only=public_only, exclude=exclude, own_files=own_files
            )
            scanner.scan()
    except OSError as error:
        raise PathRefused(root, error.strerror or str(error)) from error
    return Scan(base, scanner.outline(owner_names), scanner.stamps, source=scanner.source, private=scanner.private)


def _scan_file(root: bytes, owner_names: bool, steps: Steps, *, public_only: bool) -> Scan:
    base, location = os.path.split(os.path.realpath(root))
    with Root(base) as top, top.opened(b"", os.O_RDONLY | os.O_DIRECTORY) as directory:
        open_it = partial(top.open, location, os.O_RDONLY)
        descriptor = LeasePatience(LEASE_WAIT).open(open_it)  # raises where it may not be read
        status = os.fstat(descriptor)
        os.close(descriptor)
        scanner = _Scanner(top, False, steps)
        with inside(directory) as path_of:
            found = _xattrs(path_of(location))
        private = is_private(status, _access_list(found))
        if private and public_only:
            raise PathRefused(root, _PRIVATE)
        extents = find_extents(directory, location, status, LeasePatience(LEASE_WAIT))
        scanner.add_file(os.path.basename(os.path.abspath(root)), status, found, extents)
        source = replace(scanner.source, empty=False, inode=(status.st_dev, 0))
    return Scan(base, scanner.outline(owner_names), scanner.stamps, location, source, int(private))


_OTHER_FILE_SYSTEM = "on another file system"
_PRIVATE = "not everybody may read it (--public-only)"
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

    def __init__(
        self,
        root: Root,
        one_file_system: bool,
        steps: Steps,
        *,
        public_only: bool = False,
        exclude: Patterns = NO_PATTERNS,
        own_files: Collection[bytes] = (),
    ) -> None:
        self._exclude = exclude
        self.stamps = array("q")  # of regular files
        self.private = 0  # regular files
        self._public_only = public_only
        self._own_files = frozenset(own_files)
        self._private_directories: set[bytes] = set()  # and those below them, with a / at the end
        self._omitted: list[Omitted] = []
        self._root = root
        self._path_of: Callable[[bytes], bytes]  # of a name in the directory that is being scanned
        self._one_file_system = one_file_system
        self._steps = steps
        self._patience = LeasePatience(LEASE_WAIT)
        self._device = 0
        self._inode = 0
        self._notes = SourceNotes(root.path)
        self._device_here = 0  # of the directory that is being scanned
        self._builder = TableBuilder()
        self._size = 0  # bytes of content
        self._metadata: dict[tuple[int, int, int, Xattrs], EntryMetadata] = {}
        self._first_names: dict[tuple[int, int], int] = {}  # (device, inode) of a file with several names -> entry
        self._unvisited: deque[bytes | None] = deque()  # paths of directories in their order; None: leave it empty

    def scan(self) -> None:
        """Scans everything below the root. Raises OSError where the root itself cannot be read, and PathRefused where
        not everybody may, and that matters."""
        with self._root.opened(b"", os.O_RDONLY | os.O_DIRECTORY) as directory, inside(directory) as path_of:
            os.listdir(directory)
            status = os.fstat(directory)
            self._device, self._inode = status.st_dev, status.st_ino
            found = _xattrs(path_of(b"."))
            if is_private(status, _access_list(found)):
                if self._public_only:
                    raise PathRefused(self._root.path, _PRIVATE)
                self._private_directories.add(b"")
            self.add_entry(DIRECTORY, b"", status, found)
        self._unvisited.append(b"")
        while self._unvisited:
            path = self._unvisited.popleft()
            before = len(self._builder)
            if path is not None:
                try:
                    self._scan_directory(path)
                except OSError as error:
                    self._directory_refused(path, error)
            self._builder.end_directory(len(self._builder) - before)

    @property
    def source(self) -> SourceIdentity:
        """What the root is recognised by."""
        return self._notes.source((self._device, self._inode))

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
            names = sorted(set(os.listdir(self._path_of(b"."))))  # some file systems list a name twice
            self._notes.names(path, names)
            missing = []
            for name in names:
                self._steps.done += 1
                try:
                    self._add(directory, above, name, os.lstat(self._path_of(name)))
                except FileNotFoundError:
                    missing.append(name)
                except OSError as error:
                    self._refused(above + name, error)
            if missing:
                self._find_missing(above, missing)

    def _find_missing(self, above: bytes, missing: list[bytes]) -> None:
        """Names that were listed, and then not there: most have been removed. Some file systems list what they cannot
        find."""
        for name in sorted(set(missing).intersection(os.listdir(self._path_of(b".")))):
            try:
                os.lstat(self._path_of(name))
            except FileNotFoundError:
                self._omitted.append(Omitted(above + name, "listed, but not found"))
            except OSError as error:
                self._refused(above + name, error)

    def _add(self, directory: int, above: bytes, name: bytes, status: os.stat_result) -> None:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        other_file_system = self._one_file_system and status.st_dev != self._device
        if self._exclude.exclude(above + name, is_directory=kind == DIRECTORY):
            return
        if name == STAGING:  # at any depth: it may be that of another download, into a directory below this one
            # What a client leaves for good is nobody's loss, and a copy of a signed directory has its generation.
            if kind != DIRECTORY or not self._has_only_serial(name):
                self._skip(above + name, "temporary data of XGet")
        elif kind is None:
            self._skip(above + name, "a socket")
        elif above + name in self._own_files:
            self._skip(above + name, "what this master writes itself")
        else:
            found = _xattrs(self._path_of(name))
            if self._is_private(above, name, status, found) and self._public_only:
                self._skip(above + name, _PRIVATE)
            elif kind == DIRECTORY:
                self._add_directory(directory, above + name, name, status, found, other_file_system)
            elif other_file_system:
                self._skip(above + name, _OTHER_FILE_SYSTEM)
            elif status.st_nlink > 1 and (status.st_dev, status.st_ino) in self._first_names:
                self._builder.add_hard_link(name, self._first_names[status.st_dev, status.st_ino])
            else:
                number = len(self._builder)
                self._add_other(kind, directory, name, status, found)
                if status.st_nlink > 1:
                    self._first_names[status.st_dev, status.st_ino] = number

    def _is_private(self, above: bytes, name: bytes, status: os.stat_result, found: Xattrs) -> bool:
        """Whether not everybody may read or reach what is there. Counts the files."""
        if not is_private(status, _access_list(found)) and above not in self._private_directories:
            return False
        if stat.S_ISDIR(status.st_mode):
            self._private_directories.add(above + name + b"/")
        self.private += stat.S_ISREG(status.st_mode)
        return True

    def _has_only_serial(self, staging: bytes) -> bool:
        with suppress(OSError):
            return os.listdir(self._path_of(staging)) == [SERIAL]
        return False

    def _add_directory(
        self, directory: int, path: bytes, name: bytes, status: os.stat_result, found: Xattrs, other_file_system: bool
    ) -> None:
        if len(path) > DIRECTORY_LIMIT or path.count(b"/") >= DEPTH_LIMIT:
            self._omitted.append(Omitted(path, "path too long"))
        else:
            self.add_entry(DIRECTORY, name, status, found)
            self._unvisited.append(None if other_file_system else path)
            if other_file_system:
                self._skip(path, _OTHER_FILE_SYSTEM)
            crosses = status.st_dev != self._device_here
            self._notes.directory(path, crosses=crosses, left_out=other_file_system)

    def _add_other(self, kind: str, directory: int, name: bytes, status: os.stat_result, found: Xattrs) -> None:
        """Does everything that can fail before it adds something: an entry is added as a whole or not at all."""
        if kind == FILE:
            self.add_file(name, status, found, find_extents(directory, name, status, self._patience))
            return
        target = os.readlink(name, dir_fd=directory) if kind == LINK else b""
        if kind == LINK and not 0 < len(target) <= TARGET_LIMIT:
            raise OSError(errno.EINVAL, "a link that leads nowhere, or too far")
        self.add_entry(kind, name, status, found)
        if kind == LINK:
            self._builder.add_target(target)
        elif kind != FIFO:
            self._builder.add_device(os.major(status.st_rdev), os.minor(status.st_rdev))

    def add_file(self, name: bytes, status: os.stat_result, found: Xattrs, extents: array[int] | None) -> None:
        """Raises OSError if the file is too large."""
        size = self._size + (status.st_size if extents is None else sum(extents[1::2]))
        if status.st_size < 0 or size >= SIZE_LIMIT:
            raise OSError(errno.EFBIG, "with this file, the content is too large")
        self._size = size
        self.add_entry(FILE, name, status, found)
        self._builder.add_size(status.st_size, extents)
        self.stamps.extend(stamp_of(status))

    def add_entry(self, kind: str, name: bytes, status: os.stat_result, found: Xattrs) -> None:
        """Raises PathRefused if there are more entries than a manifest has."""
        if len(self._builder) >= ENTRIES_LIMIT:
            raise PathRefused(self._root.path, f"more than {ENTRIES_LIMIT:,} files and directories")
        key = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, found)
        metadata = self._metadata.get(key)
        if metadata is None:
            if len(self._metadata) >= METADATA_LIMIT:
                what = "different sets of permissions, owner and extended attributes"
                raise PathRefused(self._root.path, f"more than {METADATA_LIMIT:,} {what}")
            metadata = self._metadata[key] = EntryMetadata(*key)
        # File systems have later times than an int64 of nanoseconds.
        self._builder.add(kind, name, metadata, min(max(status.st_mtime_ns, -TIME_LIMIT), TIME_LIMIT - 1))

    def _skip(self, path: bytes, why: str) -> None:
        self._omitted.append(Omitted(path, why, expected=True))

    def _refused(self, path: bytes, error: OSError) -> None:
        raise_if_ours(path, error)
        self._omitted.append(Omitted(path, error.strerror or str(error)))

    def _directory_refused(self, path: bytes, error: OSError) -> None:
        """A directory cannot be listed. It stays an entry, although its content is left out."""
        try:
            self._root.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return  # removed since it was listed
        except OSError:
            pass
        self._refused(path, error)


def _xattrs(path: bytes) -> Xattrs:
    """Raises OSError if they cannot be read, or are more than a manifest has of one entry."""
    found = xattrs.read(path)
    if len(found) > XATTRS_LIMIT:
        raise OSError(errno.E2BIG, f"more than {XATTRS_LIMIT} extended attributes")
    return found


def _access_list(found: Xattrs) -> bytes:
    return next((value for name, value in found if name == ACCESS), b"")


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

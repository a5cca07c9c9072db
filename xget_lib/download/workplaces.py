"""Where parts are made: on the file system of their final paths, because rename(2) cannot leave it.

`<dest>/.xget/parts` is the place for most of them. In the highest directory of another mount or subvolume below the
destination, it is `.xget/NAME`, where NAME depends on the destination: that directory may have a `.xget` of its own,
of a download into just that directory. It is made when the first part is made there, and removed at the end of the run.

Which directories these are is decided when the directories are made, by device and mount number (`Workplaces.enter`).
The kernel may forbid a rename elsewhere too (quotas by project, unions of file systems); then the part is copied into
a workplace in the final directory itself (`install`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock

from blake3 import blake3

from xget_lib.fs.inode import NamedInode
from xget_lib.fs.rooted import Root
from xget_lib.manifest import acl
from xget_lib.manifest.entry import joined
from xget_lib.manifest.selection import STAGING

PARTS = STAGING + b"/parts"
_TRIES = 100
_PART = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Workplaces:
    """The directories for parts of one destination. Any thread may use it once the directories have been entered."""

    def __init__(self, dest: bytes = b"") -> None:
        self.leftovers: set[bytes] = set()
        """The names of the parts that an earlier run left and that can be written on."""
        self.made: set[bytes] = set()
        """The directories below which this run made one, or found one of an earlier run."""
        self._name = blake3(os.path.realpath(dest)).hexdigest(length=16).encode()
        self._mounts: dict[bytes, tuple[int, int]] = {}  # by the highest directory on it: (device, mount)
        self._lock = Lock()

    # Where they are.

    def enter(self, root: Root, directory: bytes) -> None:
        """To be called for each directory that exists, with those above it first. Raises OSError."""
        found = root.statx(directory)
        mount = found.device, found.mount
        if mount != self._mounts.get(self.top_of(directory)):
            self._mounts[directory] = mount

    def top_of(self, directory: bytes) -> bytes:
        """The highest directory on the same file system, at or below the destination."""
        if len(self._mounts) > 1:
            while directory and directory not in self._mounts:
                directory = directory.rpartition(b"/")[0]
            return directory
        return b""

    def are_together(self, one: bytes, other: bytes) -> bool:
        """Whether two paths are on the same file system."""
        return self.top_of(one.rpartition(b"/")[0]) == self.top_of(other.rpartition(b"/")[0])

    def parts_of(self, directory: bytes) -> bytes:
        """The directory for the parts of the files in a directory."""
        top = self.top_of(directory)
        return self._inside(top) if top else PARTS

    def part_path(self, dest_path: bytes) -> bytes:
        """The part of the file whose final path is `dest_path`."""
        return joined(self.parts_of(dest_path.rpartition(b"/")[0]), part_name(dest_path))

    def nearest_part_path(self, dest_path: bytes) -> bytes:
        """A part in the final directory itself, from which a rename cannot lead to another file system."""
        return joined(self._inside(dest_path.rpartition(b"/")[0]), part_name(dest_path))

    def _inside(self, top: bytes) -> bytes:
        return joined(top, STAGING + b"/" + self._name)

    def is_shared(self, root: Root, directory: bytes) -> bool:
        """Whether the `.xget` in a directory below the destination has things of another download. Raises nothing."""
        with suppress(OSError):
            return bool(set(root.names(joined(directory, STAGING))) - {self._name})
        return False

    @property
    def tops(self) -> Iterator[bytes]:
        """The highest directory of each file system, except the destination."""
        return (top for top in self._mounts if top)

    # Making and removing them. The one of the destination itself is the business of `Staging`.

    def find_leftovers(self, root: Root) -> None:
        """Finds the parts of an earlier run on the other file systems. Changes nothing, raises nothing."""
        for top in self.tops:
            with suppress(OSError):
                self.leftovers |= leftover_parts(root, self._inside(top))

    def take_over_leftovers(self, root: Root) -> None:
        """As `find_leftovers`, for a run: cleans what is left. Where that fails, the first part there will fail."""
        for top in self.tops:
            with suppress(OSError):
                self._take_over(root, top)

    def _take_over(self, root: Root, top: bytes) -> None:
        inside = self._inside(top)
        for directory in (inside.rpartition(b"/")[0], inside):
            hold(root, directory)
        self.leftovers |= take_over(root, inside)
        self.made.add(top)

    def make_for(self, root: Root, part: bytes) -> None:
        """Makes the directory of a part, unless it is there. Raises OSError."""
        parts = part.rpartition(b"/")[0]
        if parts == PARTS:
            return
        staging = parts.rpartition(b"/")[0]
        top = staging.rpartition(b"/")[0]
        if top in self.made:
            return
        with self._lock:
            if top in self.made:  # another thread was first, and may have made parts that must not be taken over
                return
            for _ in range(_TRIES):  # a download into that directory may end and remove `.xget` at any moment
                with suppress(FileExistsError):
                    root.mkdir(staging, 0o700)
                    make_usable(root, staging)
                with suppress(FileNotFoundError):
                    with suppress(FileExistsError):
                        root.mkdir(parts, 0o700)
                    self._take_over(root, top)
                    return
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), staging)

    def remove(self, root: Root) -> None:
        """Removes those that this run made, with all parts in them. Raises OSError."""
        for top in sorted(self.made):
            inside = self._inside(top)
            with suppress(FileNotFoundError):
                for name in root.names(inside):
                    root.unlink(joined(inside, name))
            self._remove_empty(root, top)

    def remove_empty(self, root: Root) -> None:
        """Removes those that this run made and that have no parts."""
        for top in self.made:
            self._remove_empty(root, top)

    def _remove_empty(self, root: Root, top: bytes) -> None:
        with suppress(OSError):  # not empty: it has parts, or things of another download
            root.rmdir(self._inside(top))
            root.rmdir(joined(top, STAGING))


def part_name(dest_path: bytes) -> bytes:
    """The name of a part in its directory: that of the file whose final path is `dest_path`."""
    return blake3(dest_path).hexdigest(length=16).encode()


def leftover_parts(root: Root, parts: bytes = PARTS) -> frozenset[bytes]:
    """The names of the parts that an earlier run left and that can be written on. Changes nothing. Raises OSError."""
    try:
        names = root.names(parts)
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    with root.directory(parts) as directory:
        around = os.fstat(directory)
        return frozenset(name for name in names if _is_ours_alone(os.lstat(name, dir_fd=directory), around))


def _is_ours_alone(part: os.stat_result, around: os.stat_result) -> bool:
    """Whether nobody else can write on a part, or reach it by another name. `around`: the directory, which is ours.

    A file system without permissions gives the same to the file and to the directory.
    """
    others = (stat.S_IWGRP | stat.S_IWOTH) & ~around.st_mode
    same_place = (part.st_uid, part.st_dev) == (around.st_uid, around.st_dev)
    return stat.S_ISREG(part.st_mode) and part.st_nlink == 1 and same_place and not part.st_mode & others


def take_over(root: Root, parts: bytes) -> frozenset[bytes]:
    """Cleans a directory of parts for a run. Returns the names of those that can be written on. Raises OSError."""
    _drop_default_acl(root, parts)
    make_usable(root, parts)
    leftovers = leftover_parts(root, parts)
    for name in root.names(parts):
        part = joined(parts, name)
        if name not in leftovers:
            root.unlink(part)
        elif root.lstat(part).st_mode & 0o600 != 0o600:  # it had its final permissions
            NamedInode(root, part).chmod(0o600)
    return leftovers


def new_part(root: Root, part: bytes, *, keep: bool = False, mode: int = 0o600) -> int:
    """A descriptor of a new part, for reading and writing, which the caller closes. Removes what was there.

    `keep`: a part of an earlier run that is ours alone is opened instead. Raises OSError.
    """
    with root.parent(part) as (parts, name):
        return open_part(parts, name, keep=keep, mode=mode)


def open_part(parts: int, name: bytes, *, keep: bool = False, mode: int = 0o600) -> int:
    """As `new_part`, in an open directory of parts, which is ours."""
    while True:
        with suppress(FileExistsError):
            return os.open(name, _PART | os.O_CREAT | os.O_EXCL, mode, dir_fd=parts)
        with suppress(OSError):
            fd = os.open(name, _PART, dir_fd=parts) if keep else -1
            if fd >= 0:
                if _is_ours_alone(os.fstat(fd), os.fstat(parts)):
                    return fd
                os.close(fd)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parts)


def make_private(directory: int) -> None:
    """Takes all permissions for an open directory of ours from others. Raises OSError."""
    with suppress(PermissionError):  # where all files belong to one user, and have the same permissions
        try:
            os.chmod(f"/proc/self/fd/{directory}", 0o700)  # an access list may keep its owner from opening it
        except FileNotFoundError:  # no /proc
            os.chmod(b".", 0o700, dir_fd=directory)


def make_usable(root: Root, directory: bytes) -> None:
    """Gives us all permissions for a new directory of ours: the access list that it inherited may give fewer. Raises
    OSError."""
    mode = root.lstat(directory).st_mode
    if mode & 0o700 != 0o700:
        NamedInode(root, directory).chmod(stat.S_IMODE(mode) | 0o700)


def _drop_default_acl(root: Root, directory: bytes) -> None:
    with suppress(OSError):  # most have none; files made in here would inherit it
        NamedInode(root, directory).removexattr(acl.DEFAULT)


def hold(root: Root, directory: bytes) -> None:
    """Holds a directory of ours (`Root.hold`), and takes all permissions for it from others.

    Raises PermissionError where it is another user's, who could put links in the way of our writes, and OSError.
    """
    held = root.hold(directory)
    if not is_ours(held):
        root.let_go(directory)
        raise PermissionError(errno.EACCES, f"{os.fsdecode(directory)} belongs to another user (remove it)")
    make_private(held)


def is_ours(directory: int) -> bool:
    """Whether an open directory belongs to the user of this process, or to whom this file system gives everything.

    The latter do file systems without owners (exFAT, FAT), and servers that map users (NFS with root_squash). Raises
    OSError.
    """
    owner = os.fstat(directory).st_uid
    if owner == os.geteuid():
        return True
    name = f"owner{os.getpid()}"
    try:
        probe = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except (PermissionError, FileExistsError):
        return False
    try:
        return os.fstat(probe).st_uid == owner
    finally:
        os.close(probe)
        os.unlink(name, dir_fd=directory)


def sync_directory(fd: int) -> None:
    """Returns when the names in a directory are on disk. Does nothing on a file system that cannot sync directories."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise

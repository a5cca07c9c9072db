"""Files below one directory, reached without following a link.

A manifest, and whoever else may write in the directory, must not lead the program outside it: a symbolic link put
where a directory was expected would do that to every call that takes a whole path. So a path is walked here one
component at a time, each opened relative to the one before with O_NOFOLLOW. It also means that a path may be longer
than PATH_MAX.

Walking costs an open per component, so the directories walked last are kept open: many files of one directory cost
one open each. Several threads may use a Root at once; a directory that is in use is closed only after its last user.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from xget_lib.errors import PathRefused
from xget_lib.fs import xattrs
from xget_lib.manifest.entry import Xattrs, joined

DIRECTORIES_KEPT = 64

# O_PATH: search permission is enough to go through a directory.
_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO put where a file was must not hang us. It means nothing for regular files.
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class _Directory:
    """A walked directory: its descriptor and how many use it. One use is that of the table of kept ones."""

    __slots__ = ("descriptor", "users")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.users = 1


class Root:
    """A directory, and operations on what is below it.

    Paths are bytes, relative to it; b"" is the directory itself, for those operations where that makes sense. A path
    that is absolute or has an empty, "." or ".." component raises PathRefused. All else that fails raises OSError as
    the system call does; a link where a directory should be is ENOTDIR, a link where a file should be ELOOP.
    """

    def __init__(self, path: bytes | str) -> None:
        """Opens a directory. Links in `path` itself are followed: whoever named it meant what is there."""
        self.path = os.fsencode(path)
        self._lock = Lock()
        self._kept: OrderedDict[bytes, _Directory] = OrderedDict()
        self._closed = False
        self._root = _Directory(os.open(path, _WALK & ~os.O_NOFOLLOW))

    def close(self) -> None:
        """Closes every descriptor, those in use when they are given back. Nothing can be opened afterwards."""
        self.forget()
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._give_back(self._root)

    def __del__(self) -> None:
        """Whatever serves from it keeps it alive: an older generation is served for as long as somebody reads it."""
        if hasattr(self, "_root"):
            self.close()

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forget(self, path: bytes = b"") -> None:
        """Walks anew to `path` and all below it the next time: for when something else may have moved them."""
        with self._lock:
            below = path + b"/"
            stale = [key for key in self._kept if not path or key == path or key.startswith(below)]
            directories = [self._kept.pop(key) for key in stale]
        for directory in directories:
            self._give_back(directory)

    # Looking.

    def open(self, path: bytes, flags: int, mode: int = 0o600) -> int:
        """A new descriptor of a file, or of a directory with O_DIRECTORY, close-on-exec. The caller closes it.

        It does not wait for the other end of a FIFO: check with fstat that it is what was expected.
        """
        with self._parent(path) as (parent, name):
            return os.open(name, flags | _OPEN, mode, dir_fd=parent)

    @contextmanager
    def opened(self, path: bytes, flags: int) -> Iterator[int]:
        """As open, for a descriptor that is good inside the `with`."""
        descriptor = self.open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def lstat(self, path: bytes) -> os.stat_result:
        with self._parent(path) as (parent, name):
            return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def readlink(self, path: bytes) -> bytes:
        with self._parent(path) as (parent, name):
            return os.readlink(name, dir_fd=parent)

    def names(self, path: bytes) -> list[bytes]:
        """The names in a directory, in no order."""
        descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return [os.fsencode(name) for name in os.listdir(descriptor)]
        finally:
            os.close(descriptor)

    def xattr(self, path: bytes, name: bytes) -> bytes:
        """The value of an extended attribute; for b"", the names of all, each with a NUL behind it.

        Of a symbolic link itself where it is one: through a descriptor that gives no access, as chmod does it.
        """
        descriptor = self.open(path, os.O_PATH)
        try:
            there = f"/proc/self/fd/{descriptor}"
            if name:
                return os.getxattr(there, name)
            return b"".join(os.fsencode(one) + b"\0" for one in os.listxattr(there))
        finally:
            os.close(descriptor)

    def statvfs(self) -> os.statvfs_result:
        """The file system of the root."""
        with self.directory(b"") as descriptor:
            return os.statvfs(descriptor)

    # Changing what there is.

    def mkdir(self, path: bytes, mode: int = 0o777) -> None:
        with self._parent(path) as (parent, name):
            os.mkdir(name, mode, dir_fd=parent)

    def mknod(self, path: bytes, mode: int, device: int = 0) -> None:
        """Makes a FIFO or device: `mode` with its type."""
        with self._parent(path) as (parent, name):
            os.mknod(name, mode, device, dir_fd=parent)

    def symlink(self, target: bytes, path: bytes) -> None:
        with self._parent(path) as (parent, name):
            os.symlink(target, name, dir_fd=parent)

    def link(self, existing: bytes, path: bytes) -> None:
        """Another name for a file (or for a symbolic link itself)."""
        with self._parent(existing) as (old_parent, old_name), self._parent(path) as (parent, name):
            os.link(old_name, name, src_dir_fd=old_parent, dst_dir_fd=parent, follow_symlinks=False)

    def rename(self, old: bytes, new: bytes) -> None:
        """Puts `old` in the place of `new`, in one step."""
        with self._parent(old) as (old_parent, old_name), self._parent(new) as (parent, name):
            os.rename(old_name, name, src_dir_fd=old_parent, dst_dir_fd=parent)
            moved = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(moved.st_mode):
            self.forget(old)
            self.forget(new)

    def unlink(self, path: bytes) -> None:
        with self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def rmdir(self, path: bytes) -> None:
        with self._parent(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)
        self.forget(path)

    # Metadata; of a symbolic link itself where it is one.

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        with self._parent(path) as (parent, name):
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)

    def chmod(self, path: bytes, mode: int) -> None:
        """Sets permission bits. A symbolic link has none: ELOOP.

        Linux has no chmod that does not follow a link (before fchmodat2), and a file may be unreadable for its own
        owner: so through a descriptor that gives no access, by its name in /proc (open(2), O_PATH).
        """
        descriptor = self.open(path, os.O_PATH)
        try:
            if stat.S_ISLNK(os.fstat(descriptor).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            os.chmod(f"/proc/self/fd/{descriptor}", mode)
        finally:
            os.close(descriptor)

    def utime(self, path: bytes, mtime_ns: int) -> None:
        """Sets the modification time, and the time of access to the same."""
        with self._parent(path) as (parent, name):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)

    def xattrs(self, path: bytes) -> Xattrs:
        """What it has of extended attributes that belong to a copy."""
        with self._parent(path) as (parent, name):
            return xattrs.read(in_directory(parent, name))

    def setxattr(self, path: bytes, attribute: bytes, value: bytes) -> None:
        with self._parent(path) as (parent, name):
            os.setxattr(in_directory(parent, name), attribute, value, follow_symlinks=False)

    def removexattr(self, path: bytes, attribute: bytes) -> None:
        with self._parent(path) as (parent, name):
            os.removexattr(in_directory(parent, name), attribute, follow_symlinks=False)

    def sync_directory(self, path: bytes) -> None:
        """Returns when the names in a directory are on disk."""
        descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # Walking.

    @contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """A descriptor of the directory that a path is in, good inside the `with`, and its name there."""
        if not path:
            with self.directory(b"") as descriptor:
                yield descriptor, b"."
            return
        parent, _, name = path.rpartition(b"/")
        _check_name(path, name)
        if path.startswith(b"/"):
            raise PathRefused(path, "not below the directory")
        with self.directory(parent) as descriptor:
            yield descriptor, name

    @contextmanager
    def directory(self, path: bytes) -> Iterator[int]:
        """A descriptor of a directory that gives no access (O_PATH), for calls on what is in it; good in the `with`."""
        directory = self._take(path)
        try:
            yield directory.descriptor
        finally:
            self._give_back(directory)

    def _take(self, path: bytes) -> _Directory:
        """The walked directory, counted as in use once more."""
        kept = self._take_kept(path)
        if kept is not None:
            return kept
        # Up to the nearest one that is still open, then down again. No recursion: paths may be deep.
        names: list[bytes] = []
        directory: _Directory | None = None
        at = path
        while directory is None:
            at, _, name = at.rpartition(b"/")
            _check_name(path, name)
            names.append(name)
            directory = self._take_kept(at)
        while names:
            name = names.pop()
            at = joined(at, name)
            try:
                descriptor = os.open(name, _WALK, dir_fd=directory.descriptor)
            finally:
                self._give_back(directory)
            directory = self._keep(at, _Directory(descriptor))
        return directory

    def _take_kept(self, path: bytes) -> _Directory | None:
        with self._lock:
            if self._closed:
                raise ValueError("operation on a Root that is closed")
            directory = self._kept.get(path) if path else self._root
            if directory is not None:
                directory.users += 1
                if path:
                    self._kept.move_to_end(path)
            return directory

    def _keep(self, path: bytes, directory: _Directory) -> _Directory:
        """Puts a directory in the table, for which it is counted, and counts it once more for the caller."""
        dropped: list[_Directory] = []
        with self._lock:
            directory.users += 1
            before = self._kept.pop(path, None)
            if before is not None:
                dropped.append(before)  # another thread walked here at the same time
            if self._closed:
                dropped.append(directory)
            else:
                self._kept[path] = directory
            if len(self._kept) > DIRECTORIES_KEPT:
                dropped.append(self._kept.popitem(last=False)[1])
        for old in dropped:
            self._give_back(old)
        return directory

    def _give_back(self, directory: _Directory) -> None:
        with self._lock:
            directory.users -= 1
            unused = directory.users == 0
        if unused:
            os.close(directory.descriptor)


def in_directory(parent: int, name: bytes) -> bytes:
    """The path of a name in an open directory, for calls that take no descriptor of one; no link is on it."""
    return b"/proc/self/fd/%d/%b" % (parent, name)


def _check_name(path: bytes, name: bytes) -> None:
    if name in (b"", b".", b".."):
        raise PathRefused(path, "not below the directory")

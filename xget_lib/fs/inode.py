"""Sets owner, mode, times and extended attributes of something that is open, or that has a name below a Root."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from xget_lib.fs import xattrs
from xget_lib.fs.rooted import Root
from xget_lib.fs.thread_cwd import inside
from xget_lib.manifest.entry import Xattrs

_OPENED_WITHOUT_EFFECT = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO)
"""The types of files that may be opened only to change them. Opening a device can do anything."""


class OpenInode:
    """An open file or directory. The caller still owns the descriptor. Each call raises OSError as Linux does."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def status(self) -> os.stat_result:
        return os.fstat(self._fd)

    def chown(self, uid: int, gid: int) -> None:
        os.fchown(self._fd, uid, gid)

    def chmod(self, mode: int) -> None:
        os.fchmod(self._fd, mode)

    def utime(self, mtime_ns: int) -> None:
        """Sets the time of the last modification, and that of the last access to the same."""
        os.utime(self._fd, ns=(mtime_ns, mtime_ns))

    def xattrs(self) -> Xattrs:
        """The extended attributes that belong to a copy."""
        return xattrs.read(self._fd)

    def setxattr(self, name: bytes, value: bytes) -> None:
        os.setxattr(self._fd, name, value)

    def removexattr(self, name: bytes) -> None:
        os.removexattr(self._fd, name)


class NamedInode:
    """Like OpenInode, for what cannot be opened: links, devices, files without read permission. Follows no link."""

    def __init__(self, root: Root, path: bytes) -> None:
        self._root = root
        self._path = path

    def status(self) -> os.stat_result:
        return self._root.lstat(self._path)

    def chown(self, uid: int, gid: int) -> None:
        with self._root.parent(self._path) as (parent, name):
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)

    def chmod(self, mode: int) -> None:
        """A symbolic link has no permission bits: ELOOP.

        Before fchmodat2 (Linux 6.6) there is no chmod that does not follow links, and the owner of a file may have no
        permission to open it: so this goes through the name in /proc of an O_PATH descriptor (open(2)). Without /proc
        the file is opened, and ENOSYS raised for what cannot be.
        """
        with self._root.opened(self._path, os.O_PATH) as descriptor:
            type_ = stat.S_IFMT(os.fstat(descriptor).st_mode)
            if type_ == stat.S_IFLNK:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
            try:
                os.chmod(f"/proc/self/fd/{descriptor}", mode)
            except FileNotFoundError:
                self._chmod_opened(type_, mode)

    def _chmod_opened(self, type_: int, mode: int) -> None:
        try:
            if type_ not in _OPENED_WITHOUT_EFFECT:
                raise PermissionError
            with self._root.opened(self._path, os.O_RDONLY) as descriptor:
                os.fchmod(descriptor, mode)
        except PermissionError:
            raise OSError(errno.ENOSYS, "/proc is not mounted") from None

    def utime(self, mtime_ns: int) -> None:
        with self._root.parent(self._path) as (parent, name):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)

    def xattrs(self) -> Xattrs:
        with self._root.parent(self._path) as (parent, name), inside(parent) as path_of:
            return xattrs.read(path_of(name))

    def setxattr(self, name: bytes, value: bytes) -> None:
        with self._root.parent(self._path) as (parent, file), inside(parent) as path_of:
            os.setxattr(path_of(file), name, value, follow_symlinks=False)

    def removexattr(self, name: bytes) -> None:
        with self._root.parent(self._path) as (parent, file), inside(parent) as path_of:
            os.removexattr(path_of(file), name, follow_symlinks=False)


class PinnedInode(NamedInode):
    """A NamedInode that stays the same, whatever gets its name meanwhile. Made by `pinned`."""

    def __init__(self, root: Root, path: bytes, descriptor: int) -> None:
        """`descriptor` is opened with O_PATH: then Linux changes an inode only through its name in /proc (open(2))."""
        super().__init__(root, path)
        self._fd = descriptor
        self._name = f"/proc/self/fd/{descriptor}"

    def status(self) -> os.stat_result:
        return os.fstat(self._fd)

    def chown(self, uid: int, gid: int) -> None:
        os.chown(self._name, uid, gid)

    def chmod(self, mode: int) -> None:
        if stat.S_ISLNK(self.status().st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
        os.chmod(self._name, mode)

    def utime(self, mtime_ns: int) -> None:
        os.utime(self._name, ns=(mtime_ns, mtime_ns))

    def xattrs(self) -> Xattrs:
        return xattrs.read(os.fsencode(self._name), follow=True)

    def setxattr(self, name: bytes, value: bytes) -> None:
        os.setxattr(self._name, name, value)

    def removexattr(self, name: bytes) -> None:
        os.removexattr(self._name, name)


@contextmanager
def pinned(root: Root, path: bytes, before: os.stat_result | None) -> Iterator[NamedInode]:
    """What has a name, to change it. Raises OSError (ESTALE) where it is not what had this status `before`.

    Without /proc, as early in a boot, it is found by its name at each change.
    """
    with root.opened(path, os.O_PATH) as descriptor:
        now = os.fstat(descriptor)
        if before is not None and _identity(before) != _identity(now):
            raise OSError(errno.ESTALE, "another program replaced it during the download (run again)", path)
        has_proc = os.path.exists(f"/proc/self/fd/{descriptor}")
        yield PinnedInode(root, path, descriptor) if has_proc else NamedInode(root, path)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Not with the inode number: the next file may get it, and FUSE may give another one at each look. Nor with the
    device: a file of an overlay gets another one when it is copied to the upper layer."""
    return stat.S_IFMT(status.st_mode), status.st_uid, status.st_size, status.st_mtime_ns


Inode = OpenInode | NamedInode

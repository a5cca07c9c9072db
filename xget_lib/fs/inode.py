"""Sets owner, mode, times and extended attributes of something that is open, or that has a name below a Root."""

from __future__ import annotations

import errno
import os
import stat

from xget_lib.fs import xattrs
from xget_lib.fs.rooted import Root, in_directory
from xget_lib.manifest.entry import Xattrs


class OpenInode:
    """An open file or directory. The descriptor stays the caller's. Each call raises OSError as Linux does."""

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
    """As OpenInode, for what cannot be opened: links, devices, files without read permission. Follows no link."""

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
        permission to open it: so this goes through the name in /proc of an O_PATH descriptor (open(2)).
        """
        with self._root.opened(self._path, os.O_PATH) as descriptor:
            if stat.S_ISLNK(os.fstat(descriptor).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
            os.chmod(f"/proc/self/fd/{descriptor}", mode)

    def utime(self, mtime_ns: int) -> None:
        with self._root.parent(self._path) as (parent, name):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)

    def xattrs(self) -> Xattrs:
        with self._root.parent(self._path) as (parent, name):
            return xattrs.read(in_directory(parent, name))

    def setxattr(self, name: bytes, value: bytes) -> None:
        with self._root.parent(self._path) as (parent, file):
            os.setxattr(in_directory(parent, file), name, value, follow_symlinks=False)

    def removexattr(self, name: bytes) -> None:
        with self._root.parent(self._path) as (parent, file):
            os.removexattr(in_directory(parent, file), name, follow_symlinks=False)


Inode = OpenInode | NamedInode

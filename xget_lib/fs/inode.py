"""Where attributes are set: on something that is open, or on what has a name below a root."""

from __future__ import annotations

import os
from typing import Protocol

from xget_lib.fs import xattrs
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import Xattrs


class Place(Protocol):
    """Something whose attributes can be set. Each raises OSError as the system call does."""

    def chown(self, uid: int, gid: int) -> None: ...
    def chmod(self, mode: int) -> None: ...
    def utime(self, mtime_ns: int) -> None: ...
    def xattrs(self) -> Xattrs: ...
    def setxattr(self, name: bytes, value: bytes) -> None: ...
    def removexattr(self, name: bytes) -> None: ...


class Opened:
    """A file or directory that is open."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def chown(self, uid: int, gid: int) -> None:
        os.fchown(self._fd, uid, gid)

    def chmod(self, mode: int) -> None:
        os.fchmod(self._fd, mode)

    def utime(self, mtime_ns: int) -> None:
        os.utime(self._fd, ns=(mtime_ns, mtime_ns))

    def xattrs(self) -> Xattrs:
        return xattrs.read(self._fd)

    def setxattr(self, name: bytes, value: bytes) -> None:
        os.setxattr(self._fd, name, value)

    def removexattr(self, name: bytes) -> None:
        os.removexattr(self._fd, name)


class Named:
    """What has a name below a root: links, special files, and files that their owner may not open."""

    def __init__(self, root: Root, path: bytes) -> None:
        self._root = root
        self._path = path

    def chown(self, uid: int, gid: int) -> None:
        self._root.chown(self._path, uid, gid)

    def chmod(self, mode: int) -> None:
        self._root.chmod(self._path, mode)

    def utime(self, mtime_ns: int) -> None:
        self._root.utime(self._path, mtime_ns)

    def xattrs(self) -> Xattrs:
        return self._root.xattrs(self._path)

    def setxattr(self, name: bytes, value: bytes) -> None:
        self._root.setxattr(self._path, name, value)

    def removexattr(self, name: bytes) -> None:
        self._root.removexattr(self._path, name)

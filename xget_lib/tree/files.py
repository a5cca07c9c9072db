"""The namespace `files`: the served directory as it is on disk now, read-only.

9P2000 knows directories and files; links and devices, which it can't express, are not shown in it. What is shown can be
limited (`shown`): a child serves what it has downloaded, and nothing else that is in the same directory.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO

from xget_lib.content.beneath import Root
from xget_lib.errors import NinepError
from xget_lib.ninep.session import Content, File, Handle
from xget_lib.ninep.stat import DMDIR, Stat
from xget_lib.ninep.wire import QTDIR, QTFILE, Qid
from xget_lib.tree.served import FileRange
from xget_lib.tree.synthetic import Directory, OpenFile, check_mode

_FRESH = 0.5
"""Seconds for which directories are remembered between look-ups: a rename on disk shows after that."""


class Files:
    """What all files of one tree share."""

    def __init__(
        self, root: Root, shown: Callable[[bytes], bool], users: Mapping[int, str], groups: Mapping[int, str]
    ) -> None:
        """`shown(path)` says whether a path (relative, b"" is the root) exists for clients."""
        self._root = root
        self._shown = shown
        self._users = users
        self._groups = groups
        self._walked = 0.0

    def tree(self) -> File:
        """The root."""
        return FileOnDisk(self, b"", self._root.lstat(b""))

    def look(self, path: bytes) -> FileOnDisk:
        """The file at a path. Raises NinepError(ENOENT) where there is none that can be shown, or OSError."""
        now = time.monotonic()
        if now - self._walked > _FRESH:
            self._root.forget()
            self._walked = now
        if not self._shown(path):
            raise NinepError(errno.ENOENT)
        status = self._root.lstat(path)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise NinepError(errno.ENOENT, "neither a file nor a directory")
        return FileOnDisk(self, path, status)

    def children(self, path: bytes) -> Iterator[FileOnDisk]:
        """What is in a directory, without what vanishes meanwhile or has a name that 9P can't carry."""
        for name in sorted(self._root.names(path)):
            try:
                name.decode()
                yield self.look(path + b"/" + name if path else name)
            except (NinepError, OSError, UnicodeDecodeError):
                continue

    def open(self, path: bytes) -> FileIO:
        """A regular file. Raises NinepError where something else has taken its place, or OSError."""
        descriptor = self._root.open(path, os.O_RDONLY)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NinepError(errno.ENOENT, "not a file any more")
        return FileIO(descriptor)

    def owner(self, status: os.stat_result) -> tuple[str, str]:
        """User and group by name, or by number where the name is not known."""
        return (
            self._users.get(status.st_uid, str(status.st_uid)),
            self._groups.get(status.st_gid, str(status.st_gid)),
        )


@dataclass(frozen=True, slots=True)
class FileOnDisk:
    """A file or directory, as it looked when it was walked to."""

    files: Files
    path: bytes
    status: os.stat_result

    @property
    def qid(self) -> Qid:
        kind = QTDIR if stat.S_ISDIR(self.status.st_mode) else QTFILE
        # Version 0 would tell Linux not to cache; so the lowest bit is given up for being never 0.
        version = (self.status.st_mtime_ns ^ self.status.st_size << 1) & 0xFFFFFFFF | 1
        return Qid(kind, version, (self.status.st_ino ^ self.status.st_dev << 48) & 0xFFFFFFFFFFFFFFFF)

    def walk(self, name: str) -> File:
        if not stat.S_ISDIR(self.status.st_mode):
            raise NinepError(errno.ENOTDIR)
        encoded = name.encode()
        return self.files.look(self.path + b"/" + encoded if self.path else encoded)

    def stat(self) -> Stat:
        status = self.status
        directory = stat.S_ISDIR(status.st_mode)
        user, group = self.files.owner(status)
        return Stat(
            qid=self.qid,
            mode=status.st_mode & 0o777 | (DMDIR if directory else 0),
            atime=int(status.st_atime),
            mtime=int(status.st_mtime),
            length=0 if directory else status.st_size,
            name=os.path.basename(self.path).decode() or "/",
            uid=user,
            gid=group,
            muid=user,
        )

    def open(self, mode: int) -> Handle:
        # Permissions are the server's own: what its user cannot read, open(2) refuses below.
        check_mode(mode, 0o444)
        if stat.S_ISDIR(self.status.st_mode):
            return Directory(self._entries)
        return OpenFileOnDisk(self.files.open(self.path))

    def _entries(self) -> Iterable[Stat]:
        return (child.stat() for child in self.files.children(self.path))


class OpenFileOnDisk(OpenFile):
    """Owns its file, together with the replies that are still to be sent from it."""

    def __init__(self, file: FileIO) -> None:
        self._file: FileIO | None = file

    def read(self, offset: int, count: int) -> bytes | Content:
        assert self._file is not None
        length = min(count, max(0, os.fstat(self._file.fileno()).st_size - offset))
        return Content(length, FileRange(self._file, offset, length)) if length else b""

    def clunk(self) -> None:
        self._file = None

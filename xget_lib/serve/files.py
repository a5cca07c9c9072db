"""The namespace `files`: the served directory as it is on disk now, read-only.

Symbolic links and devices are shown as such; the server neither follows nor opens them. A child shows only what it has
downloaded, not what else is in the same directory (`shown`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import FileIO
from itertools import islice

from xget_lib.dataclass import dataclass
from xget_lib.errors import NinepError
from xget_lib.fs.readdir import Listed, listed
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import joined
from xget_lib.manifest.selection import STAGING
from xget_lib.ninep.attributes import FileSystem
from xget_lib.ninep.file import Content, File, Handle
from xget_lib.ninep.stat import (
    DMDEVICE,
    DMDIR,
    DMNAMEDPIPE,
    DMSETGID,
    DMSETUID,
    DMSETVTX,
    DMSOCKET,
    DMSYMLINK,
    DirectoryEntry,
    Stat,
)
from xget_lib.ninep.wire import QTDIR, QTFILE, QTSYMLINK, Qid
from xget_lib.serve.served import content_of_file
from xget_lib.serve.synthetic import check_mode

_FRESH = 0.5
"""Seconds for which open directories are reused: after that, a rename on disk shows."""
_AT_ONCE = 256
"""Names of a directory that are listed before the files are looked up."""


class Files:
    """What all files of one namespace share. Owned by the server; replaced with each generation."""

    def __init__(
        self,
        root: Root,
        shown: Callable[[bytes], bool],
        users: Mapping[int, str],
        groups: Mapping[int, str],
        matches: Callable[[bytes, os.stat_result], bool] | None = None,
    ) -> None:
        """`shown(path)` says whether clients may see a path, which is relative to `root`; b"" is the root itself.

        `users` and `groups` give names by number. `matches(path, status)` says whether what is there is what may be
        shown; it may raise OSError. Without it everything is.
        """
        self._matches = matches
        self.root = root
        self._shown = shown
        self._users = users
        self._groups = groups
        self._looked_up = 0.0

    def tree(self) -> File:
        """The root of the namespace."""
        return FileOnDisk(self, b"", self.root.lstat(b""))

    def look_up(self, path: bytes) -> FileOnDisk:
        """The file at a path. Raises NinepError(ENOENT) if it is not shown, or OSError."""
        now = time.monotonic()
        if now - self._looked_up > _FRESH:
            self.root.forget()
            self._looked_up = now
        if not self.shows(path):
            raise NinepError(errno.ENOENT)
        status = self.root.lstat(path)
        if not self.matches(path, status):
            raise NinepError(errno.ENOENT)
        return FileOnDisk(self, path, status)

    def shows(self, path: bytes) -> bool:
        """Whether clients may see a path."""
        return path != STAGING and self._shown(path)

    def matches(self, path: bytes, status: os.stat_result) -> bool:
        """Whether what has this status may be shown at a path. Raises OSError."""
        return self._matches is None or self._matches(path, status)

    def lists(self, path: bytes) -> bool:
        """Whether clients may see what is at a path now."""
        if self._matches is None:
            return self.shows(path)
        with suppress(OSError):
            return self.shows(path) and self._matches(path, self.root.lstat(path))
        return False

    def open(self, path: bytes) -> FileIO:
        """A regular file. Raises NinepError if something else is there by now, or OSError."""
        file = FileIO(self.root.open(path, os.O_RDONLY))
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not self.matches(path, status):
            file.close()
            raise NinepError(errno.ENOENT, "no longer the same regular file")
        return file

    def owner(self, status: os.stat_result) -> tuple[str, str]:
        """User and group by name, or by number if there is no name."""
        return (
            self._users.get(status.st_uid, str(status.st_uid)),
            self._groups.get(status.st_gid, str(status.st_gid)),
        )


@dataclass(frozen=True, slots=True)
class FileOnDisk:
    """A file of any kind, with the status that it had when it was walked to."""

    files: Files
    path: bytes
    status: os.stat_result

    @property
    def qid(self) -> Qid:
        # With version 0 Linux does not cache, so the lowest bit is always set.
        status = self.status
        version = (status.st_mtime_ns ^ status.st_ctime_ns ^ status.st_size << 1) & 0xFFFFFFFF | 1
        return Qid(_QID_TYPES.get(stat.S_IFMT(status.st_mode), QTFILE), version, _number(status.st_ino, status.st_dev))

    def walk(self, name: str) -> File:
        if not stat.S_ISDIR(self.status.st_mode):
            raise NinepError(errno.ENOTDIR)
        return self.files.look_up(self.below(os.fsencode(name)))

    def below(self, name: bytes) -> bytes:
        """The path of a name in this directory."""
        return joined(self.path, name)

    def stat(self) -> Stat:
        status = self.status
        kind = stat.S_IFMT(status.st_mode)
        user, group = self.files.owner(status)
        mode = status.st_mode & 0o777 | _STAT_MODES.get(kind, 0)
        for bit, named in _SET_ID.items():
            mode |= named if status.st_mode & bit else 0
        return Stat(
            qid=self.qid,
            mode=mode,
            atime=int(status.st_atime),
            mtime=int(status.st_mtime),
            length=status.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else 0,
            name=os.fsdecode(os.path.basename(self.path)) or "/",
            uid=user,
            gid=group,
            muid=user,
            extension=self._extension(kind),
            n_uid=status.st_uid,
            n_gid=status.st_gid,
            n_muid=status.st_uid,
        )

    def _extension(self, kind: int) -> str:
        """The `extension` of 9P2000.u: the target of a link, or the numbers of a device."""
        if kind == stat.S_IFLNK:
            try:
                return self.readlink()
            except OSError:
                return ""  # it was removed meanwhile
        if kind in (stat.S_IFBLK, stat.S_IFCHR):
            letter = "b" if kind == stat.S_IFBLK else "c"
            return f"{letter} {os.major(self.status.st_rdev)} {os.minor(self.status.st_rdev)}"
        return ""

    def attributes(self) -> os.stat_result:
        return self.status

    def readlink(self) -> str:
        self.files.look_up(self.path)  # it may have been replaced
        return os.fsdecode(self.files.root.readlink(self.path))

    def file_system(self) -> FileSystem:
        found = self.files.root.statvfs()
        return FileSystem(
            bsize=found.f_frsize,
            blocks=found.f_blocks,
            bfree=found.f_bfree,
            bavail=found.f_bavail,
            files=found.f_files,
            ffree=found.f_ffree,
            fsid=found.f_fsid & 0xFFFFFFFFFFFFFFFF,
            namelen=found.f_namemax,
        )

    def xattr(self, name: str) -> bytes:
        self.files.look_up(self.path)
        return self.files.root.xattr(self.path, os.fsencode(name))

    def open(self, mode: int) -> Handle:
        # Permissions are those of the server's user: open(2) refuses what it cannot read.
        check_mode(mode, 0o444)
        kind = stat.S_IFMT(self.status.st_mode)
        if kind == stat.S_IFDIR:
            return OpenDirectory(self, self.files.root.open(self.path, os.O_RDONLY | os.O_DIRECTORY))
        if kind != stat.S_IFREG:
            # The client's kernel opens devices and FIFOs of its own machine, and follows links itself.
            raise NinepError(errno.ELOOP if kind == stat.S_IFLNK else errno.ENXIO)
        return OpenFileOnDisk(self, self.files.open(self.path))


_QID_TYPES = {stat.S_IFDIR: QTDIR, stat.S_IFLNK: QTSYMLINK}
_STAT_MODES = {
    stat.S_IFDIR: DMDIR,
    stat.S_IFLNK: DMSYMLINK,
    stat.S_IFBLK: DMDEVICE,
    stat.S_IFCHR: DMDEVICE,
    stat.S_IFIFO: DMNAMEDPIPE,
    stat.S_IFSOCK: DMSOCKET,
}
_SET_ID = {stat.S_ISUID: DMSETUID, stat.S_ISGID: DMSETGID, stat.S_ISVTX: DMSETVTX}


def _number(inode: int, device: int) -> int:
    """The path of a qid: the same as long as the file is the same. Files of two file systems never have the same one as
    long as inode numbers are below 2**48."""
    return (inode ^ device << 48) & 0xFFFFFFFFFFFFFFFF


class OpenDirectory(Handle):
    """An open directory. Only the descriptor is kept."""

    def __init__(self, directory: FileOnDisk, descriptor: int) -> None:
        self._directory = directory
        self._descriptor = descriptor

    def children(self) -> Iterator[Stat]:
        """What is removed meanwhile is left out."""
        cookie, end = 0, False
        while not end:
            # In batches: another read of this directory may move the descriptor's position between two of them.
            batch = list(islice(self._listed(cookie), _AT_ONCE))
            end = len(batch) < _AT_ONCE
            for each in batch:
                cookie = each.cookie
                if each.name not in (b".", b".."):
                    with suppress(NinepError, OSError):
                        yield self._directory.files.look_up(self._directory.below(each.name)).stat()

    def entries(self, cookie: int) -> Iterator[DirectoryEntry]:
        for each in self._listed(cookie):
            path = self._directory.below(each.name)
            if each.name not in (b".", b"..") and not self._directory.files.lists(path):
                continue
            # The version is not looked up: a client that wants to know more walks to the file.
            kind = _QID_TYPES.get(each.type << 12, QTFILE)
            qid = Qid(kind, 1, _number(each.inode, self._directory.status.st_dev))
            if each.name == b".." and not self._directory.path:
                qid = self._directory.qid  # the root is its own parent
            yield DirectoryEntry(qid, each.cookie, each.type, os.fsdecode(each.name))

    def _listed(self, cookie: int) -> Iterator[Listed]:
        return listed(self._descriptor, cookie)

    def clunk(self) -> None:
        os.close(self._descriptor)


class OpenFileOnDisk(Handle):
    """An open regular file. It is closed when this handle and all replies from it are gone."""

    def __init__(self, walked: FileOnDisk, file: FileIO) -> None:
        self._walked = walked
        self._file: FileIO | None = file

    def read(self, offset: int, count: int) -> bytes | Content:
        assert self._file is not None
        status = os.fstat(self._file.fileno())
        if not self._walked.files.matches(self._walked.path, status):
            raise NinepError(errno.ESTALE)
        return content_of_file(self._file, status.st_size, offset, count)

    def clunk(self) -> None:
        self._file = None

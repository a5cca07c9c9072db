"""What the requests of 9P2000.L do with fids: Linux's calls on files that nobody can change.

Meanings are those of diod's protocol description, errors those that Linux programs know from a read-only file system.
Locks are refused, as nothing here could keep them: a program learns that it has none, instead of trusting one.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import ClassVar

from xget_lib.errors import NinepError
from xget_lib.ninep.fids import ALREADY_OPEN, Fid, Fids, Place
from xget_lib.ninep.file import Content, PlainHandle, Waiting
from xget_lib.ninep.linux import (
    GETATTR_BASIC,
    P9_ACCESS,
    P9_DIRECTORY,
    P9_TRUNC,
    V9FS_MAGIC,
    Rfsync,
    Rgetattr,
    Rlopen,
    Rreaddir,
    Rreadlink,
    Rstatfs,
    Rxattrwalk,
    Tfsync,
    Tgetattr,
    Tgetlock,
    Tlcreate,
    Tlink,
    Tlock,
    Tlopen,
    Tmkdir,
    Tmknod,
    Treaddir,
    Treadlink,
    Trename,
    Trenameat,
    Tsetattr,
    Tstatfs,
    Tsymlink,
    Tunlinkat,
    Txattrcreate,
    Txattrwalk,
)
from xget_lib.ninep.messages import OREAD, OTRUNC, RREAD_HEADER_SIZE, RMessage, Rread, Tread, Twalk
from xget_lib.ninep.stat import DIRECTORY_READ, Stat
from xget_lib.ninep.wire import QTDIR, Layout

ENTRY = Layout("qid[13] cookie[8] type[1] name[s]", linux=True)
"""What Rreaddir consists of: DirectoryEntry as it travels. The cookie is called offset there."""
_NANOSECONDS = 1_000_000_000


class LinuxFids(Fids):
    """The requests that 9P2000.L has by itself."""

    # Looking. Directories have "." and ".." in them here, and diod's clients walk from the one that they are reading.

    def _leads_on(self, fid: Fid, request: Twalk) -> bool:
        is_new = request.newfid != request.fid
        return super()._leads_on(fid, request) or (is_new and not isinstance(fid.handle, Value))

    def _step(self, place: Place, name: str) -> Place:
        if name == "." and place.file.qid.type & QTDIR:
            return place
        return super()._step(place, name)

    def _getattr(self, request: Tgetattr) -> Rgetattr:
        file = self._fid(request.fid).place.file
        found = file.attributes()
        (atime, atime_ns), (mtime, mtime_ns), (ctime, ctime_ns) = (
            divmod(max(time, 0), _NANOSECONDS) for time in (found.atime_ns, found.mtime_ns, found.ctime_ns)
        )
        return Rgetattr(
            valid=request.request_mask & GETATTR_BASIC,
            qid=file.qid,
            mode=found.mode,
            uid=found.uid,
            gid=found.gid,
            nlink=found.nlink,
            rdev=found.rdev,
            size=found.size,
            blksize=found.blksize,
            blocks=found.blocks,
            atime_sec=atime,
            atime_nsec=atime_ns,
            mtime_sec=mtime,
            mtime_nsec=mtime_ns,
            ctime_sec=ctime,
            ctime_nsec=ctime_ns,
            btime_sec=0,
            btime_nsec=0,
            gen=0,
            data_version=0,
        )

    def _statfs(self, request: Tstatfs) -> Rstatfs:
        found = self._fid(request.fid).place.file.file_system()
        return Rstatfs(
            V9FS_MAGIC,
            found.bsize,
            found.blocks,
            found.bfree,
            found.bavail,
            found.files,
            found.ffree,
            found.fsid,
            found.namelen,
        )

    def _readlink(self, request: Treadlink) -> Rreadlink:
        return Rreadlink(self._fid(request.fid).place.file.readlink())

    # Reading.

    def _lopen(self, request: Tlopen) -> Rlopen:
        mode = request.flags & P9_ACCESS
        if mode == P9_ACCESS:
            raise NinepError(errno.EINVAL)
        is_directory = bool(self._fid(request.fid).place.file.qid.type & QTDIR)
        if request.flags & P9_DIRECTORY and not is_directory:
            raise NinepError(errno.ENOTDIR)
        fid = self._open_fid(request.fid, mode | (OTRUNC if request.flags & P9_TRUNC else 0))
        return Rlopen(fid.place.file.qid, iounit=0)

    def _read(self, request: Tread) -> Rread | Content | Waiting:
        if _is_directory(self._fid(request.fid)):
            raise NinepError(errno.EISDIR)
        return super()._read(request)

    def _readdir(self, request: Treaddir) -> Rreaddir:
        fid = self._fid(request.fid)
        handle = fid.opened(OREAD)
        if not _is_directory(fid):
            raise NinepError(errno.ENOTDIR)
        room = min(request.count, self._msize - RREAD_HEADER_SIZE, DIRECTORY_READ)
        entries: list[bytes] = []
        for entry in handle.entries(request.offset):
            packed = b"".join(ENTRY.pack(entry))
            if len(packed) > room:
                if not entries:
                    # No bytes would mean the end of the directory.
                    raise NinepError(errno.EINVAL)
                break
            entries.append(packed)
            room -= len(packed)
        return Rreaddir(b"".join(entries))

    def _xattrwalk(self, request: Txattrwalk) -> Rxattrwalk:
        """The new fid is a file that consists of the value, or of the names of all."""
        fid = self._fid(request.fid)
        if request.newfid != request.fid:
            self._check_new(request.newfid)
        elif fid.handle is not None:
            raise NinepError(*ALREADY_OPEN)
        value = fid.place.file.xattr(request.name)
        self._check_may_open()
        self._put(request.newfid, Fid(fid.place, handle=Value(value)))
        self._count_opened()
        return Rxattrwalk(len(value))

    def _fsync(self, request: Tfsync) -> Rfsync:
        self._fid(request.fid)
        return Rfsync()

    # What is refused.

    def _no_change(self, request: _Change) -> RMessage:
        self._fid(request.fid)
        raise NinepError(errno.EROFS)

    def _no_change_in(self, request: _ChangeIn) -> RMessage:
        self._fid(request.dfid)
        raise NinepError(errno.EROFS)

    def _no_renameat(self, request: Trenameat) -> RMessage:
        self._fid(request.olddirfid)
        self._fid(request.newdirfid)
        raise NinepError(errno.EROFS)

    def _no_unlinkat(self, request: Tunlinkat) -> RMessage:
        self._fid(request.dirfd)
        raise NinepError(errno.EROFS)

    def _no_lock(self, request: Tlock | Tgetlock) -> RMessage:
        self._fid(request.fid)
        raise NinepError(errno.ENOLCK)

    _REQUESTS: ClassVar = {
        **Fids._REQUESTS,
        Tgetattr: "_getattr",
        Tstatfs: "_statfs",
        Treadlink: "_readlink",
        Tlopen: "_lopen",
        Treaddir: "_readdir",
        Txattrwalk: "_xattrwalk",
        Tfsync: "_fsync",
        **dict.fromkeys((Tlcreate, Trename, Tsetattr, Txattrcreate), "_no_change"),
        **dict.fromkeys((Tsymlink, Tmknod, Tlink, Tmkdir), "_no_change_in"),
        Trenameat: "_no_renameat",
        Tunlinkat: "_no_unlinkat",
        **dict.fromkeys((Tlock, Tgetlock), "_no_lock"),
    }


_Change = Tlcreate | Trename | Tsetattr | Txattrcreate
_ChangeIn = Tsymlink | Tmknod | Tlink | Tmkdir


def _is_directory(fid: Fid) -> bool:
    """Whether it stands for a directory, and not for an attribute of one."""
    return bool(fid.place.file.qid.type & QTDIR) and not isinstance(fid.handle, Value)


class Value(PlainHandle):
    """The value of an extended attribute, opened."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def read(self, offset: int, count: int) -> bytes:
        return self._value[offset : offset + count]

    def write(self, offset: int, data: bytes) -> int:
        raise NinepError(errno.EROFS)

    def children(self) -> Iterable[Stat]:
        raise NinepError(errno.ENOTDIR)

    def clunk(self) -> None:
        pass

"""What the requests that 9P2000.L has by itself do with fids: Linux's calls, on files that nobody can change.

Meanings are those of diod's protocol description, errors those that Linux programs know from a read-only file system.
Locks are refused, as nothing here could keep them: a program learns that it has none, instead of relying on one.
"""

from __future__ import annotations

import errno
from dataclasses import astuple

from xget_lib.errors import NinepError
from xget_lib.ninep.fids import ALREADY_OPEN, Answer, Fid, Fids, WalkedFile
from xget_lib.ninep.file import Handle
from xget_lib.ninep.linux import (
    GETATTR_BASIC,
    P9_ACCESS,
    P9_DIRECTORY,
    P9_TRUNC,
    REFUSED,
    V9FS_MAGIC,
    Refused,
    Rfsync,
    Rgetattr,
    Rlopen,
    Rreaddir,
    Rreadlink,
    Rstatfs,
    Rxattrwalk,
    Tfsync,
    Tgetattr,
    Tlopen,
    Treaddir,
    Treadlink,
    Tstatfs,
    Txattrwalk,
)
from xget_lib.ninep.messages import OREAD, OTRUNC, RREAD_HEADER_SIZE, RMessage, TMessage, Tread, Twalk
from xget_lib.ninep.stat import DIRECTORY_READ, DirectoryEntry
from xget_lib.ninep.wire import Layout

_ENTRY = Layout.of(DirectoryEntry, unix=True, linux=True)
_NANOSECONDS = 1_000_000_000


class LinuxFids(Fids):
    """The fids of a 9P2000.L session."""

    def _carry_out_own(self, request: TMessage) -> RMessage:
        match request:
            case Tgetattr():
                return self._getattr(request)
            case Treaddir():
                return self._readdir(request)
            case Tlopen():
                return self._lopen(request)
            case Txattrwalk():
                return self._xattrwalk(request)
            case Treadlink():
                return Rreadlink(self._fid(request.fid).walked.file.readlink())
            case Tstatfs():
                return Rstatfs(V9FS_MAGIC, *astuple(self._fid(request.fid).walked.file.file_system()))
            case Tfsync():
                self._fid(request.fid)
                return Rfsync()
            case Refused():
                self._fid(request.fid)
                raise NinepError(REFUSED[request.number][1])
        raise AssertionError(f"{request} is not of this dialect")

    # Walking. Directories contain "." and ".." here, and diod's clients walk from the one that they are reading.

    def _may_walk_from(self, fid: Fid, request: Twalk) -> bool:
        is_new = request.newfid != request.fid
        return super()._may_walk_from(fid, request) or (is_new and not isinstance(fid.handle, _Xattr))

    def _step(self, walked: WalkedFile, name: str) -> WalkedFile:
        if name == "." and walked.is_directory:
            return walked
        return super()._step(walked, name)

    # Attributes.

    def _getattr(self, request: Tgetattr) -> Rgetattr:
        file = self._fid(request.fid).walked.file
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

    def _xattrwalk(self, request: Txattrwalk) -> Rxattrwalk:
        """The new fid is a file that consists of the value, or of the names of all attributes."""
        fid = self._fid(request.fid)
        if request.newfid != request.fid:
            self._check_new(request.newfid)
        elif fid.handle is not None:
            raise NinepError(*ALREADY_OPEN)
        value = fid.walked.file.xattr(request.name)
        self._check_may_open()
        self._put(request.newfid, Fid(fid.walked, handle=_Xattr(value)))
        self._count_opened()
        return Rxattrwalk(len(value))

    # Opening and reading.

    def _lopen(self, request: Tlopen) -> Rlopen:
        mode = request.flags & P9_ACCESS
        if mode == P9_ACCESS:
            raise NinepError(errno.EINVAL)
        if request.flags & P9_DIRECTORY and not self._fid(request.fid).walked.is_directory:
            raise NinepError(errno.ENOTDIR)
        fid = self._open_fid(request.fid, mode | (OTRUNC if request.flags & P9_TRUNC else 0))
        return Rlopen(fid.walked.file.qid, iounit=0)

    def _read(self, request: Tread) -> Answer:
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
            packed = b"".join(_ENTRY.pack(entry))
            if len(packed) > room:
                if not entries:
                    # No bytes would mean the end of the directory.
                    raise NinepError(errno.EINVAL)
                break
            entries.append(packed)
            room -= len(packed)
        return Rreaddir(b"".join(entries))


def _is_directory(fid: Fid) -> bool:
    """Whether it stands for a directory, and not for an attribute of one."""
    return fid.walked.is_directory and not isinstance(fid.handle, _Xattr)


class _Xattr(Handle):
    """The value of an extended attribute, opened."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def read(self, offset: int, count: int) -> bytes:
        return self._value[offset : offset + count]

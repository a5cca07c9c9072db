"""What the requests that only 9P2000.L has do with fids: Linux's calls, on files that cannot be changed.

Meanings are those of diod's protocol description, errors those that Linux programs know from a read-only file system.
Locks are refused, because this server cannot keep them. So a program knows that it has no lock.
"""

from __future__ import annotations

import errno

from xget_lib.dataclass import astuple
from xget_lib.errors import NinepError
from xget_lib.ninep import linux
from xget_lib.ninep.fids import ALREADY_OPEN, Answer, Fid, Fids
from xget_lib.ninep.file import Handle
from xget_lib.ninep.messages import OREAD, OTRUNC, RREAD_HEADER_SIZE, RMessage, TMessage, Tread, Twalk
from xget_lib.ninep.stat import DIRECTORY_READ, DirectoryEntry
from xget_lib.ninep.walked_file import WalkedFile
from xget_lib.ninep.wire import Layout

_ENTRY = Layout.of(DirectoryEntry, unix=True, linux=True)
_NANOSECONDS = 1_000_000_000


class LinuxFids(Fids):
    """The fids of a 9P2000.L session."""

    def _carry_out_own(self, request: TMessage) -> RMessage:
        match request:
            case linux.Tgetattr():
                return self._getattr(request)
            case linux.Treaddir():
                return self._readdir(request)
            case linux.Tlopen():
                return self._lopen(request)
            case linux.Txattrwalk():
                return self._xattrwalk(request)
            case linux.Treadlink():
                return linux.Rreadlink(self._fid(request.fid).walked.file.readlink())
            case linux.Tstatfs():
                return linux.Rstatfs(linux.V9FS_MAGIC, *astuple(self._fid(request.fid).walked.file.file_system()))
            case linux.Tfsync():
                self._fid(request.fid)
                return linux.Rfsync()
            case linux.Refused():
                self._fid(request.fid)
                raise NinepError(linux.REFUSED[request.number][1])
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

    def _getattr(self, request: linux.Tgetattr) -> linux.Rgetattr:
        file = self._fid(request.fid).walked.file
        found = file.attributes()
        (atime, atime_ns), (mtime, mtime_ns), (ctime, ctime_ns) = (
            divmod(max(time, 0), _NANOSECONDS) for time in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
        )
        return linux.Rgetattr(
            valid=request.request_mask & linux.GETATTR_BASIC,
            qid=file.qid,
            mode=found.st_mode,
            uid=found.st_uid,
            gid=found.st_gid,
            nlink=found.st_nlink,
            rdev=found.st_rdev,
            size=found.st_size,
            blksize=found.st_blksize,
            blocks=found.st_blocks,
            atime_sec=atime,
            atime_nsec=atime_ns,
            mtime_sec=mtime,
            mtime_nsec=mtime_ns,
            ctime_sec=ctime,
            ctime_nsec=ctime_ns,
        )

    def _xattrwalk(self, request: linux.Txattrwalk) -> linux.Rxattrwalk:
        """The new fid is a file that consists of the value, or of the names of all attributes."""
        fid = self._fid(request.fid)
        if request.newfid != request.fid:
            self._check_new(request.newfid)
        elif fid.handle is not None:
            raise NinepError(*ALREADY_OPEN)
        value = fid.walked.file.xattr(request.name)
        self._count_opened()
        try:
            self._put(request.newfid, Fid(fid.walked, handle=_Xattr(value), kept=len(value)))
        except NinepError:
            self._uncount_opened()
            raise
        return linux.Rxattrwalk(len(value))

    # Opening and reading.

    def _lopen(self, request: linux.Tlopen) -> linux.Rlopen:
        mode = request.flags & linux.P9_ACCESS
        if mode == linux.P9_ACCESS:
            raise NinepError(errno.EINVAL)
        if request.flags & linux.P9_DIRECTORY and not self._fid(request.fid).walked.is_directory:
            raise NinepError(errno.ENOTDIR)
        fid = self._open_fid(request.fid, mode | (OTRUNC if request.flags & linux.P9_TRUNC else 0))
        return linux.Rlopen(fid.walked.file.qid, iounit=0)

    def _read(self, request: Tread) -> Answer:
        if _is_directory(self._fid(request.fid)):
            raise NinepError(errno.EISDIR)
        return super()._read(request)

    def _readdir(self, request: linux.Treaddir) -> linux.Rreaddir:
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
        return linux.Rreaddir(b"".join(entries))


def _is_directory(fid: Fid) -> bool:
    """Whether it stands for a directory, and not for an attribute of one."""
    return fid.walked.is_directory and not isinstance(fid.handle, _Xattr)


class _Xattr(Handle):
    """The value of an extended attribute, opened."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    @property
    def kept(self) -> int:
        return len(self._value)

    def read(self, offset: int, count: int) -> bytes:
        return self._value[offset : offset + count]

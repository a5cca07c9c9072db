"""What the requests that only 9P2000 and 9P2000.u have do with fids: open(5), stat(5).

The two differ in what they can express of a file, which their `StatFormat`s know.
"""

from __future__ import annotations

import errno
from typing import ClassVar

from xget_lib.errors import NinepError
from xget_lib.ninep.fids import Fids
from xget_lib.ninep.messages import RMessage, Ropen, Rstat, Rwstat, Tcreate, TMessage, Topen, Tstat, Twstat
from xget_lib.ninep.stat import DONT_TOUCH, PLAIN_STAT, UNIX_STAT, DirectoryReader, Stat, StatFormat
from xget_lib.ninep.walked_file import WalkedFile


class PlainFids(Fids):
    """The fids of a 9P2000 session."""

    _stat_format: ClassVar[StatFormat] = PLAIN_STAT

    def _carry_out_own(self, request: TMessage) -> RMessage:
        match request:
            case Topen():
                return self._open(request)
            case Tstat():
                return Rstat(self._stat_format.pack_shown(self._fid(request.fid).walked.file.stat()))
            case Twstat():
                return self._wstat(request)
            case Tcreate():
                self._fid(request.fid)
                raise NinepError(errno.EROFS)
        raise AssertionError(f"{request} is not of this dialect")

    def _step(self, walked: WalkedFile, name: str) -> WalkedFile:
        walked = super()._step(walked, name)
        hidden = self._stat_format.hidden_kinds
        if hidden and not walked.is_directory and walked.file.stat().mode & hidden:
            raise NinepError(errno.ENOENT, "neither a file nor a directory")
        return walked

    def _open(self, request: Topen) -> Ropen:
        fid = self._open_fid(request.fid, request.mode)
        if fid.walked.is_directory:
            assert fid.handle is not None
            fid.directory = DirectoryReader(fid.handle.children, self._stat_format)
        return Ropen(fid.walked.file.qid, iounit=0)

    def _wstat(self, request: Twstat) -> Rwstat:
        self._fid(request.fid)
        if Stat.unpack(request.stat, self._stat_format) != DONT_TOUCH:
            raise NinepError(errno.EROFS)
        return Rwstat()  # a request to bring the file to stable storage; nothing here was written


class UnixFids(PlainFids):
    """The fids of a 9P2000.u session."""

    _stat_format = UNIX_STAT

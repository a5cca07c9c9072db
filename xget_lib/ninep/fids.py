"""Fids: the numbers by which a client names files, and what its requests do with them.

A fid stands for a place in the tree from Tattach or Twalk on, and is opened at most once; Tclunk, Tremove and the end
of the session free it. The rules are those of the manual's section 5; trees are only asked what these allow.

The texts of errors are those of Plan 9's servers and of Unix where they have one. 9P2000 carries the text alone, and
Linux makes the errno again from these (net/9p/error.c).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from xget_lib.errors import NinepError, XGetError
from xget_lib.ninep.file import WAITING, Content, File, Handle, Waiting
from xget_lib.ninep.messages import (
    ACCESS,
    OEXEC,
    ORCLOSE,
    ORDWR,
    OREAD,
    OTRUNC,
    OWRITE,
    RREAD_HEADER_SIZE,
    Rattach,
    Rclunk,
    RMessage,
    Ropen,
    Rread,
    Rstat,
    Rwalk,
    Rwrite,
    Rwstat,
    Tattach,
    Tauth,
    Tclunk,
    Tcreate,
    TMessage,
    Topen,
    Tread,
    Tremove,
    Tstat,
    Twalk,
    Twrite,
    Twstat,
)
from xget_lib.ninep.stat import DONT_TOUCH, DirectoryReader, Stat
from xget_lib.ninep.wire import NOFID, QTDIR, Qid

UNKNOWN_FID = (errno.EBADF, "fid unknown or out of range")
FID_IN_USE = (errno.EBADF, "fid already in use")
BAD_USE_OF_FID = (errno.EBADF, "bad use of fid")
ALREADY_OPEN = (errno.ETXTBSY, "file already open for I/O")
NOT_A_DIRECTORY = (errno.ENOTDIR, "not a directory")
ILLEGAL_NAME = (errno.ENOENT, "illegal path element")
NO_AUTHENTICATION = (errno.ECONNREFUSED, "no authentication required")


@dataclass(frozen=True, slots=True)
class Place:
    """A file and the way to it, which ".." goes back."""

    file: File
    parent: Place | None

    def step(self, name: str) -> Place:
        """One element of a walk. At the root ".." stays there: walk(5)."""
        if not self.file.qid.type & QTDIR:
            raise NinepError(*NOT_A_DIRECTORY)
        if name == "..":
            return self.parent or self
        if name in ("", ".") or "/" in name:
            raise NinepError(*ILLEGAL_NAME)
        return Place(self.file.walk(name), self)


@dataclass(slots=True)
class Fid:
    """What one number stands for: a place and, once it is opened, a handle."""

    place: Place
    mode: int = OREAD
    handle: Handle | None = None
    directory: DirectoryReader | None = None

    def opened(self, *access: int) -> Handle:
        """The handle, if the fid was opened in one of these modes. Raises NinepError."""
        if self.handle is None or self.mode & ACCESS not in access:
            raise NinepError(*BAD_USE_OF_FID)
        return self.handle


class Fids:
    """All fids of one session, at most `limit`. `attach` gives the root for a dialect, uname and aname."""

    def __init__(self, attach: Callable[[str, str, str], File], dialect: str, msize: int, limit: int) -> None:
        self._root = attach
        self._dialect = dialect
        self._msize = msize
        self._limit = limit
        self._fids: dict[int, Fid] = {}

    def __len__(self) -> int:
        return len(self._fids)

    def carry_out(self, request: TMessage) -> RMessage | Content | Waiting:
        """Does what `request` asks. WAITING (from Tread alone) changes nothing; ask again.

        Raises XGetError or OSError for what is refused: an Rerror to the client.
        """
        match request:
            case Tread():
                return self._read(request)
            case Twrite():
                return self._write(request)
            case Twalk():
                return self._walk(request)
            case Topen():
                return self._open(request)
            case Tclunk():
                return self._clunk(request.fid)
            case Tstat():
                return Rstat(self._fid(request.fid).place.file.stat().pack(self._dialect))
            case Tattach():
                return self._attach(request)
            case Tauth():
                raise NinepError(*NO_AUTHENTICATION)
            case Tremove():
                self._clunk(request.fid)  # also when the remove fails: remove(5)
                raise NinepError(errno.EROFS)
            case Twstat():
                return self._wstat(request)
            case Tcreate():
                self._fid(request.fid)
                raise NinepError(errno.EROFS)
        raise AssertionError(f"{request} is no request for a fid")

    def clunk_all(self) -> None:
        with ExitStack() as clunks:  # so that every one is called, even when one of them has a bug
            for fid in self._fids.values():
                if fid.handle is not None:
                    clunks.callback(fid.handle.clunk)
            self._fids.clear()

    def _fid(self, number: int) -> Fid:
        fid = self._fids.get(number)
        if fid is None:
            raise NinepError(*UNKNOWN_FID)
        return fid

    def _check_new(self, number: int) -> None:
        """Refuses a number that cannot become a fid now."""
        if number == NOFID:
            raise NinepError(*UNKNOWN_FID)
        if number in self._fids:
            raise NinepError(*FID_IN_USE)
        if len(self._fids) >= self._limit:
            raise NinepError(errno.EMFILE)

    def _attach(self, request: Tattach) -> Rattach:
        if request.afid != NOFID:
            raise NinepError(*NO_AUTHENTICATION)
        self._check_new(request.fid)
        root = self._root(self._dialect, request.uname, request.aname)
        self._fids[request.fid] = Fid(Place(root, None))
        return Rattach(root.qid)

    def _walk(self, request: Twalk) -> Rwalk:
        fid = self._fid(request.fid)
        if request.newfid != request.fid:
            self._check_new(request.newfid)
        if fid.handle is not None:
            raise NinepError(*ALREADY_OPEN)
        place = fid.place
        qids: list[Qid] = []
        for name in request.wname:
            try:
                place = place.step(name)
            except (XGetError, OSError):
                if not qids:
                    raise
                return Rwalk(tuple(qids))  # their number tells which element failed; newfid is unaffected
            qids.append(place.file.qid)
        self._fids[request.newfid] = Fid(place)
        return Rwalk(tuple(qids))

    def _open(self, request: Topen) -> Ropen:
        fid = self._fid(request.fid)
        if fid.handle is not None:
            raise NinepError(*ALREADY_OPEN)
        if request.mode & ORCLOSE:
            raise NinepError(errno.EROFS)
        file = fid.place.file
        is_directory = bool(file.qid.type & QTDIR)
        if is_directory and (request.mode & ACCESS in (OWRITE, ORDWR) or request.mode & OTRUNC):
            raise NinepError(errno.EISDIR)
        fid.handle, fid.mode = file.open(request.mode), request.mode
        if is_directory:
            fid.directory = DirectoryReader(fid.handle.children, self._dialect)
        return Ropen(file.qid, iounit=0)

    def _read(self, request: Tread) -> Rread | Content | Waiting:
        fid = self._fid(request.fid)
        handle = fid.opened(OREAD, ORDWR, OEXEC)
        count = min(request.count, self._msize - RREAD_HEADER_SIZE)
        if fid.directory is not None:
            return Rread(fid.directory.read(request.offset, count))
        data = handle.read(request.offset, count)
        if isinstance(data, bytes):
            assert len(data) <= count, handle
            return Rread(data)
        assert data is WAITING or data.length <= count, handle
        return data

    def _write(self, request: Twrite) -> Rwrite:
        handle = self._fid(request.fid).opened(OWRITE, ORDWR)
        return Rwrite(handle.write(request.offset, request.data))

    def _clunk(self, number: int) -> Rclunk:
        fid = self._fid(number)
        del self._fids[number]
        if fid.handle is not None:
            fid.handle.clunk()
        return Rclunk()

    def _wstat(self, request: Twstat) -> Rwstat:
        self._fid(request.fid)
        if Stat.unpack(request.stat, self._dialect) != DONT_TOUCH:
            raise NinepError(errno.EROFS)
        return Rwstat()  # asked to bring the file to stable storage, on the way to which there is nothing here

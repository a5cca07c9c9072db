"""Fids: the numbers by which a client names files, and what its requests do with them.

A fid stands for a place in the tree from Tattach or Twalk on, and is opened at most once; Tclunk, Tremove and the end
of the session free it. The rules are those of the manual's section 5; trees are only asked what these allow.

The texts of errors are those of Plan 9's servers and of Unix where they have one. 9P2000 carries the text alone, and
Linux makes the errno again from these (net/9p/error.c).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from xget_lib.errors import NinepError, XGetError
from xget_lib.ninep.file import WAITING, Content, File, Handle, Waiting
from xget_lib.ninep.limits import Shared
from xget_lib.ninep.messages import (
    ACCESS,
    NINEP2000,
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
from xget_lib.ninep.stat import DMSPECIAL, DONT_TOUCH, DirectoryReader, Stat
from xget_lib.ninep.wire import NOFID, QTDIR, Qid

UNKNOWN_FID = (errno.EBADF, "fid unknown or out of range")
FID_IN_USE = (errno.EBADF, "fid already in use")
BAD_USE_OF_FID = (errno.EBADF, "bad use of fid")
ALREADY_OPEN = (errno.ETXTBSY, "file already open for I/O")
NOT_A_DIRECTORY = (errno.ENOTDIR, "not a directory")
ILLEGAL_NAME = (errno.ENOENT, "illegal path element")
NO_AUTHENTICATION = (errno.ENOENT, "no authentication required")
"""The number is diod's: its clients go on without after no other (libnpclient/mount.c)."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file and the way to it, which ".." goes back."""

    file: File
    parent: Place | None
    count: int = 1
    """Of places from the root to this one."""

    def step(self, name: str) -> Place:
        """One element of a walk. At the root ".." stays there: walk(5)."""
        if not self.file.qid.type & QTDIR:
            raise NinepError(*NOT_A_DIRECTORY)
        if name == "..":
            return self.parent or self
        if name in ("", ".") or "/" in name:
            raise NinepError(*ILLEGAL_NAME)
        return Place(self.file.walk(name), self, self.count + 1)


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
    """All fids of one session, at most `limit`, `max_open` of them open. `attach` gives the root for a dialect, uname
    and aname. All must be given up in the end: others wait for their `shared`.

    What is the same in all dialects is here; `PlainFids` has the rest for 9P2000 and 9P2000.u.
    """

    def __init__(
        self,
        attach: Callable[[str, str, str], File],
        dialect: str,
        msize: int,
        limit: int,
        max_open: int,
        shared: Shared,
    ) -> None:
        self._root = attach
        self._dialect = dialect
        self._msize = msize
        self._limit = limit
        self._max_open = max_open
        self._shared = shared
        self._open_files = 0
        self._fids: dict[int, Fid] = {}

    def __len__(self) -> int:
        return len(self._fids)

    def carry_out(self, request: TMessage) -> RMessage | Content | Waiting:
        """Does what `request` asks. WAITING (from Tread alone) changes nothing; ask again.

        Raises XGetError or OSError for what is refused: an error to the client.
        """
        answer: RMessage | Content | Waiting = getattr(self, self._REQUESTS[type(request)])(request)
        return answer

    def clunk_all(self) -> None:
        with ExitStack() as clunks:  # so that every one is called, even when one of them has a bug
            for fid in self._fids.values():
                if fid.handle is not None:
                    clunks.callback(fid.handle.clunk)
            self._shared.places.give_back(sum(fid.place.count for fid in self._fids.values()))
            self._shared.open_files.give_back(self._open_files)
            self._fids.clear()
            self._open_files = 0

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
        if len(self._fids) >= self._limit or self._shared.places.spent:
            raise NinepError(errno.EMFILE)

    def _put(self, number: int, fid: Fid) -> None:
        """A number, checked before where it is new, stands for this from now on. Raises NinepError where too much is on
        the way there."""
        former = self._fids.get(number)
        more = fid.place.count - (former.place.count if former is not None else 0)
        if not self._shared.places.take(more):
            raise NinepError(errno.EMFILE)
        self._fids[number] = fid

    def _attach(self, request: Tattach) -> Rattach:
        if request.afid != NOFID:
            raise NinepError(*NO_AUTHENTICATION)
        self._check_new(request.fid)
        root = self._root(self._dialect, request.uname, request.aname)
        self._put(request.fid, Fid(Place(root, None)))
        return Rattach(root.qid)

    def _walk(self, request: Twalk) -> Rwalk:
        fid = self._fid(request.fid)
        if request.newfid != request.fid:
            self._check_new(request.newfid)
        if not self._leads_on(fid, request):
            raise NinepError(*ALREADY_OPEN)
        place = fid.place
        qids: list[Qid] = []
        for name in request.wname:
            try:
                place = self._step(place, name)
            except (XGetError, OSError):
                if not qids:
                    raise
                return Rwalk(tuple(qids))  # their number tells which element failed; newfid is unaffected
            qids.append(place.file.qid)
        self._put(request.newfid, Fid(place))
        return Rwalk(tuple(qids))

    def _leads_on(self, fid: Fid, request: Twalk) -> bool:
        """Whether it can be walked from: not from what is open, says walk(5)."""
        return fid.handle is None

    def _step(self, place: Place, name: str) -> Place:
        place = place.step(name)
        if self._dialect == NINEP2000 and not place.file.qid.type & QTDIR and place.file.stat().mode & DMSPECIAL:
            # It has no word for links and devices; what cannot be shown as it is does not exist.
            raise NinepError(errno.ENOENT, "neither a file nor a directory")
        return place

    def _open_fid(self, number: int, mode: int) -> Fid:
        """Opens the file of a fid, in a mode of open(5)."""
        fid = self._fid(number)
        if fid.handle is not None:
            raise NinepError(*ALREADY_OPEN)
        if mode & ORCLOSE:
            raise NinepError(errno.EROFS)
        is_directory = bool(fid.place.file.qid.type & QTDIR)
        if is_directory and (mode & ACCESS in (OWRITE, ORDWR) or mode & OTRUNC):
            raise NinepError(errno.EISDIR)
        self._check_may_open()
        fid.handle, fid.mode = fid.place.file.open(mode), mode
        self._count_opened()
        return fid

    def _check_may_open(self) -> None:
        """Refuses to open one file more than may be open."""
        if self._open_files >= self._max_open or self._shared.open_files.spent:
            raise NinepError(errno.EMFILE)

    def _count_opened(self) -> None:
        """A fid has a handle from now on, as was checked before."""
        self._open_files += 1
        self._shared.open_files.take()

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

    def _clunk(self, request: Tclunk | Tremove) -> Rclunk:
        fid = self._fid(request.fid)
        del self._fids[request.fid]
        self._shared.places.give_back(fid.place.count)
        if fid.handle is not None:
            self._open_files -= 1
            self._shared.open_files.give_back()
            fid.handle.clunk()
        return Rclunk()

    def _auth(self, request: Tauth) -> RMessage:
        raise NinepError(*NO_AUTHENTICATION)

    def _remove(self, request: Tremove) -> RMessage:
        self._clunk(request)  # also when the remove fails: remove(5)
        raise NinepError(errno.EROFS)

    _REQUESTS: ClassVar[Mapping[type[TMessage], str]] = {
        Tread: "_read",
        Twrite: "_write",
        Twalk: "_walk",
        Tclunk: "_clunk",
        Tattach: "_attach",
        Tauth: "_auth",
        Tremove: "_remove",
    }
    """What carries out each request."""


class PlainFids(Fids):
    """The requests that 9P2000 and 9P2000.u have by themselves."""

    def _open(self, request: Topen) -> Ropen:
        fid = self._open_fid(request.fid, request.mode)
        if fid.place.file.qid.type & QTDIR:
            assert fid.handle is not None
            fid.directory = DirectoryReader(fid.handle.children, self._dialect)
        return Ropen(fid.place.file.qid, iounit=0)

    def _stat(self, request: Tstat) -> Rstat:
        return Rstat(self._fid(request.fid).place.file.stat().seen_in(self._dialect).pack(self._dialect))

    def _wstat(self, request: Twstat) -> Rwstat:
        self._fid(request.fid)
        if Stat.unpack(request.stat, self._dialect) != DONT_TOUCH:
            raise NinepError(errno.EROFS)
        return Rwstat()  # asked to bring the file to stable storage, on the way to which there is nothing here

    def _create(self, request: Tcreate) -> RMessage:
        self._fid(request.fid)
        raise NinepError(errno.EROFS)

    _REQUESTS: ClassVar = {**Fids._REQUESTS, Topen: "_open", Tstat: "_stat", Twstat: "_wstat", Tcreate: "_create"}

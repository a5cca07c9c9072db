"""Fids: the numbers by which a client names files, and what its requests do with them.

A fid stands for a file from Tattach or Twalk on, and is opened at most once; Tclunk, Tremove and the end of the session
free it. The rules are those of the manual, section 5; a tree is asked only what these allow. Here is what all dialects
have in common; `plain_fids` and `linux_fids` have the requests that are theirs alone.

The texts of errors are those of Plan 9's servers, and of Unix if Plan 9 has none. 9P2000 carries the text alone, and
Linux derives the errno from it (net/9p/error.c).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack, suppress

from xget_lib.dataclass import dataclass
from xget_lib.errors import NinepError, XGetError
from xget_lib.ninep.auth import (
    AUTHENTICATION_FAILED,
    NO_AUTHENTICATION,
    AuthFile,
    Gate,
    ServerHandshake,
)
from xget_lib.ninep.budget import Account
from xget_lib.ninep.file import WAITING, Content, File, Handle, Waiting
from xget_lib.ninep.limits import FID_COST, WALKED_COST, Limits
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
    Rauth,
    Rclunk,
    RMessage,
    Rread,
    Rwalk,
    Rwrite,
    Tattach,
    Tauth,
    Tclunk,
    TMessage,
    Tread,
    Tremove,
    Twalk,
    Twrite,
)
from xget_lib.ninep.stat import DirectoryReader
from xget_lib.ninep.walked_file import WalkedFile
from xget_lib.ninep.wire import NOFID, Qid

UNKNOWN_FID = (errno.EBADF, "fid unknown or out of range")
FID_IN_USE = (errno.EBADF, "fid already in use")
BAD_USE_OF_FID = (errno.EBADF, "bad use of fid")
ALREADY_OPEN = (errno.ETXTBSY, "file already open for I/O")

_BEFORE_PROOF = (Tauth, Tattach, Tread, Twrite, Tclunk)
"""What a client may ask before it has attached to a tree, if it has to prove first that it belongs."""

Answer = RMessage | Content | Waiting


@dataclass(slots=True)
class Fid:
    """What one number stands for: a file and, once it is opened, a handle."""

    walked: WalkedFile
    mode: int = OREAD
    handle: Handle | None = None
    directory: DirectoryReader | None = None
    kept: int = 0
    """What is counted of `handle.kept`."""

    def opened(self, *access: int) -> Handle:
        """The handle, if the fid was opened in one of these modes. Raises NinepError."""
        if self.handle is None or self.mode & ACCESS not in access:
            raise NinepError(*BAD_USE_OF_FID)
        return self.handle


class Fids:
    """All fids of one session. The session owns it and must call clunk_all() at the end, which returns what
    these fids took from the shared budgets (`limits`). They take it for `account`.

    `attach(uname, aname)` gives the root. `msize` is in bytes. `gate` decides who may attach; None: everybody. A
    request may have to wait for another process, and clunk_all() may be called meanwhile: so what a request has opened
    is kept only if its fid is still there.
    """

    def __init__(
        self,
        attach: Callable[[str, str], File],
        msize: int,
        limits: Limits,
        account: Account | None = None,
        gate: Gate | None = None,
        dialect: str = "",
    ) -> None:
        self._root = attach
        self._msize = msize
        self._limits = limits
        self._account = account or Account()
        self._asked: dict[int, Fid] = {}
        """The fids whose last read waited: their handles may get something meanwhile."""
        self._open_files = 0
        self._fids: dict[int, Fid] = {}
        self._gate = gate
        self._dialect = dialect
        self._stranger = gate is not None
        """Whether the client has not been let in yet."""
        self._afid = NOFID

    def __len__(self) -> int:
        return len(self._fids)

    @property
    def is_checking(self) -> bool:
        """Whether the client waits until its proof is checked: then its requests do too, up to the Tattach. Who has
        been let in before has requests that need not wait."""
        afid = self._fids.get(self._afid) if self._stranger else None
        return afid is not None and isinstance(afid.handle, ServerHandshake) and afid.handle.checking

    def carry_out(self, request: TMessage) -> Answer:
        """Do what `request` asks. WAITING (from Tread alone) changes nothing; ask again.

        Raises XGetError or OSError to refuse the request.
        """
        if self._gate is not None and self._stranger and not isinstance(request, _BEFORE_PROOF):
            raise NinepError(*self._gate.refusal)
        match request:
            case Tread():
                return self._read(request)
            case Twrite():
                return self._write(request)
            case Twalk():
                return self._walk(request)
            case Tclunk():
                return self._clunk(request)
            case Tattach():
                return self._attach(request)
            case Tauth():
                return self._auth(request)
            case Tremove():
                self._clunk(request)  # also when the remove fails: remove(5)
                raise NinepError(errno.EROFS)
        return self._carry_out_own(request)

    def _carry_out_own(self, request: TMessage) -> RMessage:
        """Do what a request asks that only this dialect has."""
        raise NotImplementedError

    def clunk_all(self) -> None:
        with ExitStack() as clunks:  # so that every one is called, even when one of them has a bug
            for fid in self._fids.values():
                if fid.handle is not None:
                    clunks.callback(fid.handle.clunk)
            for fid in self._fids.values():
                self._release(fid)
            self._limits.open_files.give_back(self._account, self._open_files)
            self._fids.clear()
            self._asked.clear()
            self._open_files = 0

    def retry(self) -> None:
        """What open files keep may have changed since their last reads: count it."""
        for number, fid in list(self._asked.items()):
            if fid.handle is not None and fid.handle.kept != fid.kept:
                with suppress(NinepError):
                    self._count_kept(fid)
                self._asked.pop(number, None)

    def _fid(self, number: int) -> Fid:
        fid = self._fids.get(number)
        if fid is None:
            raise NinepError(*UNKNOWN_FID)
        return fid

    # Attaching.

    def may_attach(self, request: Tattach) -> bool:
        """Whether this request gets its client in."""
        try:
            self._proof(request)
        except NinepError:
            return False
        return True

    def _proof(self, request: Tattach) -> ServerHandshake | None:
        """What proves that the client may attach; None if it needs no proof. Raises NinepError if it may not."""
        if self._gate is None:
            if request.afid != NOFID:
                raise NinepError(*NO_AUTHENTICATION)
            return None
        if request.afid == NOFID:
            if self._gate.is_open(self._dialect, request.aname):
                return None
            raise NinepError(*self._gate.refusal)
        proof = self._fid(request.afid).handle
        if isinstance(proof, ServerHandshake) and proof.proves(request.uname, request.aname):
            return proof
        raise NinepError(*AUTHENTICATION_FAILED)

    def _auth(self, request: Tauth) -> Rauth:
        if self._gate is None:
            raise NinepError(*NO_AUTHENTICATION)
        self._check_new(request.afid)
        if self._afid in self._fids:
            raise NinepError(errno.EMFILE)  # one at a time: a client has proved nothing yet, and each takes memory
        file, handshake = AuthFile(), self._gate.begin(request.uname, request.aname)
        self._count_opened()
        try:
            self._put(request.afid, Fid(WalkedFile(file, None), ORDWR, handshake))
        except NinepError:
            self._uncount_opened()
            raise
        self._afid = request.afid
        return Rauth(file.qid)

    def _attach(self, request: Tattach) -> Rattach:
        proof = self._proof(request)
        self._check_new(request.fid)
        root = self._root(request.uname, request.aname)
        self._put(request.fid, Fid(WalkedFile(root, None)))
        if self._gate is not None:
            self._gate.admitted(proof)
        self._stranger = False
        return Rattach(root.qid)

    # Walking.

    def _walk(self, request: Twalk) -> Rwalk:
        fid = self._fid(request.fid)
        if request.newfid != request.fid:
            self._check_new(request.newfid)
        if not self._may_walk_from(fid, request):
            raise NinepError(*ALREADY_OPEN)
        walked = fid.walked
        qids: list[Qid] = []
        for name in request.wname:
            try:
                walked = self._step(walked, name)
            except (XGetError, OSError):
                if not qids:
                    raise
                return Rwalk(tuple(qids))  # their number says which element failed; newfid is unaffected
            qids.append(walked.file.qid)
        self._put(request.newfid, Fid(walked))
        return Rwalk(tuple(qids))

    def _may_walk_from(self, fid: Fid, request: Twalk) -> bool:
        """Whether a walk may start here: not at an open file, says walk(5)."""
        return fid.handle is None

    def _step(self, walked: WalkedFile, name: str) -> WalkedFile:
        return walked.step(name)

    def _check_new(self, number: int) -> None:
        """Raise NinepError for a number that cannot become a fid now."""
        if number == NOFID:
            raise NinepError(*UNKNOWN_FID)
        if number in self._fids:
            raise NinepError(*FID_IN_USE)
        if len(self._fids) >= self._limits.max_fids:
            raise NinepError(errno.EMFILE)

    def _put(self, number: int, fid: Fid) -> None:
        """From now on `number`, checked before if it is new, stands for this. Raises NinepError if this host has too
        many fids, or too far from their roots."""
        cost = FID_COST + WALKED_COST * fid.walked.unused() + fid.kept
        if not self._limits.memory.take(self._account, cost):
            raise NinepError(errno.EMFILE)
        fid.walked.use()
        former = self._fids.get(number)
        self._fids[number] = fid
        if former is not None:
            self._release(former)

    def _release(self, fid: Fid) -> None:
        """A fid is gone."""
        cost = FID_COST + WALKED_COST * fid.walked.release() + fid.kept
        self._limits.memory.give_back(self._account, cost)

    def _clunk(self, request: Tclunk | Tremove) -> Rclunk:
        fid = self._fid(request.fid)
        del self._fids[request.fid]
        self._asked.pop(request.fid, None)
        self._release(fid)
        if fid.handle is not None:
            self._close(fid)
        return Rclunk()

    # Opening and reading.

    def _open_fid(self, number: int, mode: int) -> Fid:
        """Open the file of a fid, in a mode of open(5)."""
        fid = self._fid(number)
        if fid.handle is not None:
            raise NinepError(*ALREADY_OPEN)
        if mode & ORCLOSE:
            raise NinepError(errno.EROFS)
        if fid.walked.is_directory and (mode & ACCESS in (OWRITE, ORDWR) or mode & OTRUNC):
            raise NinepError(errno.EISDIR)
        self._count_opened()
        try:
            handle = fid.walked.file.open(mode)
        except BaseException:
            self._uncount_opened()
            raise
        if self._fids.get(number) is not fid:
            handle.clunk()
            raise NinepError(*UNKNOWN_FID)
        fid.handle, fid.mode = handle, mode
        return fid

    def _close(self, fid: Fid) -> None:
        """An open fid is open no longer."""
        handle, fid.handle = fid.handle, None
        self._uncount_opened()
        assert handle is not None
        handle.clunk()

    def _count_opened(self) -> None:
        """A file is about to be opened. Raises NinepError if this host may have no further one."""
        if self._open_files >= self._limits.max_open or not self._limits.open_files.take(self._account):
            raise NinepError(errno.EMFILE)
        self._open_files += 1

    def _uncount_opened(self) -> None:
        """A file was closed, or could not be opened. After clunk_all() none is counted any more."""
        if self._open_files:
            self._open_files -= 1
            self._limits.open_files.give_back(self._account)

    def _count_kept(self, fid: Fid) -> None:
        """Count what an open file keeps in memory. If this host may not have so much, close the file, and raise
        NinepError."""
        assert fid.handle is not None
        more = fid.handle.kept - fid.kept
        if more <= 0:
            self._limits.memory.give_back(self._account, -more)
        elif not self._limits.memory.take(self._account, more):
            self._close(fid)
            raise NinepError(errno.ENOMEM)
        fid.kept += more

    def _read(self, request: Tread) -> Answer:
        fid = self._fid(request.fid)
        handle = fid.opened(OREAD, ORDWR, OEXEC)
        count = min(request.count, self._msize - RREAD_HEADER_SIZE)
        if fid.directory is not None:
            return Rread(fid.directory.read(request.offset, count))
        data = handle.read(request.offset, count)
        if handle.kept != fid.kept and fid.handle is handle:
            self._count_kept(fid)
        if isinstance(data, bytes):
            assert len(data) <= count, handle
            return Rread(data)
        if data is WAITING:
            self._asked[request.fid] = fid
        else:
            assert data.length <= count, handle
        return data

    def _write(self, request: Twrite) -> Rwrite:
        handle = self._fid(request.fid).opened(OWRITE, ORDWR)
        return Rwrite(handle.write(request.offset, request.data))

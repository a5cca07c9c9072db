"""A server's side of one connection, without I/O: bytes from the network into `receive`, replies out of `next_reply`.

A request is carried out when its reply is taken, not when it arrives. Three things follow. However many requests a
client sends ahead, only one reply at a time takes memory. A request that Tflush finds still queued has not happened,
which is what its client will assume: flush(5). And requests take effect in the order in which they were sent.

The queue is bounded. When it is full, no further request is decoded, and the connection must not read more: TCP then
stops the client. A client that reads its replies gets on, and its Tflush is seen when the requests before it have their
replies. A client that does not read them could not see an Rflush either.

A read may have to wait, for bytes that this server does not hold yet or for news. Then its handle answers WAITING,
later requests continue, and `retry` asks again.

This module handles tags, `fids` the fids, and a tree (`file`) the files.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from xget_lib.dataclass import dataclass
from xget_lib.errors import NinepError, ProtocolViolation, XGetError
from xget_lib.ninep.auth import Gate
from xget_lib.ninep.budget import Account
from xget_lib.ninep.dialect import DIALECTS, NINEP2000, UNKNOWN, decode, encode, negotiate, tag_of
from xget_lib.ninep.fids import BAD_USE_OF_FID, Answer, Fids
from xget_lib.ninep.file import WAITING, Content, File
from xget_lib.ninep.framer import Framer
from xget_lib.ninep.limits import (
    MAX_QUEUED_BYTES,
    MAX_REQUEST,
    RECEIVED_COST,
    REQUEST_COST,
    SHORT_REQUEST,
    TEXTS_COST,
    Limits,
)
from xget_lib.ninep.messages import (
    DEFAULT_MSIZE,
    MIN_MSIZE,
    Message,
    Rflush,
    RMessage,
    Rversion,
    Tattach,
    Tclunk,
    Tflush,
    TMessage,
    Tread,
    Tremove,
    Tversion,
    rread_header,
)
from xget_lib.ninep.trace import RECEIVED, frame_line
from xget_lib.ninep.wire import HEADER, NOTAG, Buffer

MAX_MALFORMED = 16  # malformed requests in a row that are answered; a client that sends more does not speak 9P
ENAME_MAX = 1024  # bytes of an error's text, which is only advisory and may be cut: intro(5)


@dataclass(frozen=True, slots=True)
class Reply:
    """`header` is all bytes that go before `content`: the whole frame, if there is no content."""

    tag: int
    header: bytes
    content: Content | None


class Session:
    """Owned by one connection, which calls close() in the end.

    `attach(dialect, uname, aname)` gives the root of a tree, to a client that the `gate` lets in (None: to all). A
    message has at most `max_msize` bytes. A request beyond the `limits` is refused. What the session takes of the
    budgets in there, it takes for `account`.
    """

    def __init__(
        self,
        attach: Callable[[str, str, str], File],
        max_msize: int = DEFAULT_MSIZE,
        limits: Limits | None = None,
        account: Account | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.dialect = NINEP2000
        self.msize = max_msize
        self.trace: Callable[[str], None] | None = None
        """Called with a line for each message; None if no lines are wanted."""
        self._attach = attach
        self._gate = gate
        self._max_msize = max_msize
        self.limits = limits or Limits()
        self.account = account or Account()
        self._framer = Framer(MIN_MSIZE, MAX_REQUEST)  # enough for a Tversion
        self._received = 0  # messages
        self._malformed = 0  # requests in a row
        self._fids: Fids | None = None  # None until a version is agreed on
        # By tag, in order of arrival: requests to be carried out, and replies that are known already.
        self._queue: OrderedDict[int, Message | XGetError] = OrderedDict()
        self._waiting: dict[int, Tread] = {}
        self._large: dict[int, int] = {}
        """By tag: bytes that queued requests take which are not short, besides REQUEST_COST."""
        self._large_bytes = 0
        self._counted_waiting = 0
        """What was taken of `limits.waiting`."""
        self._counted_memory = 0
        """What `count_memory` took of `limits.memory`."""

    @property
    def fid_count(self) -> int:
        return len(self._fids or ())

    @property
    def partial_message(self) -> int | None:
        """The number of the message that has arrived in part; None if the last one arrived whole."""
        return self._received if self._framer.has_partial else None

    @property
    def waiting(self) -> int:
        """How many reads wait. One that retry() asks again counts once next_reply() has found it still waiting."""
        return len(self._waiting)

    @property
    def is_asked(self) -> bool:
        """Whether a request was received whose reply was not taken."""
        return bool(self._queue)

    @property
    def gets_in(self) -> bool:
        """Whether the next request attaches to a tree, and may do so."""
        request = next(iter(self._queue.values()), None)
        return isinstance(request, Tattach) and self._fids is not None and self._fids.may_attach(request)

    @property
    def is_checking(self) -> bool:
        """Whether requests wait until the proof of the client is checked. Nothing more may be received until then."""
        return self._fids is not None and self._fids.is_checking

    def limit_requests(self, longest: int) -> None:
        """From the next message on, drop requests of more than so many bytes as they arrive."""
        self._framer.longest = longest

    @property
    def full(self) -> bool:
        """Whether received bytes are left that were not decoded, because too many requests have no reply."""
        return self._framer.unread

    def receive(self, data: Buffer) -> None:
        """Take bytes from the network. Raises ProtocolViolation when the connection must end; the replies to what came
        before may still be taken and sent. Must not be called while the session is full: see `receive_rest`."""
        self.account.use()
        self._framer.feed(data)
        self.receive_rest()

    def receive_rest(self) -> None:
        """Decode what was received, until the queue is full. To be called after replies were taken, while the session
        is full. Raises ProtocolViolation as `receive` does."""
        while len(self._queue) < self.limits.max_tags and self._large_bytes < MAX_QUEUED_BYTES:
            frame = self._framer.next_frame()
            if frame is None:
                return
            self._received += 1
            if self.trace is not None:
                self.trace(frame_line(RECEIVED, frame, self.dialect))
            tag = tag_of(frame)
            self._accept(tag, self._decode(frame))
            if len(frame) > SHORT_REQUEST and tag in self._queue:
                self._large[tag] = len(frame) + TEXTS_COST
                self._large_bytes += len(frame) + TEXTS_COST

    def next_reply(self) -> Reply | None:
        """Carry out requests until one has a reply, and return it; None when nothing can be answered now. The caller
        must send the reply: it cannot be flushed any more."""
        while self._queue and not self.is_checking:
            tag, message = self._queue.popitem(last=False)
            if self._large:
                self._large_bytes -= self._large.pop(tag, 0)
            reply = self._reply(tag, message)
            if reply is not None:
                return reply
        if self._counted_waiting > len(self._waiting):
            self.limits.waiting.give_back(self.account, self._counted_waiting - len(self._waiting))
            self._counted_waiting = len(self._waiting)
        return None

    def retry(self) -> bool:
        """Queue every waiting read again, before all requests that arrived later. Returns whether there are any."""
        if self._fids is not None:
            self._fids.retry()
        if not self._waiting:
            return False
        for tag in reversed(self._waiting):
            self._queue[tag] = self._waiting[tag]
            self._queue.move_to_end(tag, last=False)
        self._waiting.clear()
        return True

    def count_memory(self) -> bool:
        """Count the memory that requests take: those in the queue, those that wait, and what has arrived in part. To be
        called when the session has to wait. Returns False if this host may not have so much."""
        requests = len(self._queue) + len(self._waiting)
        arrived = RECEIVED_COST * self._framer.kept
        more = arrived + self._large_bytes + REQUEST_COST * requests - self._counted_memory
        if more > 0 and not self.limits.memory.take(self.account, more):
            return False
        if more < 0:
            self.limits.memory.give_back(self.account, -more)
        self._counted_memory += more
        return True

    def close(self) -> None:
        """Clunk every fid and forget all requests."""
        self._queue.clear()
        self._waiting.clear()
        self._large.clear()
        self._large_bytes = 0
        self.limits.waiting.give_back(self.account, self._counted_waiting)
        self._counted_waiting = 0
        self.limits.memory.give_back(self.account, self._counted_memory)
        self._counted_memory = 0
        if self._fids is not None:
            self._fids.clunk_all()

    # In: frames become queued requests.

    def _decode(self, frame: Buffer) -> TMessage | ProtocolViolation | NinepError:
        """The request in `frame`, or the error that answers a malformed one, which does not affect those after it.
        Raises ProtocolViolation before a version is agreed on, and for too many malformed ones in a row."""
        if len(frame) == HEADER.size < int.from_bytes(frame[:4], "little"):
            return NinepError(errno.EMSGSIZE, f"a request may have {self._framer.longest} bytes")
        try:
            tag, request = decode(frame, self.dialect)
            if not isinstance(request, TMessage):
                raise ProtocolViolation(f"{type(request).__name__} is not a request")
            if not isinstance(request, Tversion):
                if self._fids is None:
                    raise ProtocolViolation("Tversion must be the first message")
                if tag == NOTAG:
                    raise ProtocolViolation("only Tversion may have the tag NOTAG")
        except ProtocolViolation as violation:
            self._malformed += 1
            if self._fids is None or self._malformed > MAX_MALFORMED:
                raise
            return violation.with_traceback(None)  # which would keep the bytes that were received
        self._malformed = 0
        return request

    def _accept(self, tag: int, request: TMessage | XGetError) -> None:
        if isinstance(request, Tversion):
            self._queue[tag] = self._version(request)
            return
        if tag in self._queue or tag in self._waiting:
            # No reply, and so no error reply either, could say which of two requests with one tag it answers.
            raise ProtocolViolation(f"tag {tag} is already in use")
        if isinstance(request, Tflush):
            self._flush(request.oldtag)
            self._queue[tag] = Rflush()
        else:
            self._queue[tag] = request

    def _version(self, request: Tversion) -> RMessage | NinepError:
        """End the session before, whose requests get no replies any more, and start another: version(5)."""
        self.close()
        self._fids = None
        self.dialect = NINEP2000  # until another is agreed on
        if request.msize < MIN_MSIZE:
            return NinepError(errno.EINVAL, f"msize {request.msize} is too small, the minimum is {MIN_MSIZE}")
        msize = min(request.msize, self._max_msize)
        dialect = negotiate(request.version, request.msize)
        if dialect is None:
            return Rversion(msize, UNKNOWN)
        attach = partial(self._attach, dialect)
        self._fids = DIALECTS[dialect].fids(attach, msize, self.limits, self.account, self._gate, dialect)
        self.dialect, self.msize, self._framer.msize = dialect, msize, msize
        return Rversion(msize, dialect)

    def _flush(self, oldtag: int) -> None:
        """Forget a request that has no reply yet; but a client that flushes a flush waits for both Rflush."""
        self._waiting.pop(oldtag, None)
        if not isinstance(self._queue.get(oldtag), Rflush | Rversion):
            self._queue.pop(oldtag, None)
            self._large_bytes -= self._large.pop(oldtag, 0)

    # Out: queued requests become replies.

    def _reply(self, tag: int, message: Message | XGetError) -> Reply | None:
        """The reply to what was queued under `tag`; None for a read that waits."""
        if isinstance(message, XGetError):
            # Not raised: its traceback would keep a file in some stack frame open until garbage is collected.
            return self.refusal(tag, message)
        try:
            answer = self._carry_out(message) if isinstance(message, TMessage) else message
            if isinstance(answer, Content):
                return Reply(tag, rread_header(tag, answer.length), answer)
            if isinstance(answer, Message):
                return Reply(tag, self._encode(tag, answer), None)
        except (XGetError, OSError) as error:
            return self.refusal(tag, error)
        assert answer is WAITING and isinstance(message, Tread)
        if len(self._waiting) >= self.limits.max_waiting or not self._count_waiting():
            return self.refusal(tag, NinepError(errno.EAGAIN, "too many waiting reads"))
        self._waiting[tag] = message
        return None

    def _count_waiting(self) -> bool:
        """One more read waits. Returns False if this host may have no further one."""
        if self._counted_waiting > len(self._waiting):
            return True  # it waited before, and was asked again
        if not self.limits.waiting.take(self.account):
            return False
        self._counted_waiting += 1
        return True

    def _carry_out(self, request: TMessage) -> Answer:
        assert self._fids is not None
        if isinstance(request, Tclunk | Tremove):
            self._abandon_reads(request.fid)
        return self._fids.carry_out(request)

    def _abandon_reads(self, fid: int) -> None:
        """Refuse the reads that wait on a fid which is about to be freed."""
        for tag in [tag for tag, read in self._waiting.items() if read.fid == fid]:
            del self._waiting[tag]
            self._queue[tag] = NinepError(*BAD_USE_OF_FID)

    def _encode(self, tag: int, reply: Message) -> bytes:
        frame = encode(tag, reply, self.dialect)
        if len(frame) > self.msize:
            raise NinepError(errno.EMSGSIZE)
        return frame

    def refusal(self, tag: int, error: XGetError | OSError) -> Reply:
        """The error reply of this dialect. The error's text may be of any length and contain any characters."""
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        ename = text.replace("\0", "\\0").encode(errors="backslashreplace")[:ENAME_MAX].decode(errors="ignore")
        refused = DIALECTS[self.dialect].error(ename, error.errno or errno.EIO)
        return Reply(tag, self._encode(tag, refused), None)

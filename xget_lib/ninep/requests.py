"""A client's side of one connection: requests out, replies matched to them by their tags, data put where it belongs.

Bytes come in without being copied about: the connection receives straight into what `buffer` gives, and says how much
with `received`. That is a small buffer of our own, except in the midst of an Rread: then it is the place that the
request named (`into`), for as long as the data of that one reply lasts. What of the data came along with the header in
the small buffer is copied once, and the rest never.

A server is a stranger: every size is compared with what was asked for before anything is done by it, and whatever does
not fit is a ProtocolViolation, after which nothing here may be used any more.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.ninep.messages import (
    DEFAULT_MSIZE,
    MESSAGES,
    MIN_MSIZE,
    NINEP2000,
    RREAD,
    RREAD_HEADER_SIZE,
    UNKNOWN,
    Message,
    RMessage,
    Rread,
    Rversion,
    Rwalk,
    Rwrite,
    Tflush,
    TMessage,
    Tread,
    Tversion,
    Twalk,
    Twrite,
    decode,
    encode,
    is_reply_to,
)
from xget_lib.ninep.wire import HEADER, NOTAG

# Holds any reply but an Rread: the longest are an Rstat and an Rerror, 65535 bytes behind their count.
_BUFFER_SIZE = HEADER.size + 2 + 0xFFFF


@dataclass(frozen=True, slots=True)
class ReadInto(RMessage):
    """The Rread of a Tread that was submitted with `into`: `count` bytes of data are there now."""

    count: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A transaction that is complete. `reply` is of the type that answers `request`, ReadInto, or an Rerror."""

    tag: int
    request: TMessage
    reply: RMessage


@dataclass(slots=True)
class _Pending:
    """A request whose tag is in use."""

    request: TMessage
    into: memoryview | None
    flushed: bool = False  # a Tflush is on its way: the tag stays in use until the Rflush, with a reply or without
    answered: bool = False


@dataclass(slots=True)
class _Data:
    """An Rread whose data is coming in."""

    tag: int
    count: int
    at: int  # how much of it has come
    sink: memoryview | None  # None: not wanted any more


class Requests:
    """`msize` is what the Tversion is to offer, and after the Rversion, what both sides keep to."""

    def __init__(self, msize: int = DEFAULT_MSIZE) -> None:
        self.msize = msize
        self.dialect = NINEP2000
        self._pending: dict[int, _Pending] = {}
        self._next_tag = 0
        self._own = memoryview(bytearray(_BUFFER_SIZE))
        self._filled = 0  # bytes of it that hold replies
        self._data: _Data | None = None

    @property
    def pending(self) -> int:
        """Requests in flight: tags that are in use."""
        return len(self._pending)

    @property
    def lacking(self) -> int:
        """Bytes of data that are still to come of the reply that is just coming in; 0 when it is not an Rread."""
        return 0 if self._data is None else self._data.count - self._data.at

    def submit(self, message: TMessage, into: memoryview | None = None) -> tuple[int, bytes]:
        """The tag and the bytes with which to send `message`. Raises NinepError for what cannot be sent.

        For a Tread, `into` is where its data is to go, at least `count` bytes; leave it alone until the answer is there
        or, after flush(), the Rflush. A Tversion must be alone.
        """
        assert not isinstance(message, Tversion) or (not self._pending and message.msize == self.msize)
        assert into is None or (isinstance(message, Tread) and len(into) >= message.count)
        tag = NOTAG if isinstance(message, Tversion) else self._new_tag()
        frame = encode(tag, message, self.dialect)
        if len(frame) > self.msize:
            raise NinepError(errno.EMSGSIZE)
        self._pending[tag] = _Pending(message, into)
        return tag, frame

    def flush(self, tag: int) -> bytes:
        """The bytes of a Tflush for a request that is in flight. Its Rflush is an Answer, whose request has `oldtag`.
        Raises KeyError where the answer has been given out already.

        Data of a read that still comes before the Rflush is thrown away. Any other reply that does is an Answer as if
        nothing had been flushed, for it may tell of a change that has happened, such as a new fid: flush(5).
        """
        pending = self._pending[tag]
        assert not pending.flushed and not isinstance(pending.request, Tflush)
        _, frame = self.submit(Tflush(tag))
        pending.flushed = True
        if self._data is not None and self._data.tag == tag:
            self._data.sink = None
        return frame

    def buffer(self) -> memoryview:
        """Where the next bytes from the network are to go; never empty, valid for one received()."""
        if self._data is None:
            return self._own[self._filled :]
        if self._data.sink is None:
            return self._own[: self._data.count - self._data.at]
        return self._data.sink[self._data.at : self._data.count]

    def received(self, count: int) -> list[Answer]:
        """Says that `count` bytes were put into buffer(). The answers that they completed. Raises ProtocolViolation."""
        answers: list[Answer] = []
        if self._data is not None:
            self._data.at += count
            self._finish_data(self._data, answers)
            return answers
        self._filled += count
        at = 0
        while self._data is None:
            end = self._take_reply(at, answers)
            if end == at:
                break
            at = end
        self._own[: self._filled - at] = self._own[at : self._filled]  # the beginning of the next one
        self._filled -= at
        return answers

    def _take_reply(self, at: int, answers: list[Answer]) -> int:
        """Takes the reply that begins at `at` in our buffer. Where it ends; `at` if more of it must come first."""
        there = self._filled - at
        if there < HEADER.size:
            return at
        size, number, tag = HEADER.unpack_from(self._own, at)
        if not HEADER.size <= size <= self.msize:
            raise ProtocolViolation(f"a message of {size} bytes, {HEADER.size} to {self.msize} are possible")
        pending = self._pending.get(tag)
        if pending is None or pending.answered:
            raise ProtocolViolation(f"a reply to tag {tag}, which asked for none")
        end: int = at + size
        if number == RREAD:
            if there < RREAD_HEADER_SIZE:
                return at
            end = min(end, self._filled)
            self._begin_data(tag, pending, self._own[at:end], size, answers)
            return end
        if size > _BUFFER_SIZE:
            raise ProtocolViolation(f"a message of {size} bytes and type {number}")
        if there < size:
            return at
        _, reply = decode(self._own[at:end], self.dialect)
        self._settle(tag, self._check(reply, pending.request), answers)
        return end

    # Replies with data.

    def _begin_data(self, tag: int, pending: _Pending, frame: memoryview, size: int, answers: list[Answer]) -> None:
        """Takes an Rread of `size` bytes, as much of which as is there is `frame`."""
        count = int.from_bytes(frame[HEADER.size : RREAD_HEADER_SIZE], "little")
        if size != RREAD_HEADER_SIZE + count:
            raise ProtocolViolation(f"an Rread of {size} bytes says that {count} are data")
        if not isinstance(pending.request, Tread):
            raise ProtocolViolation(f"an Rread answers {type(pending.request).__name__}")
        if count > pending.request.count:
            raise ProtocolViolation(f"{count} bytes of data, {pending.request.count} were asked for")
        there = frame[RREAD_HEADER_SIZE:]
        sink = None
        if not pending.flushed:
            sink = memoryview(bytearray(count)) if pending.into is None else pending.into
            sink[: len(there)] = there
        self._data = _Data(tag, count, len(there), sink)
        self._finish_data(self._data, answers)

    def _finish_data(self, data: _Data, answers: list[Answer]) -> None:
        if data.at < data.count:
            return
        self._data = None
        has_place = self._pending[data.tag].into is not None
        self._settle(data.tag, ReadInto(data.count) if has_place else Rread(bytes(data.sink or b"")), answers)

    # All replies.

    def _check(self, reply: Message, request: TMessage) -> RMessage:
        """The reply, if it can be one to `request`."""
        if not isinstance(reply, RMessage) or not is_reply_to(reply, request, self.dialect):
            raise ProtocolViolation(f"{type(reply).__name__} answers {type(request).__name__}")
        match request, reply:
            case Tversion(), Rversion():
                self._agree(reply)
            case Twalk(), Rwalk() if len(reply.wqid) > len(request.wname):
                raise ProtocolViolation(f"{len(reply.wqid)} qids for {len(request.wname)} names")
            case Twrite(), Rwrite() if reply.count > len(request.data):
                raise ProtocolViolation(f"{reply.count} bytes written, {len(request.data)} were sent")
        return reply

    def _agree(self, reply: Rversion) -> None:
        if reply.version == UNKNOWN:
            return
        if reply.version not in MESSAGES:
            raise ProtocolViolation(f"the server wants to speak {reply.version!a}")
        if not MIN_MSIZE <= reply.msize <= self.msize:
            raise ProtocolViolation(f"msize {reply.msize} answers {self.msize}")
        self.dialect, self.msize = reply.version, reply.msize

    def _settle(self, tag: int, reply: RMessage, answers: list[Answer]) -> None:
        pending = self._pending[tag]
        if pending.flushed:
            pending.answered = True
        else:
            del self._pending[tag]
        if isinstance(pending.request, Tflush):
            self._pending.pop(pending.request.oldtag, None)  # a caller may flush what is not in flight
        if not (pending.flushed and isinstance(pending.request, Tread)):
            answers.append(Answer(tag, pending.request, reply))

    def _new_tag(self) -> int:
        """A tag that is not in use. They go round, so that a reply that comes twice is noticed."""
        if len(self._pending) >= NOTAG:
            raise NinepError(errno.EAGAIN)
        while self._next_tag in self._pending:
            self._next_tag = (self._next_tag + 1) % NOTAG
        tag = self._next_tag
        self._next_tag = (tag + 1) % NOTAG
        return tag

"""A client's side of one connection, without I/O: requests out, replies matched to them by tag, data into the
caller's buffer.

Received bytes are not copied: the connection receives straight into what `buffer` gives, and reports how much with
`received`. That is a small buffer of our own, except in the middle of an Rread: then it is the buffer of the request
(`into`), until all data of that reply has arrived. Only the data that arrived together with the header, in the small
buffer, is copied once.

A server is not trusted: every size is compared with what was asked for before it is used, and a reply that does not fit
is a ProtocolViolation. Afterwards this object must not be used any more.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence

from xget_lib.dataclass import dataclass, replace
from xget_lib.errors import NinepError, ProtocolViolation, one_line
from xget_lib.ninep.dialect import DIALECTS, NINEP2000, UNKNOWN, decode, encode
from xget_lib.ninep.messages import (
    DEFAULT_MSIZE,
    MIN_MSIZE,
    RREAD_HEADER_SIZE,
    Message,
    Rerror,
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
    is_reply_to,
)
from xget_lib.ninep.trace import RECEIVED, SENT, message_line, rread_line
from xget_lib.ninep.wire import HEADER, NOTAG

# Holds any reply but an Rread: the longest are an Rstat and an Rerror, 65535 bytes behind their count.
_BUFFER_SIZE = HEADER.size + 2 + 0xFFFF


class ReadInto(RMessage):
    """Stands for the Rread of a Tread that was submitted with `into`, where `count` bytes of data are now."""

    count: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A request and its reply, which is of the type that answers `request`, a ReadInto, or an Rerror."""

    tag: int
    request: TMessage
    reply: RMessage


@dataclass(slots=True)
class _Pending:
    """A request whose tag is in use."""

    request: TMessage
    into: memoryview | None
    flushed: bool = False  # a Tflush was sent: the tag stays in use until the Rflush, with a reply or without
    answered: bool = False


@dataclass(slots=True)
class _Data:
    """An Rread whose data is arriving."""

    tag: int
    count: int  # bytes in all
    at: int  # bytes that have arrived
    sink: memoryview | None  # None: the read was flushed


class Requests:
    """Owned by one connection. `msize`, in bytes, is what the Tversion must offer, and after the Rversion what both
    sides keep to."""

    def __init__(self, msize: int = DEFAULT_MSIZE) -> None:
        self.msize = msize
        self.dialect = NINEP2000
        self.trace: Callable[[str], None] | None = None
        """Called with a line for each message; None if no lines are wanted."""
        self._pending: dict[int, _Pending] = {}
        self._flushed = 0
        self._next_tag = 0
        self._own = memoryview(bytearray(_BUFFER_SIZE))
        self._taken = 0  # bytes of it that are done with
        self._filled = 0  # bytes of it that hold something
        self._data: _Data | None = None

    @property
    def flushed(self) -> int:
        """Requests that were flushed, and whose Rflush has not arrived."""
        return self._flushed

    @property
    def missing(self) -> int:
        """Bytes of data of the Rread that is arriving that have not arrived; 0 when no Rread is arriving."""
        return 0 if self._data is None else self._data.count - self._data.at

    def submit(self, message: TMessage, into: memoryview | None = None) -> tuple[int, bytes]:
        """The tag and the bytes to send for `message`. Raises NinepError for a message that cannot be sent.

        For a Tread, `into` is the buffer for its data, at least `count` bytes; the caller does not use it until the
        answer arrives or, after flush(), the Rflush. A Tversion must be alone.
        """
        assert not isinstance(message, Tversion) or (not self._pending and message.msize == self.msize)
        assert into is None or (isinstance(message, Tread) and len(into) >= message.count)
        tag = NOTAG if isinstance(message, Tversion) else self._new_tag()
        frame = encode(tag, message, self.dialect)
        if len(frame) > self.msize:
            raise NinepError(errno.EMSGSIZE)
        self._pending[tag] = _Pending(message, into)
        if self.trace is not None:
            self.trace(message_line(SENT, tag, message, self.dialect))
        return tag, frame

    def flush(self, tag: int) -> bytes:
        """The bytes of a Tflush for a request in flight. Its Rflush is an Answer, whose request has `oldtag`. Raises
        KeyError if the request was answered already.

        Data of a read that arrives before the Rflush is thrown away. Any other reply before it is an Answer as if
        nothing had been flushed, for it may report a change that has happened, such as a new fid: flush(5).
        """
        pending = self._pending[tag]
        assert not pending.flushed and not isinstance(pending.request, Tflush)
        _, frame = self.submit(Tflush(tag))
        pending.flushed = True
        self._flushed += 1
        if self._data is not None and self._data.tag == tag:
            self._data.sink = None
        return frame

    def buffer(self) -> memoryview:
        """Where to put the next bytes from the network; never empty, valid for one received()."""
        if self._data is None:
            self._own[: self._filled - self._taken] = self._own[self._taken : self._filled]  # the start of a reply
            self._filled, self._taken = self._filled - self._taken, 0
            return self._own[self._filled :]
        if self._data.sink is None:
            return self._own[: self._data.count - self._data.at]
        return self._data.sink[self._data.at : self._data.count]

    def received(self, count: int) -> Iterator[Answer]:
        """Take the `count` bytes that were put into buffer(), and give the answers that they complete. Raises
        ProtocolViolation.

        A reply is taken only when its answer is asked for: until then its request is in flight, and whoever gets an
        answer before it may still flush it.
        """
        if self._data is not None:
            self._data.at += count
            yield from self._finish_data(self._data)
            return
        self._filled += count
        while self._data is None:
            at = self._taken
            self._taken, answers = self._take_reply(at)
            yield from answers
            if self._taken == at:
                break

    def _take_reply(self, at: int) -> tuple[int, Sequence[Answer]]:
        """Take the reply that starts at `at` in our buffer. Return where it ends (`at` if more of it must arrive
        first), and the answer, if it completes one."""
        there = self._filled - at
        if there < HEADER.size:
            return at, ()
        size, number, tag = HEADER.unpack_from(self._own, at)
        if not HEADER.size <= size <= self.msize:
            raise ProtocolViolation(f"a message of {size} bytes (allowed: {HEADER.size} to {self.msize})")
        pending = self._pending.get(tag)
        if pending is None or pending.answered:
            raise ProtocolViolation(f"a reply to unused tag {tag}")
        end: int = at + size
        if number == Rread.number:
            if there < RREAD_HEADER_SIZE:
                return at, ()
            end = min(end, self._filled)
            return end, self._begin_data(tag, pending, self._own[at:end], size)
        if size > _BUFFER_SIZE:
            raise ProtocolViolation(f"a message of {size} bytes and type {number}")
        if there < size:
            return at, ()
        _, reply = decode(self._own[at:end], self.dialect)
        return end, self._settle(tag, self._check(reply, pending.request))

    # Replies with data.

    def _begin_data(self, tag: int, pending: _Pending, frame: memoryview, size: int) -> Sequence[Answer]:
        """Take an Rread of `size` bytes; `frame` is what has arrived of it."""
        count = int.from_bytes(frame[HEADER.size : RREAD_HEADER_SIZE], "little")
        if size != RREAD_HEADER_SIZE + count:
            raise ProtocolViolation(f"an Rread of {size} bytes with count {count}")
        if not isinstance(pending.request, Tread):
            raise ProtocolViolation(f"{type(pending.request).__name__} was answered with Rread")
        if count > pending.request.count:
            raise ProtocolViolation(f"an Rread with count {count} for a Tread with count {pending.request.count}")
        there = frame[RREAD_HEADER_SIZE:]
        sink = None
        if not pending.flushed:
            sink = memoryview(bytearray(count)) if pending.into is None else pending.into
            sink[: len(there)] = there
        self._data = _Data(tag, count, len(there), sink)
        return self._finish_data(self._data)

    def _finish_data(self, data: _Data) -> Sequence[Answer]:
        if data.at < data.count:
            return ()
        self._data = None
        has_buffer = self._pending[data.tag].into is not None
        return self._settle(data.tag, ReadInto(data.count) if has_buffer else Rread(bytes(data.sink or b"")))

    # All replies.

    def _check(self, reply: Message, request: TMessage) -> RMessage:
        """Return the reply. Raises ProtocolViolation if it cannot be one to `request`."""
        if not isinstance(reply, RMessage) or not is_reply_to(reply, request):
            raise ProtocolViolation(f"{type(request).__name__} was answered with {type(reply).__name__}")
        match request, reply:
            case _, Rerror():
                # It may reach a terminal, a log, or an exception, so this is where it becomes one line.
                return replace(reply, ename=one_line(reply.ename))
            case Tversion(), Rversion():
                self._agree(reply)
            case Twalk(), Rwalk() if len(reply.wqid) > len(request.wname):
                raise ProtocolViolation(f"an Rwalk with {len(reply.wqid)} qids for {len(request.wname)} names")
            case Twrite(), Rwrite() if reply.count > len(request.data):
                raise ProtocolViolation(
                    f"an Rwrite with count {reply.count} for a Twrite with count {len(request.data)}"
                )
        return reply

    def _agree(self, reply: Rversion) -> None:
        if reply.version == UNKNOWN:
            return
        if reply.version not in DIALECTS:
            raise ProtocolViolation(f"the server answered with version {one_line(reply.version, 40)}")
        if not MIN_MSIZE <= reply.msize <= self.msize:
            raise ProtocolViolation(f"the server answered msize {self.msize} with {reply.msize}")
        self.dialect, self.msize = reply.version, reply.msize

    def _settle(self, tag: int, reply: RMessage) -> Sequence[Answer]:
        pending = self._pending[tag]
        if self.trace is not None:
            self.trace(self._reply_line(tag, reply))
        if pending.flushed:
            pending.answered = True
        else:
            del self._pending[tag]
        if isinstance(pending.request, Tflush):
            flushed = self._pending.pop(pending.request.oldtag, None)  # a caller may flush what is not in flight
            self._flushed -= flushed is not None
        if pending.flushed and isinstance(pending.request, Tread):
            return ()
        return (Answer(tag, pending.request, reply),)

    def _reply_line(self, tag: int, reply: RMessage) -> str:
        if isinstance(reply, ReadInto):
            return rread_line(RECEIVED, tag, reply.count)
        return message_line(RECEIVED, tag, reply, self.dialect)

    def _new_tag(self) -> int:
        """A tag that is not in use. All tags take their turn, so that a second reply to a request is detected."""
        if len(self._pending) >= NOTAG:
            raise NinepError(errno.EAGAIN)
        while self._next_tag in self._pending:
            self._next_tag = (self._next_tag + 1) % NOTAG
        tag = self._next_tag
        self._next_tag = (tag + 1) % NOTAG
        return tag

"""A client's side of one connection: requests out, answers back, file content straight into the caller's buffer.

One greenlet reads the socket and hands each answer to who asked. `start` does not wait, so that several reads can be
on their way at once; `call` does. When the connection ends, everyone who still waits is told (LinkLost).
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent import socket as gsocket
from gevent.event import AsyncResult

from xget_lib.errors import LinkLost, NinepError, ProtocolViolation
from xget_lib.net.listen import plain_address, prepare
from xget_lib.net.waiting import READ, WRITE, Watched
from xget_lib.ninep import messages
from xget_lib.ninep.messages import Message, TMessage
from xget_lib.ninep.requests import Requests
from xget_lib.ninep.wire import NOFID

MAX_READ = 1024 * 1024
"""Bytes of data in one read, at most."""
_MSIZE = MAX_READ + 24
_TURN = MAX_READ
"""Bytes after which others are let in, where there is always more to read."""
_WORTH_WAKING = 128 * 1024
"""Bytes of content for which it is worth waking up: a slow link brings a packet at a time."""
_PATIENCE = 60.0
"""Seconds that a server may take to make room for a request."""

OnAnswer = Callable[[Message | LinkLost], None]
"""Called once, from the reading greenlet: with the reply (Rerror included), or with why there will be none."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An open file at the other side."""

    link: Link
    fid: int

    def read(self, offset: int, count: int, seconds: float | None) -> bytes:
        """One read; fewer bytes than `count` are normal, none is the end."""
        reply = self.link.call(messages.Tread(self.fid, offset, count), seconds)
        assert isinstance(reply, messages.Rread)
        return bytes(reply.data)

    def write(self, offset: int, data: bytes, seconds: float) -> None:
        self.link.call(messages.Twrite(self.fid, offset, data), seconds)

    def close(self, seconds: float) -> None:
        self.link.call(messages.Tclunk(self.fid), seconds)


class Link:
    """A connection to a server, attached to one namespace. `root` is fid 0."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        """Takes over a connected socket. `name` is how the peer is called in messages."""
        prepare(sock)
        self.name = name
        self.heard = time.monotonic()
        """When bytes came last, in monotonic seconds."""
        self._sock = sock
        self._watched = Watched(sock.fileno())
        self._requests = Requests(_MSIZE)
        self._waiting: dict[int, OnAnswer] = {}
        self._next_fid = 1
        self._enough = 1
        self._outgoing = bytearray()
        self._writer: gevent.Greenlet[[], None] | None = None
        """While there is something left to send."""
        self._lost: LinkLost | None = None
        self._reader = gevent.spawn(self._read)

    @staticmethod
    def connect(host: str, port: int, aname: str, seconds: float) -> Link:
        """Connect, agree on 9P2000, attach to a namespace. Raises LinkLost or NinepError, within so many seconds."""
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            with gevent.Timeout(seconds, TimeoutError("no answer")):
                link = Link(_connected(host, port), name)
                try:
                    link._greet(aname)
                except BaseException:
                    link.close()
                    raise
                return link
        except OSError as error:
            raise LinkLost(name, error.strerror or str(error)) from None

    def _greet(self, aname: str) -> None:
        version = self._ask(messages.Tversion(self._requests.msize, "9P2000"))
        attached = self._ask(messages.Tattach(0, NOFID, "", aname))
        agreed = self._in_time(version, None)
        if not isinstance(agreed, messages.Rversion) or agreed.version != "9P2000":
            raise LinkLost(self.name, "speaks no 9P2000")
        _unless_refused(self._in_time(attached, None))

    @property
    def local_address(self) -> str:
        """The address of this machine that the connection comes from."""
        return plain_address(self._sock.getsockname()[0])

    @property
    def max_read(self) -> int:
        """Bytes of data in one read, at most, on this connection."""
        return min(MAX_READ, self._requests.msize - 24)

    @property
    def lost(self) -> bool:
        return self._lost is not None

    def open(self, name: str, seconds: float, mode: int = 0) -> Remote:
        """Open a file of the namespace. Raises NinepError, LinkLost."""
        fid = self._next_fid
        self._next_fid += 1
        names = tuple(part for part in name.split("/") if part)
        walked, opened = self._ask(messages.Twalk(0, fid, names)), self._ask(messages.Topen(fid, mode))
        reply = _unless_refused(self._in_time(walked, seconds))
        if isinstance(reply, messages.Rwalk) and len(reply.wqid) < len(names):
            raise NinepError(errno.ENOENT, f"{name}: not served by {self.name}")
        try:
            _unless_refused(self._in_time(opened, seconds))
        except NinepError:
            self.start(messages.Tclunk(fid), lambda answer: None)
            raise
        return Remote(self, fid)

    def call(self, message: TMessage, seconds: float | None) -> Message:
        """Send a request and wait for its reply, so many seconds (None: for ever). Raises NinepError for an Rerror, and
        LinkLost, also where the time is over; the link may still be good then."""
        result: AsyncResult[Message | LinkLost] = AsyncResult()
        tag = self.start(message, result.set)
        try:
            reply = self._in_time(result, seconds)
        except BaseException:
            self.flush(tag)
            raise
        return _unless_refused(reply)

    def _ask(self, message: TMessage) -> AsyncResult[Message | LinkLost]:
        """Send a request; its reply will be in the result. What is asked next does not wait for it."""
        result: AsyncResult[Message | LinkLost] = AsyncResult()
        self.start(message, result.set)
        return result

    def _in_time(self, result: AsyncResult[Message | LinkLost], seconds: float | None) -> Message | LinkLost:
        if seconds is None:
            reply = result.get()
        else:
            with gevent.Timeout(seconds, LinkLost(self.name, f"no answer in {seconds:g} s")):
                reply = result.get()
        assert reply is not None
        return reply

    def start(self, message: TMessage, on_answer: OnAnswer, into: memoryview | None = None) -> int:
        """Send a request and return its tag at once. Raises LinkLost where the connection is gone already."""
        if self._lost is not None:
            raise self._lost
        tag, wire = self._requests.submit(message, into)
        self._waiting[tag] = on_answer
        self._send(wire)
        return tag

    def flush(self, tag: int) -> None:
        """Forget a request: its answer, should it come, goes nowhere, not into its buffer either."""
        if self._waiting.pop(tag, None) is not None and self._lost is None:
            self._send(self._requests.flush(tag))

    def close(self) -> None:
        """End the connection. Whoever waits is told."""
        self._end(LinkLost(self.name, "closed"))

    def _end(self, why: LinkLost) -> None:
        if self._lost is not None:
            return
        self._lost = why
        for greenlet in (self._reader, self._writer):
            if greenlet is not None and gevent.getcurrent() is not greenlet:
                greenlet.kill()
        self._watched.close()
        self._sock.close()
        waiting, self._waiting = self._waiting, {}
        for on_answer in waiting.values():
            on_answer(why)

    def _read(self) -> None:
        since_others = 0
        try:
            while True:
                buffer = self._requests.buffer()
                try:
                    count = self._sock.recv_into(buffer)
                except BlockingIOError:
                    self._await()
                    since_others = 0
                    continue
                self.heard = time.monotonic()
                if not count:
                    raise LinkLost(self.name, "connection closed by the server")
                for answer in self._requests.received(count):
                    on_answer = self._waiting.pop(answer.tag, None)
                    if on_answer is not None:
                        on_answer(answer.reply)
                since_others += count
                if count < len(buffer):
                    # That was all there is.
                    self._await()
                    since_others = 0
                elif since_others >= _TURN:
                    gevent.sleep(0)
                    since_others = 0
        except LinkLost as error:
            self._end(error)
        except (ProtocolViolation, OSError) as error:
            self._end(LinkLost(self.name, str(error)))
        finally:
            # Whatever it was: nobody must wait for what is not read.
            self._end(LinkLost(self.name, "an error in this client"))

    def _await(self) -> None:
        """Wait for bytes: in the midst of data for a good many, or the rest of it, and not for every packet."""
        enough = max(1, min(self._requests.missing, _WORTH_WAKING))
        if enough != self._enough:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, enough)
            self._enough = enough
        self._watched.wait(READ, None)

    def _send(self, wire: bytes) -> None:
        """Send when the loop comes round: what is said until then goes in one packet, and wakes the server once."""
        if not self._outgoing and self._writer is None:
            gevent.get_hub().loop.run_callback(self._begin_sending)
        self._outgoing += wire

    def _begin_sending(self) -> None:
        """Send as much as goes at once, the rest from a greenlet."""
        if self._lost is None and self._push():
            self._writer = gevent.spawn(self._drain)

    def _push(self) -> bool:
        """Whether something is left to send."""
        try:
            while self._outgoing:
                del self._outgoing[: self._sock.send(self._outgoing)]
        except BlockingIOError:
            return True
        except OSError:
            # The reading greenlet sees the same, and says so to everybody.
            self._outgoing.clear()
        return False

    def _drain(self) -> None:
        try:
            while self._push():
                self._watched.wait(WRITE, _PATIENCE)
        except TimeoutError as error:
            self._end(LinkLost(self.name, str(error)))
        finally:
            self._writer = None


def _unless_refused(reply: Message | LinkLost) -> Message:
    if isinstance(reply, LinkLost):
        raise reply
    if isinstance(reply, messages.Rerror):
        raise NinepError(errno.EIO, reply.ename)
    return reply


def _connected(host: str, port: int) -> socket.socket:
    """A connected plain socket. Names are looked up in gevent's thread pool, which prints what goes wrong there: so
    what cannot be a name does not get so far."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise OSError("not a host's name") from None
    connecting = gsocket.create_connection((host, port))
    return socket.socket(fileno=connecting.detach())

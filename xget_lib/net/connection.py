"""A server's side of one connection: bytes from the socket to the session, its replies back, content with sendfile.

Two greenlets. The reader feeds the session as fast as bytes come, so that a Tflush is seen while replies are still
waiting to be sent; the writer takes one reply after the other. A reply whose content is a range of files is sent by
the kernel, from the page cache to the socket; Python sees only its length.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import gevent
from gevent.event import Event

from xget_lib.content.store import OpenExtent
from xget_lib.errors import ProtocolViolation, XGetError
from xget_lib.net.waiting import READ, WRITE, Watched
from xget_lib.ninep.session import Content, Reply, Session

_READ_SIZE = 64 * 1024
_BATCH = 64 * 1024
_PATIENCE = 60.0
"""Seconds that a peer may take to make room for more bytes."""
_GREETING = 30.0
"""Seconds until the first message must have come."""
_AHEAD = 4 * 1024 * 1024
"""Bytes that are taken from a peer which does not take its replies; 180,000 reads, or the largest four messages."""


class Source(Protocol):
    """What stands behind a `Content`: files that are opened when the reply is about to be sent."""

    def open(self) -> Sequence[OpenExtent | bytes]:
        """The parts of the content in order; the caller closes the extents. Raises XGetError or OSError."""


class Connection:
    """Serves one socket until either side ends it. Owns the socket."""

    def __init__(self, sock: socket.socket, session: Session, sent: Callable[[int], None]) -> None:
        """`sent(bytes)` is called as content goes out."""
        self._sock = sock
        self._session = session
        self._sent = sent
        self._watched = Watched(sock.fileno())
        self._ready = Event()
        self._ahead = 0
        """Bytes received since there was last nothing left to answer."""
        self._caught_up = Event()
        self._greeted = False
        self._ending = False
        self._broken: str | None = None

    def run(self) -> str | None:
        """Serve to the end. Returns None, or why it was ended where that was not the peer's wish.

        What came before the end, or before what was no 9P, is answered.
        """
        writer = gevent.spawn(self._write)
        why: str | None = None
        try:
            try:
                self._read()
            except ProtocolViolation as error:
                why = str(error)
            self._ending = True
            self._ready.set()
            writer.join()
        except OSError as error:
            why = str(error)
        finally:
            writer.kill()
            self._session.close()
            self._watched.close()
            self._sock.close()
        return self._broken or why

    def retry(self) -> None:
        """Something has changed: whatever read waits for that may now be answered."""
        if self._session.waiting:
            self._session.retry()
            self._ready.set()

    def _read(self) -> None:
        """Returns when the peer has no more to say."""
        deadline = time.monotonic() + _GREETING
        while True:
            try:
                data = self._sock.recv(_READ_SIZE)
            except BlockingIOError:
                self._wait_for_more(deadline)
                continue
            if not data:
                return
            self._session.receive(data)
            self._ready.set()
            self._ahead += len(data)
            if self._ahead > _AHEAD and self._broken is None:
                self._caught_up.clear()
                self._caught_up.wait()
            elif len(data) == _READ_SIZE:
                gevent.sleep(0)  # who always has more to say must let others speak

    def _wait_for_more(self, deadline: float) -> None:
        """Raises TimeoutError when the first message has not come until then."""
        while not self._greeted:
            try:
                return self._watched.wait(READ, max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                # It may have been answered in the meantime.
                if not self._greeted:
                    raise
        self._watched.wait(READ, None)

    def _write(self) -> None:
        """Send replies as they come. Where that fails the reader meets the end of the connection."""
        try:
            while not self._ending or self._ready.is_set():
                self._ready.wait()
                self._ready.clear()
                self._send_replies()
        except OSError as error:
            self._broken = None if self._ending else str(error)
        except Exception:
            self._broken = "an error in this server"
            raise
        finally:
            self._caught_up.set()
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def _send_replies(self) -> None:
        batch = bytearray()
        while (reply := self._session.next_reply()) is not None:
            self._greeted = True
            if reply.content is None:
                batch += reply.header
            else:
                self._send(batch)
                batch = bytearray()
                self._send_content(reply, reply.content)
                gevent.sleep(0)  # a peer that always makes room must not keep others waiting
            if len(batch) >= _BATCH:
                self._send(batch)
                batch = bytearray()
        self._ahead = 0
        self._caught_up.set()
        self._send(batch)

    def _send(self, data: bytes | bytearray, flags: int = 0) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest, flags) :]
            except BlockingIOError:
                self._watched.wait(WRITE, _PATIENCE)

    def _send_content(self, reply: Reply, content: Content) -> None:
        source: Source = content.source  # type: ignore[assignment]  # ninep does not look into it
        try:
            parts = source.open()
        except XGetError as error:
            self._send(self._session.refusal(reply.tag, str(error)).header)
            return
        except OSError as error:
            self._send(self._session.refusal(reply.tag, error.strerror or str(error)).header)
            return
        try:
            with self._corked() if len(parts) > 1 else contextlib.nullcontext():
                self._send(reply.header, socket.MSG_MORE)
                for part in parts:
                    if isinstance(part, OpenExtent):
                        self._send_file(part)
                    else:
                        self._send(part)
                        self._sent(len(part))
        finally:
            for part in parts:
                if isinstance(part, OpenExtent):
                    os.close(part.fd)

    @contextlib.contextmanager
    def _corked(self) -> Iterator[None]:
        """Many small files leave in full packets."""
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        try:
            yield
        finally:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    def _send_file(self, extent: OpenExtent) -> None:
        offset, end = extent.offset, extent.offset + extent.length
        while offset < end:
            try:
                count = os.sendfile(self._sock.fileno(), extent.fd, offset, end - offset)
            except BlockingIOError:
                self._watched.wait(WRITE, _PATIENCE)
                continue
            if not count:
                # The header has promised more than there is: nothing honest can follow.
                raise ConnectionAbortedError("a file became shorter while it was sent")
            offset += count
            self._sent(count)

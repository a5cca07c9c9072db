"""The way out of a connection: the replies of a session into the socket.

Small things travel together: replies are gathered until there is enough for a call of the kernel. Content that is in
files is sent by the kernel, from the page cache to the socket; Python sees only its length.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import gevent

from xget_lib.errors import XGetError
from xget_lib.net.waiting import WRITE, Watched
from xget_lib.ninep.file import Content
from xget_lib.ninep.session import Reply, Session
from xget_lib.serve.store import OpenExtent, close_extents

_BATCH = 64 * 1024
"""Bytes with which it is time to send."""
_SHARE = 256 * 1024
"""Bytes after which others get their turn: a peer that always makes room must not keep them waiting."""
_REPLY = 2 * 1024
"""Bytes that could be sent in the time that one reply takes to be found, whatever is in it."""
_PATIENCE = 60.0
"""Seconds that a peer may take to make room for more bytes."""

Part = bytes | OpenExtent


class Source(Protocol):
    """What stands behind a `Content`, if not its bytes: files that are opened when the reply is about to be sent."""

    def open(self) -> Sequence[Part]:
        """The parts of the content in order; the caller closes the extents. Raises XGetError or OSError."""


class Outgoing:
    """Sends the replies of one session. What the socket raises comes through, as OSError."""

    def __init__(self, sock: socket.socket, watched: Watched, session: Session, sent: Callable[[int], None]) -> None:
        """`sent(bytes)` is called as content goes out."""
        self.greeted = False
        """Whether there was ever a reply."""
        self._sock = sock
        self._watched = watched
        self._session = session
        self._sent = sent
        self._unsent: bytes | memoryview = b""
        self._parts: list[Part] = []
        """Content that comes after what is unsent."""
        self._share = 0
        """Bytes, in what they cost, since others had their turn."""

    def at_once(self) -> bool:
        """Send a batch of replies as far as that goes without waiting; whether these were all there are.

        Where not, `all` sends the rest, and must be called before this is again.
        """
        whole = self._gather()
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                sent = self._sock.send(self._unsent, self._flags())
                self._unsent = memoryview(self._unsent)[sent:] if sent < len(self._unsent) else b""
        return whole and not self._unsent and self._share < _SHARE

    def all(self) -> None:
        """Send all there is to say, as the peer makes room for it. Raises TimeoutError when it makes none."""
        whole = False
        while not whole:
            if not self._unsent and not self._parts:
                whole = self._gather()
            self._send(self._unsent, self._flags())
            self._unsent = b""
            self._send_parts()
            if self._share >= _SHARE:
                self._share = 0
                gevent.sleep(0)

    def close(self) -> None:
        """Nothing more will be sent."""
        self._close(self._parts)
        self._parts = []

    # Out of the session.

    def _gather(self) -> bool:
        """Take replies until they are a batch, or content is to be sent after them; whether there are no more now."""
        batch: list[bytes] = []
        size = 0
        whole = False
        while size < _BATCH and not self._parts:
            reply = self._session.next_reply()
            if reply is None:
                whole = True
                break
            header, content = reply.header, reply.content
            if content is not None:
                if isinstance(content.source, bytes):
                    batch.append(header)
                    header = content.source
                    size += content.length
                    self._sent(content.length)
                else:
                    header = self._open(reply, content)
            batch.append(header)
            size += _REPLY
        self.greeted = self.greeted or bool(batch)
        self._share += size
        self._unsent = b"".join(batch)
        return whole

    def _open(self, reply: Reply, content: Content) -> bytes:
        """Have the content sent next. The header that goes before it, or the refusal where it cannot be opened."""
        source: Source = content.source  # type: ignore[assignment]  # ninep does not look into it
        try:
            parts = list(source.open())
            extents = sum(isinstance(part, OpenExtent) for part in parts)
            if not self._session.shared.extents.take(extents):
                close_extents(parts)
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        except (XGetError, OSError) as error:
            return self._session.refusal(reply.tag, error).header
        self._parts = parts
        return reply.header

    def _close(self, parts: list[Part]) -> None:
        """Close what is open of content, and say that it is."""
        close_extents(parts)
        self._session.shared.extents.give_back(sum(isinstance(part, OpenExtent) for part in parts))

    # Into the socket.

    def _flags(self) -> int:
        return socket.MSG_MORE if self._parts else 0

    def _send(self, data: bytes | memoryview, flags: int = 0) -> None:
        while data:
            try:
                sent = self._sock.send(data, flags)
            except BlockingIOError:
                self._watched.wait(WRITE, _PATIENCE)
            else:
                data = memoryview(data)[sent:]

    def _send_parts(self) -> None:
        parts, self._parts = self._parts, []
        try:
            with self._corked() if len(parts) > 1 else contextlib.nullcontext():
                for part in parts:
                    if isinstance(part, OpenExtent):
                        self._send_file(part)
                    else:
                        self._send(part)
                        self._count(len(part))
        finally:
            self._close(parts)

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
            self._count(count)

    def _count(self, sent: int) -> None:
        self._share += sent
        self._sent(sent)

"""A server's side of one connection: bytes from the socket to the session, its replies back (`outgoing`).

Two greenlets. The reader feeds the session as fast as bytes come, so that a Tflush is seen while replies are still
waiting to be sent. What can be answered without waiting it answers itself, which saves who asks for one thing after the
other two switches a request; everything else is the writer's.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from xget_lib.errors import ProtocolViolation
from xget_lib.net.outgoing import Outgoing
from xget_lib.net.waiting import READ, Watched
from xget_lib.ninep.session import Session

_READ_SIZE = 64 * 1024
_GREETING = 30.0
"""Seconds that a peer may have no fid: at first, since it is here to attach, and later, since it has no use for the
connection then. One that has a fid may be silent as long as it likes, as mounted file systems and readers of news are:
it costs little, and the kernel finds out when its machine is gone."""
_MESSAGE = 60.0
"""Seconds in which a message that has begun must come to its end: 17 KB/s for the largest."""
_AHEAD = 4 * 1024 * 1024
"""Bytes that are taken from a peer which does not take its replies; 180,000 reads, or the largest four messages."""


class Connection:
    """Serves one socket until either side ends it. Owns the socket."""

    def __init__(self, sock: socket.socket, session: Session, sent: Callable[[int], None]) -> None:
        """`sent(bytes)` is called as content goes out."""
        self._sock = sock
        self._session = session
        self._watched = Watched(sock.fileno())
        self._outgoing = Outgoing(sock, self._watched, session, sent)
        self._ready = Event()
        self._idle = False
        """Whether the writer waits for something to be ready."""
        self._one = BoundedSemaphore(1)
        """Held by who answers: finding an answer may take a message to another process, and so a switch."""
        self._failure: Exception | None = None
        """What the reader met, for the writer to die of."""
        self._ahead = 0
        """Bytes received since there was last nothing left to answer."""
        self._caught_up = Event()
        self._ending = False
        self._broken: str | None = None
        self._attach_by: float | None = None
        """While the peer has no fid: when it must have one at the latest."""
        self._message: int | None = None
        """The message that has begun, and when it must have ended at the latest."""
        self._message_by = 0.0

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
            self._outgoing.close()
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
        while True:
            try:
                data = self._sock.recv(_READ_SIZE)
            except BlockingIOError:
                self._wait_for_more()
                continue
            if not data:
                return
            self._session.receive(data)
            if not self._answer():
                self._ahead += len(data)
                if self._ahead > _AHEAD and self._broken is None:
                    self._caught_up.clear()
                    self._caught_up.wait()
                    continue
            if len(data) == _READ_SIZE:
                gevent.sleep(0)  # who always has more to say must let others speak
            else:
                self._wait_for_more()  # that was all there is

    def _answer(self) -> bool:
        """Answer what there is; whether that is done. If not the writer has been told to. Raises OSError."""
        if self._idle and not self._ready.is_set():
            try:
                with self._one:
                    if self._outgoing.at_once():
                        return True
            except OSError:
                raise
            except Exception as error:
                self._failure = error
        self._ready.set()
        return False

    def _wait_for_more(self) -> None:
        """Raises TimeoutError when the peer does not come to the point."""
        while (deadline := self._deadline()) is not None:
            try:
                return self._watched.wait(READ, max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                # What it had asked for may have been answered in the meantime.
                if self._deadline() == deadline:
                    raise
        self._watched.wait(READ, None)

    def _deadline(self) -> float | None:
        """When the peer must have said more, in monotonic seconds; None where it may take its time."""
        message, attached = self._session.partial_message, self._session.fid_count > 0
        if attached and message is None:
            self._attach_by = None
            return None
        now = time.monotonic()
        if attached:
            self._attach_by = None
        elif self._attach_by is None:
            self._attach_by = now + _GREETING
        if message != self._message:
            self._message, self._message_by = message, now + _MESSAGE
        deadlines = [self._attach_by, self._message_by if message is not None else None]
        return min(deadline for deadline in deadlines if deadline is not None)

    def _write(self) -> None:
        """Send replies as they come. Where that fails the reader meets the end of the connection."""
        try:
            while not self._ending or self._ready.is_set():
                self._idle = True
                self._ready.wait()
                self._idle = False
                self._ready.clear()
                if self._failure is not None:
                    raise self._failure
                with self._one:
                    self._outgoing.all()
                self._ahead = 0
                self._caught_up.set()
        except OSError as error:
            self._broken = None if self._ending else str(error)
        except Exception:
            self._broken = "an error in this server"
            raise
        finally:
            self._caught_up.set()
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

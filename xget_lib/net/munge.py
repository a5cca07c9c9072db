"""MUNGE for an event loop: `process.libmunge` blocks, so its calls are in threads, a few at the same time.

A server decodes what strangers send. Each such call takes a thread for a fraction of a millisecond; but one of a daemon
that hangs for 10 seconds, the limit of the library. So these threads are no others', and who has waited too long gets
an answer without one.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from logging import WARNING
from typing import ParamSpec, Protocol, TypeVar

import gevent

from xget_lib.errors import MungeRefused, MungeUnavailable, XGetError
from xget_lib.net.threads import ThreadPool
from xget_lib.report.rate_limited_log import RateLimitedLog

P = ParamSpec("P")
R = TypeVar("R")
OnDecoded = Callable[[tuple[int, bytes] | XGetError], None]

AT_ONCE = 4
"""Calls at the same time; munged has two threads by default."""
ENCODE_WITHIN = 2.0
"""Seconds. Only processes of this machine ask its daemon."""
DECODE_WITHIN = 7.0
"""Seconds, with those in the queue: less than what a client has to prove that it belongs (`net.lobby`)."""


class Library(Protocol):
    """`process.libmunge.LibMunge`."""

    def encode(self, payload: bytes, for_uid: int) -> bytes: ...

    def decode(self, credential: bytes) -> tuple[int, bytes]: ...


class MungeService:
    """`ninep.auth.Munge` of one process. Its threads start when they are needed: it may be made before a fork."""

    def __init__(self, library: Library, users: frozenset[int] = frozenset()) -> None:
        """`users`: the uids that belong; empty: root, and the user of this process."""
        self._library = library
        self._users = users
        self._pool: ThreadPool | None = None
        self._queue: deque[tuple[bytes, OnDecoded, float]] = deque()
        """Credentials to be decoded, and until when in monotonic seconds."""
        self._decoding = 0
        """Greenlets that serve the queue."""
        self._lines = RateLimitedLog(1)

    @property
    def uid(self) -> int:
        return os.geteuid()

    def allows(self, uid: int) -> bool:
        return uid in (self._users or (0, self.uid))

    def encode(self, payload: bytes, for_uid: int) -> bytes:
        return self._call(ENCODE_WITHIN, self._library.encode, payload, for_uid)

    def decode(self, credential: bytes, on_decoded: OnDecoded) -> None:
        self._queue.append((credential, on_decoded, time.monotonic() + DECODE_WITHIN))
        if self._decoding < AT_ONCE:
            self._decoding += 1
            gevent.spawn(self._serve)

    def _serve(self) -> None:
        """While credentials are to be decoded."""
        try:
            while self._queue:
                credential, on_decoded, latest = self._queue.popleft()
                on_decoded(self._decode(credential, latest - time.monotonic()))
        finally:
            self._decoding -= 1

    def _decode(self, credential: bytes, seconds: float) -> tuple[int, bytes] | XGetError:
        try:
            return self._call(seconds, self._library.decode, credential)
        except MungeRefused as refused:
            return refused
        except XGetError as error:
            self._lines.log(WARNING, "munged", "cannot decode a MUNGE credential: %s", error)
            return MungeUnavailable(str(error))

    def _call(self, seconds: float, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Raises MungeUnavailable also where munged does not answer in time, and CannotStart for a thread."""
        if self._pool is None:
            self._pool = ThreadPool(AT_ONCE)
        too_late = MungeUnavailable("munged does not answer")
        if seconds <= 0:
            raise too_late
        with gevent.Timeout(seconds, too_late):
            return self._pool.run(function, *arguments, **named)

"""Asking again: after a failure, with growing pauses, and beside a question that has no answer yet.

The latter is what Happy Eyeballs does for addresses (RFC 8305). A master has several worker processes. One of them may
be stopped, or hang, while the others answer. Who waits for it does not know that, but a new connection most likely goes
to another worker. The first attempt goes on beside the next one: a busy master may need longer than an attempt has
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import TypeVar

import gevent
from gevent.queue import Empty, Queue

from xget_lib.errors import LinkLost, NinepError, NotAdmitted
from xget_lib.node.awake import now
from xget_lib.report.log import LOGGER
from xget_lib.swarm.backoff import Backoff

MOST = 4
"""Attempts at the same time."""
_BESIDE = 2.0
"""Seconds between two attempts, but at most a quarter of the time."""

LEAST = 0.1
"""Seconds that each try has, at least."""

_T = TypeVar("_T")


def first_of(attempt: Callable[[float], _T], seconds: float, discard: Callable[[_T], None]) -> _T:
    """The first result of `attempt(seconds left)`. Results that come too late are given to `discard`.

    Raises the first LinkLost or NinepError when all attempts have failed, and any other error, as a NotAdmitted, at
    once.
    """
    deadline = now() + seconds
    results: Queue[_T | Exception] = Queue()

    def run() -> None:
        try:
            results.put(attempt(max(deadline - now(), 0.0)))
        except Exception as error:
            results.put(error)

    pause = min(_BESIDE, seconds / MOST)
    attempts: list[gevent.Greenlet[..., None]] = []
    failures: list[Exception] = []
    try:
        while len(failures) < max(len(attempts), 1):
            if len(attempts) < MOST:
                attempts.append(gevent.spawn(run))
            with suppress(Empty):
                result = results.get(timeout=pause if len(attempts) < MOST else None)
                if not isinstance(result, Exception):
                    return result
                if isinstance(result, NotAdmitted) or not isinstance(result, LinkLost | NinepError):
                    raise result
                failures.append(result)
        raise failures[0]
    finally:
        gevent.killall(attempts)
        while not results.empty():
            late = results.get()
            if not isinstance(late, Exception):
                discard(late)


def retry_for(
    seconds: float,
    attempt: Callable[[float], _T],
    *failures: type[Exception],
    since: Callable[[], float] | None = None,
    refused: bool = False,
) -> _T:
    """Return what `attempt(seconds left)` returns, trying again after these failures, with growing pauses. Raises the
    last failure when the time is over, and a NotAdmitted at once unless `refused` says to go on.

    The time begins now, or at the last progress: the seconds of `node.awake` that `since()` gives.
    """
    begun = now()
    backoff = Backoff(Random())
    while True:
        try:
            return attempt(max(_deadline(begun, since) + seconds - now(), LEAST))
        except failures as error:
            left = _deadline(begun, since) + seconds - now()
            if left <= 0 or (isinstance(error, NotAdmitted) and not refused):
                raise
            LOGGER.debug("trying again: %s", error)
        gevent.sleep(min(backoff.next(), left))  # the last try is at the end of the time


def _deadline(begun: float, since: Callable[[], float] | None) -> float:
    return begun if since is None else max(begun, since())

"""A limit of bytes per second: for what one process receives, or for what several processes send in total.

A token bucket: each byte takes a token, and `rate` tokens come in a second. Who finds none waits; who has found some
may take more than there are, and then others wait the longer. Tokens that nobody takes are kept for half a second
only, so that a short pause of a busy machine costs nothing, and a pause of the network is not made up for.

Processes share the bytes that each has sent, in memory, and no lock: each writes its own count only, and takes what the
others have sent since its last look from its own bucket. So one alone has the whole rate, a process that is killed
holds up nobody, and if several look at once they send a little too much, and wait for it afterwards.

Nothing here imports gevent: the memory is made before the workers are forked. Times are monotonic seconds.
"""

from __future__ import annotations

import mmap

_KEPT = 0.5
"""Seconds for which tokens are kept,"""
_KEPT_LEAST = 4096
"""and so many at least: what fits into the smallest message."""
_PORTION = 0.02
"""Seconds whose tokens one send, or receive, may take at once,"""
PORTION_LEAST = 4096
PORTION_MOST = 256 * 1024
"""and the least and the most bytes of it."""


class TokenBucket:
    """The bucket of one process. It begins empty."""

    def __init__(self, rate: float, now: float) -> None:
        """`rate`: bytes per second."""
        self._rate = rate
        self._most = max(rate * _KEPT, float(_KEPT_LEAST))
        self._tokens = 0.0
        self._filled = now

    @property
    def portion(self) -> int:
        """Bytes that may be sent or received at once."""
        return portion(self._rate)

    def delay(self, now: float, elsewhere: int = 0) -> float:
        """Seconds to wait until something may be taken; 0: now. `elsewhere`: what others have taken since the last
        call."""
        new = self._tokens + self._rate * max(0.0, now - self._filled) - elsewhere
        self._tokens, self._filled = min(self._most, new), max(now, self._filled)
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._rate

    def take(self, count: int) -> None:
        """So many bytes are sent or received."""
        self._tokens -= count


class SharedBucket:
    """The bucket of several processes, made before they are forked. Each has a number, and a copy of this object."""

    def __init__(self, rate: float, processes: int = 1) -> None:
        """`rate`: bytes per second, of all together."""
        self.portion = portion(rate)
        self._rate = rate
        self._taken = memoryview(mmap.mmap(-1, processes * 8)).cast("Q")
        """By process: the bytes that it has taken."""
        self._bucket: TokenBucket | None = None
        self._seen = 0
        """What the others had taken at the last look."""

    def delay(self, process: int, now: float) -> float:
        """Seconds for which a process, by its number, has to wait; 0: it may take something now."""
        others = sum(self._taken.tolist()) - self._taken[process]
        if self._bucket is None:
            self._bucket, self._seen = TokenBucket(self._rate, now), others
        elsewhere, self._seen = max(0, others - self._seen), others
        return self._bucket.delay(now, elsewhere)

    def take(self, process: int, count: int) -> None:
        """A process has sent so many bytes."""
        self._taken[process] += count
        if self._bucket is not None:
            self._bucket.take(count)


def portion(rate: float) -> int:
    """Bytes that may be sent or received at once at a rate."""
    return min(PORTION_MOST, max(PORTION_LEAST, int(rate * _PORTION)))

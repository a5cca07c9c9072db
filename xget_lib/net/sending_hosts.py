"""Which hosts the processes of a server send content to, in memory that they share.

A master has several workers, and a host that is served by one of them shares the link with hosts that are served by
others. Each process writes down the two hosts that it sent content to last. So a process that looks at all of them sees
whether the link is shared, whatever the number of hosts. What a process that has ended wrote becomes too old by itself.

Nothing here imports gevent: the memory is made before the workers are forked.
"""

from __future__ import annotations

import mmap
from collections.abc import Hashable, Iterator

from xget_lib.net.rate_limit import SharedBucket

_RECENT = 1000
"""Milliseconds since the last content for which a host counts as being sent to,"""
_AT_ONCE = 100
"""and for which two processes count as sending to it at the same time."""
_ROW = 4
"""Numbers of one process: two hosts, each with the time in milliseconds."""
_MASK = (1 << 64) - 1


class SendingHosts:
    """Made once, for all processes of a server. Times are monotonic seconds."""

    def __init__(self, processes: int = 1, rate: float | None = None) -> None:
        """`rate`: bytes per second that all may send together."""
        self.limit = SharedBucket(rate, processes) if rate is not None else None
        """Of what they send; None: there is none."""
        self._numbers = memoryview(mmap.mmap(-1, processes * _ROW * 8)).cast("Q")

    def sent(self, process: int, host: Hashable, now: float) -> None:
        """A process, by its number, sends content to a host now. Only the process itself says so."""
        key, at = hash(host) & _MASK, process * _ROW
        places = at, at + 2
        older = min(places, key=lambda place: self._numbers[place + 1])
        place = next((place for place in places if self._numbers[place] == key), older)
        self._numbers[place + 1] = int(now * 1000)
        self._numbers[place] = key

    def others(self, host: Hashable, now: float) -> bool:
        """Whether content is sent to other hosts than this one, by any process."""
        key, since = hash(host) & _MASK, int(now * 1000) - _RECENT
        return any(at > since and other != key for _, other, at in self._all())

    def processes(self, host: Hashable, now: float) -> list[int]:
        """Which processes send content to this host just now, as far as they send to few other ones."""
        key, since = hash(host) & _MASK, int(now * 1000) - _AT_ONCE
        return [process for process, other, at in self._all() if at > since and other == key]

    def _all(self) -> Iterator[tuple[int, int, int]]:
        """What is written down: process, host, time."""
        numbers = iter(self._numbers.tolist())
        for place, (key, at) in enumerate(zip(numbers, numbers, strict=True)):
            yield place * 2 // _ROW, key, at

"""Which reports of wrong content the master checks on its disk. Pure.

A report costs the read of one chunk, and anybody can make one. So one is checked at a time, and each chunk at most once
a minute. A host whose report was not true waits twice as long before the next one each time.
"""

from __future__ import annotations

from collections import OrderedDict

from xget_lib.dataclass import dataclass
from xget_lib.swarm.backoff import doubled

_CHUNK_EVERY = 60.0
"""Seconds between two checks of a chunk."""
_HOST_FIRST = 10.0
_HOST_MOST = 3600.0
"""Seconds before the next report of a host is believed: after the first that was not true, and at most."""
_HOSTS = 1000
"""Hosts that are remembered, and chunks of the last minute."""


@dataclass(slots=True)
class _Host:
    untrue: int = 0
    """Reports in a row that were not true."""
    until: float = 0.0


class Doubts:
    """Owned by the Publisher. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._checking: str | None = None
        """The host that the check is for; None while there is none."""
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        """Those whose last report was not true, the longest ago first."""
        self._chunks: OrderedDict[tuple[bytes, int], float] = OrderedDict()
        """By generation and number: when it was checked."""

    def accept(self, host: str, generation: bytes, chunk: int, now: float) -> bool:
        """Whether to check a chunk of which a host reports that it is wrong. Then `checked` must follow."""
        while self._chunks and (next(iter(self._chunks.values())) <= now - _CHUNK_EVERY or len(self._chunks) >= _HOSTS):
            self._chunks.popitem(last=False)
        known = self._hosts.get(host)
        if self._checking is not None or (generation, chunk) in self._chunks or (known and now < known.until):
            return False
        self._chunks[generation, chunk] = now
        self._checking = host
        return True

    def checked(self, *, true: bool, now: float) -> None:
        """The chunk has been read. `true`: it is wrong, as was reported."""
        host, self._checking = self._checking, None
        assert host is not None
        known = self._hosts.pop(host, None) or _Host()
        if true:
            return
        known.until = now + doubled(_HOST_FIRST, known.untrue, _HOST_MOST)
        known.untrue += 1
        self._hosts[host] = known
        if len(self._hosts) > _HOSTS:
            self._hosts.popitem(last=False)

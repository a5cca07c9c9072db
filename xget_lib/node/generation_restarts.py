"""How often a node begins again because its master has a newer generation, and when it gives up.

What was verified of one generation is kept for the next, so a directory that changes now and then only costs the
comparison of what is there. A master that names a new generation each second would keep a node for ever: a node that
gains nothing by beginning again waits longer each time, and gives up in the end.
"""

from __future__ import annotations

from math import inf
from random import Random

from xget_lib.errors import KeepsChanging
from xget_lib.swarm.backoff import Backoff

AT_ONCE = 3
"""GenerationRestarts without a gain that are not delayed."""
LIMIT = 10
"""GenerationRestarts without a gain after which a node gives up."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds."""
_GAIN = 1 << 20
"""Bytes that must have arrived, and by which less must lack than ever before."""


class GenerationRestarts:
    """One for each update. Times are in seconds."""

    def __init__(self, rng: Random, now: float) -> None:
        self._begun = now
        self._count = 0
        self._idle = 0
        """GenerationRestarts since the last gain."""
        self._least = inf
        """The fewest bytes that have lacked so far."""
        self._backoff = Backoff(rng, _FIRST_PAUSE, _LONGEST_PAUSE)

    def pause(self, fetched: float, lacking: float, now: float) -> float:
        """The seconds to wait before the next generation is begun.

        `fetched`: bytes of content that arrived of the last one; `lacking`: bytes that still lack (inf: not known).
        Raises KeepsChanging.
        """
        self._count += 1
        gain = min(_GAIN, self._least / 2)
        gained = fetched >= gain and lacking <= self._least - gain
        self._least = min(self._least, lacking)
        if gained and lacking < inf:
            self._idle = 0
            self._backoff.reset()
            return 0.0
        self._idle += 1
        if self._idle >= LIMIT:
            raise KeepsChanging(self._count, now - self._begun)
        return self._backoff.next() if self._idle > AT_ONCE else 0.0

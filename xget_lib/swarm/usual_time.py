"""How long a chunk usually takes from the master to a node, so that one host that lies cannot change what is usual.

Each host has an average of its own, and what is usual is the median of the hosts that got something last. A sample
counts for at most some times what is usual, so that an interruption of the master's link does not count as a new speed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from xget_lib.swarm.moving_average import MovingAverage

_HOSTS = 32
"""Hosts whose averages count: those of the last samples."""
_SAMPLE_LIMIT = 4.0
_SAMPLE_LEAST = 1.0
"""A sample counts for at most this many times the usual duration, and this many seconds more."""


class UsualTime:
    """Owned by the Offers. Durations are seconds."""

    def __init__(self, first: float) -> None:
        """`first` is usual before there are samples."""
        self.low = first
        """The median. Of an even number of hosts it is the lower of the two in the middle,"""
        self.high = first
        """and here the higher."""
        self.known = False
        """Whether there are samples."""
        self._averages: OrderedDict[Hashable, MovingAverage] = OrderedDict()
        """By host, the host with the last sample at the end."""

    def add(self, host: Hashable, seconds: float) -> None:
        """A chunk for a host took this long."""
        if self.known:
            seconds = min(seconds, _SAMPLE_LIMIT * self.high + _SAMPLE_LEAST)
        average = self._averages.pop(host, None) or MovingAverage(seconds)
        average.add(seconds)
        self._averages[host] = average
        if len(self._averages) > _HOSTS:
            self._averages.popitem(last=False)
        values = sorted(each.value for each in self._averages.values())
        self.low, self.high = values[(len(values) - 1) // 2], values[len(values) // 2]
        self.known = True

"""How long to wait before the next try of something that failed."""

from __future__ import annotations

from random import Random


def doubled(first: float, times: int, longest: float) -> float:
    """The pause `first`, doubled so many times, but at most `longest`. All three in the same unit, seconds mostly."""
    return min(first * 2.0 ** min(times, 64), longest)


class Backoff:
    """Pauses that double, each at random between half and the whole, so that many nodes do not retry at once."""

    def __init__(self, rng: Random, first: float = 0.1, longest: float = 10.0) -> None:
        """`first` and `longest` pause in seconds."""
        self._random = rng
        self._first = first
        self._longest = longest
        self._times = 0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        pause = doubled(self._first, self._times, self._longest)
        self._times += 1
        return pause * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """A try succeeded: begin with the first pause again."""
        self._times = 0

"""How long to wait before the next try of something that failed."""

from __future__ import annotations

from random import Random


class Backoff:
    """Pauses that double, each at random between half and the whole, so that many nodes do not retry at once."""

    def __init__(self, rng: Random, first: float = 0.1, longest: float = 10.0) -> None:
        """`first` and `longest` pause in seconds."""
        self._random = rng
        self._first = first
        self._longest = longest
        self._pause = first

    def next(self) -> float:
        """Seconds to wait before the next try."""
        pause, self._pause = self._pause, min(2 * self._pause, self._longest)
        return pause * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """A try succeeded: begin with the first pause again."""
        self._pause = self._first

"""How long a node gathers its news: about as long as a few chunks take to come.

Each chunk that is told of by itself costs a message to every neighbour, and a message costs far more processor than
its bytes. News that are a few chunks old cost the swarm next to nothing (0.8 % in the simulator for three), and none at
all where nodes would be too busy talking.
"""

from __future__ import annotations


class Pace:
    """The usual time between two chunks, and what follows from it. Times are monotonic seconds."""

    def __init__(self, chunks: float, least: float, most: float) -> None:
        """Gather for the time that so many chunks take, within bounds in seconds."""
        self._chunks = chunks
        self._least = least
        self._most = most
        self._usual = 0.0
        self._last: float | None = None

    def came(self, now: float) -> None:
        """A chunk is complete."""
        if self._last is not None:
            # A long pause says little of how fast chunks come when they come.
            self._usual += (min(now - self._last, self._most) - self._usual) / 8
        self._last = now

    @property
    def pause(self) -> float:
        """Seconds between two answers to the readers of `have`."""
        return min(self._most, max(self._least, self._chunks * self._usual))

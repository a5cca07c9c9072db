"""What the master believes that a node finds nowhere, and when it must hear better.

The master gives out by it (`offers`): at first that a node lacks everything, then what the node says, less what it has
given it meanwhile. As long as a node misses much the master has fresh chunks to give, which nobody has, and nothing can
be learnt. Later it hears of what is missed again, and of the rest whenever half of it has been found.

Sets of chunks are integers, bit i for chunk i.
"""

from __future__ import annotations

_TOLD_BELOW = 4
"""The master hears of what is missed when that is no more than one chunk in so many."""


class WantReport:
    """What one master believes of one node. The node keeps it, and so knows where that is wrong."""

    def __init__(self, chunk_count: int, lacking: int) -> None:
        """Of a node that has said nothing yet, and lacks these."""
        everything = (1 << chunk_count) - 1
        self._few = chunk_count // _TOLD_BELOW
        self._believed = everything
        self._wrong = lacking != everything

    def asked(self, former: int) -> None:
        """A slot asks again, so the master takes the chunk that it offered before for arrived.

        Did it offer what it has been told is not missed, then that has not reached it.
        """
        self._wrong = self._wrong or not self._believed >> former & 1
        self._believed &= ~(1 << former)

    def tells(self, unavailable: int) -> bool:
        """Whether the master must hear that these are found nowhere. It is believed to have heard it then."""
        if not (self._wrong or unavailable & ~self._believed or self._has_shrunk(unavailable)):
            return False
        self._believed, self._wrong = unavailable, False
        return True

    def _has_shrunk(self, unavailable: int) -> bool:
        return unavailable != self._believed and unavailable.bit_count() <= min(
            self._few, self._believed.bit_count() // 2
        )

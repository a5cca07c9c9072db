"""Which of a node's open `turn` files at a peer stands for which upload slot.

A node has one slot at a peer, or several over a distance. All slots of a peer are alike, so a node does not keep in
mind in which of them it reads a chunk.
"""

from __future__ import annotations


class Turns:
    """The `turn` files of one peer, numbered from 0 as they are needed."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._granted: list[int] = []
        """Those whose slots were granted and are in use, the oldest first."""
        self._count = 0

    def request(self, reading: int) -> int:
        """The number of the file to request a slot with. `reading`: how many chunks are being read from the peer. If
        more slots are granted, the new request says that the oldest was used."""
        if len(self._granted) > reading:
            return self._granted.pop(0)
        if self._free:
            return self._free.pop()
        self._count += 1
        return self._count - 1

    def granted(self, number: int) -> None:
        """A slot that was requested is granted."""
        self._granted.append(number)

    def give_back(self) -> int:
        """The number of the file with which to return a slot that is granted."""
        number = self._granted.pop(0)
        self._free.append(number)
        return number

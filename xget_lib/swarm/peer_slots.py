"""The connected peers of a node, and its upload slot at each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xget_lib.swarm.messages import Address


@dataclass(slots=True)
class _Slot:
    requested: bool = False
    """It is requested and not granted yet."""
    chunk: int | None = None
    """The chunk that is being read in the granted slot."""


class PeerSlots:
    """Owned by a `Downloader`. There is one slot at each connected peer."""

    def __init__(self) -> None:
        self._slots: dict[Address, _Slot] = {}
        self.requested = 0
        """The number of slots that are requested and not granted yet."""

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Address]:
        return iter(self._slots)

    def __contains__(self, peer: Address) -> bool:
        return peer in self._slots

    def clear(self) -> None:
        self._slots.clear()
        self.requested = 0

    def connected(self, peer: Address) -> None:
        self._slots[peer] = _Slot()

    def gone(self, peer: Address) -> int | None:
        """A peer is lost. Returns the chunk that was being read from it."""
        slot = self._slots.pop(peer)
        self.requested -= slot.requested
        return slot.chunk

    def is_free(self, peer: Address) -> bool:
        """Whether a slot may be requested of this peer."""
        slot = self._slots[peer]
        return not slot.requested and slot.chunk is None

    def request(self, peer: Address) -> None:
        self._slots[peer].requested = True
        self.requested += 1

    def granted(self, peer: Address) -> bool:
        """A peer grants a slot; whether it was requested."""
        slot = self._slots.get(peer)
        if slot is None or not slot.requested:
            return False
        slot.requested = False
        self.requested -= 1
        return True

    def read(self, peer: Address, chunk: int) -> None:
        """A chunk is being read in the granted slot."""
        self._slots[peer].chunk = chunk

    def is_reading(self, peer: Address, chunk: int) -> bool:
        return peer in self._slots and self._slots[peer].chunk == chunk

    def ended(self, peer: Address) -> None:
        """The chunk is not being read any more."""
        self._slots[peer].chunk = None

"""Who is let in: so many connections in all, and from one address.

A connection that is not is closed at once, before anything is read or asked of it.
"""

from __future__ import annotations

from collections import Counter

PER_ADDRESS = 4096
"""Connections from one address. A node has two to its master and some twenty to peers; but 2,000 nodes may be behind
one address, and one machine may play many nodes."""


class Admission:
    """Counts the connections of one server."""

    def __init__(self, total: int, per_address: int = PER_ADDRESS) -> None:
        """At most so many. No address gets more than half of them, so that nobody can keep all others out."""
        self._total = total
        self._per_address = min(per_address, max(1, total // 2))
        self._by_address: Counter[str] = Counter()
        self._count = 0

    def refusal(self, address: str) -> str | None:
        """Why a connection from this address is not let in; None: it is, and counts from now on."""
        if self._count >= self._total:
            return f"there are {self._count} connections, and no more can be served"
        if self._by_address[address] >= self._per_address:
            return f"it has {self._per_address} connections"
        self._by_address[address] += 1
        self._count += 1
        return None

    def left(self, address: str) -> None:
        """A connection that was let in has ended."""
        self._count -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

"""Which connections a server accepts: a limit for all of them, and one for each address.

A connection over a limit is closed at once, before anything is read from it.
"""

from __future__ import annotations

from collections import Counter

PER_ADDRESS = 4096
"""Connections from one address. A node has two to its master and some twenty to peers; but 2,000 nodes may be behind
one address, and a test may run many nodes on one machine."""


class Admission:
    """Counts the connections of one server. Owned by whoever accepts them."""

    def __init__(self, total: int, per_address: int = PER_ADDRESS) -> None:
        """`total` connections in all. No address gets more than half of them, so that none can exclude all others."""
        self._total = total
        self._per_address = min(per_address, max(1, total // 2))
        self._by_address: Counter[str] = Counter()
        self._count = 0

    def admit(self, address: str) -> str | None:
        """Count a new connection from an address. Returns None, or why it is refused and not counted."""
        if self._count >= self._total:
            return f"the server has reached its limit of {self._count} connections"
        if self._by_address[address] >= self._per_address:
            return f"this address has reached its limit of {self._per_address} connections"
        self._by_address[address] += 1
        self._count += 1
        return None

    def release(self, address: str) -> None:
        """A connection that was admitted has ended."""
        self._count -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

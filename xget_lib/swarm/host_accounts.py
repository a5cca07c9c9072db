"""What hosts have used of something that they share: for how many seconds they kept it, alone or from each other.

The account of start-time fair queueing (Goyal, Vin and Cheng, 1996): whoever has the lowest is next. A host that begins
has no credit for the time before: it starts with the lowest account of those that are active. A host that leaves with
more than that has it again when it comes back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable

_DEBTS = 4096
"""Hosts that are gone whose accounts are kept. Each of them was granted something."""


class HostAccounts:
    """The accounts of hosts that are gone, and where one begins. Its owner keeps those of the others."""

    def __init__(self) -> None:
        self._lowest = 0.0
        self._debts: OrderedDict[Hashable, float] = OrderedDict()

    def come(self, key: Hashable) -> float:
        """The account of a host that comes, perhaps again."""
        return self._debts.pop(key, 0.0)

    def gone(self, key: Hashable, used: float) -> None:
        """A host has gone with this account."""
        if used > self._lowest:
            self._debts[key] = used
            if len(self._debts) > _DEBTS:
                self._debts.popitem(last=False)

    def begin(self, used: float, active: Iterable[float]) -> float:
        """The account with which a host goes on that was idle, or has come. `active`: the accounts of the others."""
        self._lowest = max(self._lowest, min(active, default=0.0))
        return max(used, self._lowest)

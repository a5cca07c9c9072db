"""What all connections of a process share, and who loses first when it is used up.

While there is room, everybody gets what he asks for. When nothing is left, the host that has most loses, and never the
host that has least: if another host has more than the asking one would have, the connection of that host that has most
is ended, and what it had is free again. Otherwise the asking host has its share already, and is refused. So no host can
exclude others, however many connections it opens. This is max-min fairness, as in the fair queueing of networks.

Where everybody needs what he has for a moment only, waiting in silence is all that an attacker can do. There the oldest
gives way (`oldest_gives_way`), and nobody is refused.

A host is any key that connections of one machine have in common. Nothing here knows a clock or a socket.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Final

_FEW = 64
"""Entries of a ranking that are never too many."""


class Account:
    """What one connection has of all budgets. Owned by the server of the connection, which calls `close` at its end."""

    _uses = count(1)
    """Orders the uses of all connections of the process."""

    def __init__(self, host: Hashable = None, end: Callable[[str], None] | None = None) -> None:
        self.host: Final = host
        self.end = end
        """`end(why)` ends the connection at once. It is called when a host that has less needs what this one has."""
        self.closed = False
        """Whether it may take nothing any more."""
        self.last_use = 0
        """The greater, the later."""
        self._budgets: set[Budget] = set()
        """Those in which it has something."""

    def use(self) -> None:
        """The other side has asked for something."""
        self.last_use = next(Account._uses)

    def took_from(self, budget: Budget) -> None:
        """For the budget: it must be told when this account is closed."""
        self._budgets.add(budget)

    def close(self) -> None:
        """Give everything back, and take nothing any more."""
        self.closed = True
        self.end = None
        for budget in self._budgets:
            budget.forget(self)
        self._budgets.clear()

    def end_for_another(self, why: str) -> bool:
        """Give everything back, because another host needs it, and end the connection. Returns whether it could."""
        end = self.end
        if end is None:
            return False
        self.close()
        end(why)
        return True


class _Share:
    """What one host has of a budget."""

    __slots__ = ("accounts", "ranked", "total")

    def __init__(self) -> None:
        self.total = 0
        self.accounts: dict[Account, int] = {}
        self.ranked = 0
        """The total with which it stands in the ranking: this one or more."""


class _Ranking:
    """Which share is the biggest, without looking at all of them: thousands of hosts may compete.

    A heap with an entry for each share. A share that has grown gets a new one, and one that has shrunk when its entry
    comes first. Entries that count no more are left until they come first, or are too many.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, _Share]] = []
        self._numbers = count()
        """Of those that are equal, the one that has been there for the longest time is first."""

    def grown(self, share: _Share, shares: Collection[_Share]) -> None:
        """To be called after the total of one of the shares has become greater."""
        if share.total > share.ranked:
            self._add(share)
            if len(self._heap) > 2 * len(shares) + _FEW:
                self._heap.clear()
                for each in shares:
                    self._add(each)

    def biggest(self) -> _Share | None:
        """None if there is none with more than 0."""
        while self._heap:
            total, _, share = self._heap[0]
            if share.total == share.ranked == -total:
                return share
            heappop(self._heap)
            if -total == share.ranked:
                self._add(share)
        return None

    def _add(self, share: _Share) -> None:
        share.ranked = share.total
        if share.total:
            heappush(self._heap, (-share.total, next(self._numbers), share))


class Budget:
    """How many of something there may be in this process, in all connections together, and in those of one host."""

    def __init__(
        self,
        what: str = "",
        limit: int = sys.maxsize,
        per_host: int = sys.maxsize,
        *,
        oldest_gives_way: bool = False,
    ) -> None:
        """`what` names it in the log. `oldest_gives_way`: nobody needs it for long, so nobody is refused: the account
        that took first loses what it has, of the same host if that has its limit, else of one that has most."""
        self.what = what
        self.limit = limit
        self.per_host = per_host
        self.used = 0
        self._oldest_gives_way = oldest_gives_way
        self._shares: dict[Hashable, _Share] = {}
        self._ranking = _Ranking()

    def take(self, account: Account, count: int = 1) -> bool:
        """Take `count` and return True. If this host may not have so many more, take none and return False."""
        while True:
            share = self._shares.get(account.host)
            wanted = count + (share.total if share is not None else 0)
            if account.closed:
                return False
            # To end one may take time: everything may have changed after it.
            if wanted > self.per_host:
                if share is None or not self._end_oldest(share):
                    return False
            elif self.used + count <= self.limit:
                break
            elif not self._end_biggest(wanted):
                return False
        if share is None:
            share = self._shares[account.host] = _Share()
        if account not in share.accounts:
            share.accounts[account] = 0
            account.took_from(self)
        share.accounts[account] += count
        share.total += count
        self.used += count
        self._ranking.grown(share, self._shares.values())
        return True

    def give_back(self, account: Account, count: int = 1) -> None:
        """What was taken is free again. An account that was closed meanwhile has given it back already."""
        share = self._shares.get(account.host)
        if share is None or account not in share.accounts:
            return
        share.accounts[account] -= count
        share.total -= count
        self.used -= count

    def set(self, account: Account, amount: int) -> bool:
        """Have exactly `amount`. Returns False, and leaves what it has, if this host may not have so much."""
        more = amount - self.of(account)
        if more > 0:
            return self.take(account, more)
        if more:
            self.give_back(account, -more)
        return True

    def of(self, account: Account) -> int:
        """What an account has."""
        share = self._shares.get(account.host)
        return share.accounts.get(account, 0) if share is not None else 0

    def forget(self, account: Account) -> None:
        """Everything that an account has is free again. For `Account.close`."""
        share = self._shares.get(account.host)
        if share is None:
            return
        had = share.accounts.pop(account, 0)
        share.total -= had
        self.used -= had
        if not share.accounts:
            del self._shares[account.host]

    def _end_biggest(self, wanted: int) -> bool:
        """Free something of the host that has most, if that is more than `wanted`. Returns whether it could."""
        biggest = self._ranking.biggest()
        if biggest is not None and self._oldest_gives_way:
            return self._end_oldest(biggest)
        if biggest is None or biggest.total <= wanted:
            return False
        victim = max(biggest.accounts, key=lambda account: (biggest.accounts[account], -account.last_use))
        return victim.end_for_another(f"{self.what}: all are in use, and this host has most of them")

    def _end_oldest(self, share: _Share) -> bool:
        """Free what one account of a host took first, if it gives way. Returns whether it did."""
        oldest = next(iter(share.accounts), None)
        return (
            self._oldest_gives_way
            and oldest is not None
            and oldest.end_for_another(f"{self.what}: all are in use, and this one is the oldest of its host")
        )

"""A set whose members can be picked at random in a time that does not depend on its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from random import Random

T = TypeVar("T")


class RandomSet(Generic[T]):
    """The members in a list, and the position of each in it. A member that leaves is replaced by the last one."""

    def __init__(self) -> None:
        self._members: list[T] = []
        self._positions: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: T) -> bool:
        return member in self._positions

    def add(self, member: T) -> None:
        """Add a member that is not in the set."""
        self._positions[member] = len(self._members)
        self._members.append(member)

    def remove(self, member: T) -> None:
        """Remove a member. Raises KeyError if it is not in the set."""
        position = self._positions.pop(member)
        last = self._members.pop()
        if last != member:
            self._members[position] = last
            self._positions[last] = position

    def choose(self, rng: Random) -> T:
        """One member, picked at random. Raises IndexError if there is none."""
        return self._members[int(rng.random() * len(self._members))]

    def sample(self, count: int, rng: Random) -> list[T]:
        """`count` different members in random order, or all of them if there are fewer."""
        return rng.sample(self._members, min(count, len(self._members)))

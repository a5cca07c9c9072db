"""Where the fuzzer's decisions come from: a seed, or the bytes that a coverage-guided fuzzer (or hypothesis) gives.

Everything random in a case is drawn from one `Choices`, so that a seed, or some bytes, say what happened and make it
happen again.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

T = TypeVar("T")


class Choices(Protocol):
    """Decisions, one after the other."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to decide by: the case is to come to its end."""

    def below(self, limit: int) -> int:
        """A number from 0 on, less than the limit."""

    def chance(self, probability: float) -> bool: ...

    def octets(self, length: int) -> bytes: ...

    def pick(self, options: Sequence[T]) -> T: ...


class Seeded:
    """Decisions without end, told by a seed."""

    exhausted = False

    def __init__(self, seed: str) -> None:
        random = Random(seed)
        self._random = random.random
        self.octets = random.randbytes

    def below(self, limit: int) -> int:
        return int(self._random() * limit)

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]


class Drawn:
    """Decisions by given bytes, as few for each as will do; when they are used up, the first of all options."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def exhausted(self) -> bool:
        return self._at >= len(self._data)

    def below(self, limit: int) -> int:
        length = max(1, (limit - 1).bit_length() + 7 >> 3)
        return int.from_bytes(self._take(length), "little") % limit

    def chance(self, probability: float) -> bool:
        # Nothing left: unlikely things do not happen any more.
        return not self.exhausted and self._take(1)[0] >= 256 * (1 - probability)

    def octets(self, length: int) -> bytes:
        return self._take(length).ljust(length, b"\0")

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def _take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken or b"\0"

"""A set of chunk or piece numbers, as a fixed number of bits that are cheap to change and to count.

The bits are in a bytearray, so setting one costs the same with a million pieces as with ten. The `have` file of the
swarm carries the same bytes: number i is bit i % 8, counted from the least significant, of byte i // 8.
"""

from __future__ import annotations

from collections.abc import Iterator

from xget_lib.errors import ProtocolViolation


class Bitmap:
    """A set of the numbers 0 .. size - 1. A number outside raises IndexError."""

    __slots__ = ("_bits", "count", "size")

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"a bitmap of {size} bits")
        self.size = size
        self.count = 0
        """How many numbers are in the set."""
        self._bits = bytearray((size + 7) // 8)

    @classmethod
    def filled(cls, size: int) -> Bitmap:
        """The set of all numbers."""
        return cls.from_bytes(((1 << size) - 1).to_bytes((size + 7) // 8, "little"), size)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, size: int) -> Bitmap:
        """The inverse of to_bytes. Raises ProtocolViolation for another length, or if a bit beyond `size` is set."""
        bitmap = cls(size)
        if len(data) != len(bitmap._bits):
            raise ProtocolViolation(f"a bitmap of {size} bits has {len(data)} bytes")
        number = int.from_bytes(data, "little")
        if number >> size:
            raise ProtocolViolation(f"a bitmap of {size} bits has bits set beyond its end")
        bitmap._bits[:] = data
        bitmap.count = number.bit_count()
        return bitmap

    def to_bytes(self) -> bytes:
        return bytes(self._bits)

    def as_int(self) -> int:
        """The set as one number, of which bit i is number i: for operations on whole sets (`a & ~b`)."""
        return int.from_bytes(self._bits, "little")

    @property
    def full(self) -> bool:
        """Whether all numbers are in the set (true for size 0)."""
        return self.count == self.size

    def add(self, number: int) -> bool:
        """Returns whether the number was not in the set before."""
        mask = 1 << (self._inside(number) & 7)
        if self._bits[number >> 3] & mask:
            return False
        self._bits[number >> 3] |= mask
        self.count += 1
        return True

    def discard(self, number: int) -> bool:
        """Returns whether the number was in the set before."""
        mask = 1 << (self._inside(number) & 7)
        if not self._bits[number >> 3] & mask:
            return False
        self._bits[number >> 3] ^= mask
        self.count -= 1
        return True

    def has_range(self, first: int, end: int) -> bool:
        """Whether all numbers first .. end - 1 are in the set (true for an empty range)."""
        return all(number in self for number in range(first, end))

    def __contains__(self, number: int) -> bool:
        return bool(self._bits[self._inside(number) >> 3] & (1 << (number & 7)))

    def __iter__(self) -> Iterator[int]:
        """The numbers in the set, rising."""
        for index, byte in enumerate(self._bits):
            while byte:
                yield index * 8 + (byte & -byte).bit_length() - 1
                byte &= byte - 1

    def __repr__(self) -> str:
        return f"<Bitmap {self.count} of {self.size}>"

    def _inside(self, number: int) -> int:
        if not 0 <= number < self.size:
            raise IndexError(f"bit {number} of a bitmap of {self.size}")
        return number

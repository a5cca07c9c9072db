"""Which chunks (or pieces) of a content: a fixed number of bits that is cheap to change and to count.

It is kept in a bytearray, so that setting a bit costs the same with a million pieces as with ten. The bytes are
also what the swarm's `have` file carries: bit i is byte i // 8, bit i % 8 counted from the least significant.
"""

from __future__ import annotations

from collections.abc import Iterator

from xget_lib.errors import ProtocolViolation


class Bitmap:
    """A set of the numbers 0 .. size - 1. A number outside raises IndexError."""

    __slots__ = ("_bits", "_count", "_size")

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"a bitmap of {size} bits")
        self._size = size
        self._bits = bytearray((size + 7) // 8)
        self._count = 0

    @classmethod
    def filled(cls, size: int) -> Bitmap:
        """A bitmap with every bit set."""
        bitmap = cls(size)
        bitmap.add_range(0, size)
        return bitmap

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, size: int) -> Bitmap:
        """What to_bytes gave for this size. Another length, or a spare bit that is set, raises ProtocolViolation."""
        bitmap = cls(size)
        if len(data) != len(bitmap._bits):
            raise ProtocolViolation(f"bitmap of {size} bits in {len(data)} bytes")
        number = int.from_bytes(data, "little")
        if number >> size:
            raise ProtocolViolation(f"bitmap of {size} bits has bits set beyond its end")
        bitmap._bits[:] = data
        bitmap._count = number.bit_count()
        return bitmap

    def to_bytes(self) -> bytes:
        return bytes(self._bits)

    def as_int(self) -> int:
        """The set as a number: bit i of it is bit i here. For set algebra (`a & ~b`) on whole bitmaps at once."""
        return int.from_bytes(self._bits, "little")

    @property
    def size(self) -> int:
        return self._size

    @property
    def count(self) -> int:
        """How many bits are set."""
        return self._count

    @property
    def missing(self) -> int:
        """How many bits are not set."""
        return self._size - self._count

    @property
    def full(self) -> bool:
        """Whether every bit is set (true for a bitmap of no bits)."""
        return self._count == self._size

    def add(self, number: int) -> bool:
        """Sets a bit. Returns whether it was clear before."""
        mask = 1 << (self._inside(number) & 7)
        if self._bits[number >> 3] & mask:
            return False
        self._bits[number >> 3] |= mask
        self._count += 1
        return True

    def discard(self, number: int) -> bool:
        """Clears a bit. Returns whether it was set before."""
        mask = 1 << (self._inside(number) & 7)
        if not self._bits[number >> 3] & mask:
            return False
        self._bits[number >> 3] ^= mask
        self._count -= 1
        return True

    def add_range(self, first: int, end: int) -> None:
        """Sets the bits first .. end - 1."""
        if not 0 <= first <= end <= self._size:
            raise IndexError(f"bits {first} to {end} of a bitmap of {self._size}")
        number = self.as_int() | ((1 << end) - (1 << first))
        self._bits[:] = number.to_bytes(len(self._bits), "little")
        self._count = number.bit_count()

    def has_range(self, first: int, end: int) -> bool:
        """Whether all of the bits first .. end - 1 are set (true for none)."""
        return all(number in self for number in range(first, end))

    def absent(self) -> Iterator[int]:
        """The numbers whose bit is clear, rising."""
        return self._numbers(0xFF)

    def copy(self) -> Bitmap:
        other = Bitmap(self._size)
        other._bits[:] = self._bits
        other._count = self._count
        return other

    def __contains__(self, number: int) -> bool:
        return bool(self._bits[self._inside(number) >> 3] & (1 << (number & 7)))

    def __iter__(self) -> Iterator[int]:
        """The numbers whose bit is set, rising."""
        return self._numbers(0)

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bitmap) and self._size == other._size and self._bits == other._bits

    def __repr__(self) -> str:
        return f"<Bitmap {self._count} of {self._size}>"

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _inside(self, number: int) -> int:
        if not 0 <= number < self._size:
            raise IndexError(f"bit {number} of a bitmap of {self._size}")
        return number

    def _numbers(self, flip: int) -> Iterator[int]:
        for index, byte in enumerate(self._bits):
            byte ^= flip
            while byte:
                number = index * 8 + (byte & -byte).bit_length() - 1
                if number < self._size:
                    yield number
                byte &= byte - 1

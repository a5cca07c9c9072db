"""Work on long columns, a slice at a time.

A function in C that goes through ten million values holds the interpreter lock for a second, and no signal is handled
meanwhile. Between two slices the other threads of the process run. Nothing here takes more memory than a slice.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

SLICE = 1 << 16
"""Values in a slice."""
_BLOCK = 1 << 20
"""Bytes of names in a slice, about."""


def slices(column: Sequence[int]) -> Iterator[Sequence[int]]:
    """The values of a column, some at a time."""
    for at in range(0, len(column), SLICE):
        yield column[at : at + SLICE]


def total(column: Sequence[int]) -> int:
    return sum(map(sum, slices(column)))


def largest(column: Sequence[int]) -> int:
    """0 for a column without values."""
    return max(map(max, slices(column)), default=0)


def running_totals(column: Sequence[int], initial: int) -> array[int]:
    """`initial`, and then the sum of it and of all values up to each one. OverflowError beyond 64 bits."""
    totals = array("Q", [initial])
    for part in slices(column):
        totals.extend(islice(accumulate(part, initial=totals[-1]), 1, None))
    return totals


def names_in_slices(terminated: bytes) -> Iterator[list[bytes]]:
    """Names, each of which ends with a NUL, some at a time."""
    at = 0
    while at < len(terminated):
        end = terminated.rfind(b"\0", at, at + _BLOCK) + 1 or terminated.find(b"\0", at) + 1 or len(terminated)
        yield terminated[at:end].split(b"\0")[:-1]
        at = end

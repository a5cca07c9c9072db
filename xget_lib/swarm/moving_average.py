"""How long something usually takes."""

from __future__ import annotations

_WEIGHT = 1 / 8
"""The weight of a new sample, as in the round-trip estimate of TCP (RFC 6298)."""


class MovingAverage:
    """An exponentially weighted moving average; `value` is in the unit of the samples."""

    __slots__ = ("value",)

    def __init__(self, first: float) -> None:
        """`first` is the value before there are any samples."""
        self.value = first

    def add(self, sample: float) -> None:
        self.value += (sample - self.value) * _WEIGHT

"""User and group numbers: those of a manifest become those of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress


class LocalIds(dict[int, int]):
    """Number in the manifest -> number here: that of the same name, or else the same number. Looked up once."""

    def __init__(self, names: Mapping[int, str], look_up: Callable[[str], int]) -> None:
        """`names`: of numbers in the manifest. `look_up` raises KeyError for a name that this machine does not have."""
        super().__init__()
        self._names = names
        self._look_up = look_up

    def __missing__(self, number: int) -> int:
        here = number
        if number in self._names:
            with suppress(KeyError):
                here = self._look_up(self._names[number])
        self[number] = here
        return here

"""Users and groups of the manifest on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress


class LocalIds(dict[int, int]):
    """ID in the manifest -> ID here: that of the same name, or else the same number. Each is looked up once."""

    def __init__(self, names: Mapping[int, str], look_up: Callable[[str], int]) -> None:
        """`names`: of IDs in the manifest. `look_up` raises KeyError for a name that this machine does not have."""
        super().__init__()
        self._names = names
        self._look_up = look_up

    def __missing__(self, number: int) -> int:
        here = number
        if number in self._names:
            with suppress(KeyError):
                here = self._look_up(self._names[number])
        self[number] = here  # once: other threads read it
        return here

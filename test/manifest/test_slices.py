"""Long columns a slice at a time: the same results as at once."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xget_lib.manifest import slices as module
from xget_lib.manifest.slices import largest, names_in_slices, running_totals, slices, total

NUMBERS = st.lists(st.integers(0, 1 << 40), max_size=30)
NAMES = st.lists(st.binary(max_size=9).filter(lambda name: 0 not in name), max_size=30)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 4)
    monkeypatch.setattr(module, "_BLOCK", 10)


@given(NUMBERS)
def test_sums_and_slices_are_those_of_the_whole(numbers: list[int]) -> None:
    assert [each for part in slices(numbers) for each in part] == numbers
    assert (total(numbers), largest(numbers)) == (sum(numbers), max(numbers, default=0))
    assert list(running_totals(numbers, 7)) == list(accumulate(numbers, initial=7))


@given(NAMES)
def test_names_are_those_of_the_whole(names: list[bytes]) -> None:
    terminated = b"".join(name + b"\0" for name in names)
    assert [name for part in names_in_slices(terminated) for name in part] == names


def test_a_total_beyond_64_bits_is_an_error() -> None:
    with pytest.raises(OverflowError):
        running_totals([1 << 63, 1 << 63], 0)

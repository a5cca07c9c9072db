"""Bitmaps: sets of numbers, their encoding, and bytes that are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xget_lib.errors import ProtocolViolation
from xget_lib.manifest.bitmap import Bitmap

sizes_and_sets = st.integers(0, 200).flatmap(
    lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1)) if size else st.just(set()))
)


def bitmap_of(size: int, numbers: set[int]) -> Bitmap:
    bitmap = Bitmap(size)
    for number in numbers:
        bitmap.add(number)
    return bitmap


@given(sizes_and_sets)
def test_holds_what_was_added_and_counts_it(case: tuple[int, set[int]]) -> None:
    size, numbers = case
    bitmap = bitmap_of(size, numbers)
    assert list(bitmap) == sorted(numbers)
    assert (bitmap.count, bitmap.size) == (len(numbers), size)
    assert bitmap.full == (len(numbers) == size)
    assert bitmap.as_int() == sum(1 << number for number in numbers)


@given(sizes_and_sets)
def test_bytes_and_back(case: tuple[int, set[int]]) -> None:
    bitmap = bitmap_of(*case)
    again = Bitmap.from_bytes(bitmap.to_bytes(), bitmap.size)
    assert (list(again), again.count) == (list(bitmap), bitmap.count)


def test_bytes_count_bits_from_the_least_significant() -> None:
    assert bitmap_of(11, {0, 3, 8, 10}).to_bytes() == bytes([0b00001001, 0b00000101])


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\x08", b"\x00\x80", b"\x00\x00\x00"])
def test_bytes_that_are_no_bitmap_of_the_size_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        Bitmap.from_bytes(data, 11)


def test_add_and_discard_say_whether_they_changed_something() -> None:
    bitmap = Bitmap(9)
    assert bitmap.add(8)
    assert not bitmap.add(8)
    assert bitmap.count == 1
    assert bitmap.discard(8)
    assert not bitmap.discard(8)
    assert bitmap.count == 0


@given(st.integers(0, 80), st.data())
def test_ranges(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size))
    end = data.draw(st.integers(first, size))
    bitmap = bitmap_of(size, set(range(first, end)))
    assert bitmap.has_range(first, end)
    assert bitmap.has_range(0, size) == (end - first == size)
    assert list(Bitmap.filled(size)) == list(range(size))
    assert Bitmap.filled(size).full


@pytest.mark.parametrize("number", [-1, 8, 1 << 70])
def test_a_number_outside_is_an_error_and_not_another_bit(number: int) -> None:
    bitmap = Bitmap.filled(8)
    with pytest.raises(IndexError):
        bitmap.add(number)
    with pytest.raises(IndexError):
        bitmap.discard(number)
    with pytest.raises(IndexError):
        number in bitmap  # noqa: B015  # asking is what must fail
    assert bitmap.count == 8

"""Extents of files with holes: whole blocks, not too many, and how their data is cut into pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from xget_lib.manifest.extents import BLOCK, EXTENTS_LIMIT, SparseFile, cell_count, extents_of, holes

SIZE = 40 * BLOCK + 100
ranges = st.lists(st.integers(0, SIZE), unique=True, max_size=20).map(
    lambda numbers: list(pairwise(sorted(numbers)))[::2]
)


@given(ranges)
def test_extents_are_whole_blocks_that_cover_the_data(ranges: list[tuple[int, int]]) -> None:
    extents = extents_of(ranges, SIZE)
    with_data = {block for start, end in ranges for block in range(start // BLOCK, (end - 1) // BLOCK + 1)}
    if extents is None:
        assert len(with_data) == 41
        return
    runs = list(zip(extents[::2], extents[1::2], strict=True))
    assert {block for start, length in runs for block in range(start // BLOCK, -(-(start + length) // BLOCK))} == (
        with_data
    )
    assert all(start % BLOCK == 0 and length > 0 for start, length in runs)
    assert all(start + length < other for (start, length), (other, _) in pairwise(runs))
    assert sum(length for _, length in holes(extents, SIZE)) + sum(extents[1::2]) == SIZE


def test_a_file_that_is_all_data_has_no_extents_and_one_that_is_all_hole_has_none_of_data() -> None:
    assert extents_of([(0, SIZE)], SIZE) is None
    empty = extents_of([], SIZE)
    assert empty is not None
    assert list(empty) == []


def test_the_smallest_holes_count_as_data_where_there_are_too_many() -> None:
    """Twice as many extents as there may be: in pairs, with small holes within and large ones between them."""
    ranges = []
    for pair in range(EXTENTS_LIMIT):
        start = pair * 100 * BLOCK
        ranges += [(start, start + BLOCK), (start + 2 * BLOCK, start + 3 * BLOCK)]
    extents = extents_of(ranges, EXTENTS_LIMIT * 100 * BLOCK)
    assert extents is not None
    assert len(extents) == 2 * EXTENTS_LIMIT
    assert list(extents[:4]) == [0, 3 * BLOCK, 100 * BLOCK, 3 * BLOCK]


@given(ranges, st.sampled_from([BLOCK, 4 * BLOCK]))
def test_pieces_of_a_sparse_file_are_its_data_by_cell(ranges: list[tuple[int, int]], cell: int) -> None:
    extents = extents_of(ranges, SIZE) or [0, SIZE]
    file = SparseFile(extents, cell)
    assert file.piece_count == cell_count(extents, cell)
    assert file.length == sum(extents[1::2])
    data: list[tuple[int, int]] = []
    for position, end in pairwise(file.piece_positions):
        parts = file.parts(position, end - position)
        assert sum(length for _, length in parts) == end - position
        assert len({offset // cell for offset, _ in parts} | {(o + n - 1) // cell for o, n in parts}) == 1
        assert file.position(parts[0][0]) == position
        data += parts
    covered = [byte for offset, length in data for byte in (offset, offset + length - 1)]
    assert covered == sorted(covered)

"""The content stream: pieces tile files, chunks tile pieces, and a change moves few chunks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.manifests import chunk_range
from test.support.manifests import layout as layout_of
from xget_lib.manifest.layout import granule, piece_count, piece_size

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

sizes = st.one_of(
    st.just(0),
    st.integers(1, 200),
    st.integers(1, 300 * KIB),
    st.integers(0, 20).map(lambda shift: 1 << (shift + 10)),
    st.integers(10 * MIB, 3 * GIB),
)
file_lists = st.lists(sizes, max_size=60).map(lambda all_sizes: [(b"%d" % n, size) for n, size in enumerate(all_sizes)])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, 64 * KIB),
        (32 * MIB - 1, 64 * KIB),
        (32 * MIB, 64 * KIB),
        (64 * MIB - 1, 64 * KIB),
        (64 * MIB, 128 * KIB),
        (2 * GIB - 1, 2 * MIB),
        (2 * GIB, 4 * MIB),
        (1 << 60, 4 * MIB),
    ],
)
def test_granule(size: int, expected: int) -> None:
    assert granule(size) == expected


@given(file_lists)
def test_pieces_tile_their_files_and_the_stream(files: list[tuple[bytes, int]]) -> None:
    layout = layout_of(files)
    assert layout.size == sum(size for _, size in files)
    assert layout.file_count == len(files)
    stream_offset = number = 0
    for file, (_, size) in enumerate(files):
        assert layout.file_range(file) == (stream_offset, size)
        pieces = layout.file_pieces(file)
        assert pieces == range(number, number + piece_count(size))
        for index in {0, 1, len(pieces) - 2, len(pieces) - 1}:
            if not 0 <= index < len(pieces):
                continue
            piece = layout.piece(pieces[index])
            step = piece_size(size)
            assert piece.number == pieces[index]
            assert (piece.file, piece.file_offset) == (file, index * step)
            assert piece.length == (step if index < len(pieces) - 1 else size - index * step)
            assert piece.stream_offset == stream_offset + piece.file_offset
        stream_offset += size
        number = pieces.stop
    assert layout.piece_count == number


@given(file_lists)
def test_chunks_tile_the_pieces_and_are_never_too_large(files: list[tuple[bytes, int]]) -> None:
    layout = layout_of(files)
    offset = number = 0
    for chunk in range(layout.chunk_count):
        start, length = chunk_range(layout, chunk)
        pieces = layout.chunk_pieces(chunk)
        assert (start, pieces.start) == (offset, number)
        assert 0 < length <= layout.chunk_size
        assert layout.piece(pieces.start).stream_offset == start
        last = layout.piece(pieces[-1])
        assert last.stream_offset + last.length == start + length
        assert layout.chunk_of_piece(pieces.start) == layout.chunk_of_piece(pieces[-1]) == chunk
        offset, number = start + length, pieces.stop
    assert (offset, number) == (layout.size, layout.piece_count)


@given(file_lists)
def test_large_files_have_chunks_of_their_own_and_small_ones_are_in_one(files: list[tuple[bytes, int]]) -> None:
    layout = layout_of(files)
    for file, (_, size) in enumerate(files):
        chunks = layout.file_chunks(file)
        if size >= layout.chunk_size:
            assert chunk_range(layout, chunks[0])[0] == layout.file_range(file)[0]
            assert sum(chunk_range(layout, chunk)[1] for chunk in chunks) == size
        else:
            assert len(chunks) == (1 if size else 0)


@given(file_lists, st.data())
def test_extents_of_a_range_are_its_bytes_in_order(files: list[tuple[bytes, int]], data: st.DataObject) -> None:
    layout = layout_of(files)
    offset = data.draw(st.integers(0, layout.size))
    length = data.draw(st.one_of(st.integers(0, layout.size - offset), st.just(layout.size - offset)))
    at = offset
    for file, file_offset, part in layout.extents(offset, length):
        start, size = layout.file_range(file)
        assert part > 0
        assert start + file_offset == at
        assert file_offset + part <= size
        at += part
    assert at == offset + length
    covered = layout.chunks_of_range(offset, length)
    assert [chunk for chunk in range(layout.chunk_count) if overlaps(chunk_range(layout, chunk), offset, length)] == [
        *covered
    ]


def overlaps(chunk: tuple[int, int], offset: int, length: int) -> bool:
    return max(chunk[0], offset) < min(chunk[0] + chunk[1], offset + length)


def test_what_does_not_exist_is_an_error() -> None:
    layout = layout_of([(b"a", 10), (b"b", 0)])
    assert (layout.piece_count, layout.chunk_count, layout.file_count) == (1, 1, 2)
    for ask in (layout.piece, layout.chunk_pieces, layout.chunk_of_piece):
        for number in (-1, 1):
            with pytest.raises(IndexError):
                ask(number)
    for file in (-1, 2):
        with pytest.raises(IndexError):
            layout.file_pieces(file)
    for offset, length in ((-1, 1), (0, 11), (11, 0), (5, -1)):
        with pytest.raises(ValueError, match="content of 10 bytes"):
            layout.extents(offset, length)
        with pytest.raises(ValueError, match="content of 10 bytes"):
            layout.chunks_of_range(offset, length)


def test_no_files_and_empty_files_have_no_chunks() -> None:
    for files in ([], [(b"a", 0), (b"b", 0)]):
        layout = layout_of(files)
        assert (layout.size, layout.piece_count, layout.chunk_count) == (0, 0, 0)
        assert layout.extents(0, 0) == []


def chunks_by_content(files: list[tuple[bytes, int]]) -> set[tuple[tuple[bytes, int, int], ...]]:
    """What each chunk holds, whatever its number: (path, offset, length) of each part."""
    layout = layout_of(files)
    return {
        tuple((files[file][0], offset, length) for file, offset, length in layout.extents(*chunk_range(layout, chunk)))
        for chunk in range(layout.chunk_count)
    }


@pytest.mark.slow
def test_one_new_file_moves_one_chunk_or_two_and_not_all_behind_it() -> None:
    rng = random.Random(20004)
    files = [(b"some/file-%05d" % n, rng.choice([100, 3000, 9000, 30000, 200_000])) for n in range(6000)]
    before = chunks_by_content(files)
    assert len(before) > 250
    moved = []
    for new in range(200):
        at = rng.randrange(len(files))
        changed = [*files[:at], (b"some/new-%d" % new, rng.randrange(1, 30000)), *files[at:]]
        moved.append(len(chunks_by_content(changed) - before))
    assert sum(moved) / len(moved) < 3
    assert max(moved) < 12


def test_chunks_of_small_files_are_filled_to_the_last_byte_and_not_beyond() -> None:
    """The checksums of these names end no chunk early."""
    quarter = 16 * KIB
    files = [(b"%d" % n, quarter) for n in (1, 4, 5, 7)]
    assert layout_of(files).chunk_count == 1
    assert layout_of([(b"1", quarter + 1), *files[1:]]).chunk_count == 2


def test_chunks_of_small_files_end_early_only_once_they_are_a_quarter_full() -> None:
    layout = layout_of([(b"%d" % n, 100) for n in range(100_000)])
    lengths = [chunk_range(layout, chunk)[1] for chunk in range(layout.chunk_count)]
    assert min(lengths[:-1]) >= layout.chunk_size // 4
    assert sum(lengths) / len(lengths) < layout.chunk_size / 2  # and they do end early


def test_a_change_in_a_file_of_any_size_moves_little() -> None:
    assert [piece_size(size) for size in (MIB, 300 * MIB, GIB, 1 << 50)] == [64 * KIB, MIB // 2, MIB, MIB]


def test_how_a_file_is_cut_does_not_depend_on_the_others() -> None:
    alone = layout_of([(b"f", 40 * MIB)])
    beside = layout_of([(b"e", 5 * GIB), (b"f", 40 * MIB)])
    assert len(alone.file_pieces(0)) == len(beside.file_pieces(1)) == 640


def test_a_large_content_stays_small_in_memory() -> None:
    layout = layout_of([(b"huge", 1 << 41)])
    assert (layout.chunk_count, layout.piece_count) == (1 << 19, 1 << 21)
    arrays = (layout._chunk_offset, layout._chunk_piece, layout._file_offset, layout.first_pieces)
    assert sum(len(numbers) * numbers.itemsize for numbers in arrays) < 9_000_000

"""Pieces: claimed once, and what they complete."""

from __future__ import annotations

from test.support.manifests import layout as layout_of
from xget_lib.download.pieces import Pieces


def test_a_piece_is_claimed_once_until_it_is_released() -> None:
    pieces = Pieces(layout_of([(b"a", 200_000), (b"b", 1), (b"c", 0)]))
    assert pieces.claim([0]) == {0}
    assert pieces.claim([0, 1]) == {1}
    pieces.release([0])
    assert pieces.claim([0]) == {0}
    assert not pieces.add(0, [0])
    assert not pieces.claim([0])
    assert (0 in pieces, 1 in pieces) == (True, False)


def test_files_and_chunks_become_complete_with_their_last_piece() -> None:
    layout = layout_of([(b"a", 200_000), (b"b", 1), (b"c", 0)])
    pieces = Pieces(layout)
    assert not pieces.add(0, [3, 0, 1])
    assert pieces.missing(0) == 1
    assert pieces.add(0, [2])
    assert not pieces.add(0, [2])  # said once
    assert pieces.add(1, [4])
    assert not pieces.add(2, [])
    assert all(pieces.chunk_complete(chunk) for chunk in range(layout.chunk_count))
    assert all(number in pieces for number in range(layout.piece_count))

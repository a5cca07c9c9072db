"""Pieces that are read back."""

from __future__ import annotations

import os
from pathlib import Path

from blake3 import blake3

from test.support.manifests import layout as layout_of
from xget_lib.download.verify import checked_pieces

PIECE = 65536


def test_nothing_is_right_beyond_the_end_of_a_file(tmp_path: Path) -> None:
    zeros = bytes(2 * PIECE)
    (tmp_path / "short").write_bytes(zeros[:-1])
    layout = layout_of([(b"zeros", len(zeros))])
    digest = blake3(zeros[:PIECE]).digest()
    with open(tmp_path / "short", "rb") as file:
        checked = checked_pieces(file.fileno(), layout, range(2), lambda number: digest)
        assert [data is not None for _, data in checked] == [True, False]
    os.truncate(tmp_path / "short", 0)
    with open(tmp_path / "short", "rb") as file:
        checked = checked_pieces(file.fileno(), layout, range(2), lambda number: digest)
        assert [data is not None for _, data in checked] == [False, False]


def test_a_part_is_checked_with_the_size_that_it_is_about_to_get(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    layout = layout_of([(b"zeros", PIECE)])
    digest = blake3(bytes(PIECE)).digest()
    with open(tmp_path / "empty", "rb") as file:
        [(_, data)] = checked_pieces(file.fileno(), layout, range(1), lambda number: digest, size=PIECE)
        assert data is not None
        assert len(data) == 0

"""Pieces that are read back."""

from __future__ import annotations

import os
from pathlib import Path

from blake3 import blake3

from test.support.manifests import file as file_of
from test.support.manifests import manifest as manifest_of
from test.support.manifests import root
from xget_lib.download.read_back import checked_pieces

PIECE = 65536
ZEROS = blake3(bytes(PIECE)).digest()


def test_nothing_is_right_beyond_the_end_of_a_file(tmp_path: Path) -> None:
    zeros = bytes(2 * PIECE)
    (tmp_path / "short").write_bytes(zeros[:-1])
    manifest = manifest_of(root(), file_of(b"zeros", len(zeros)), digests=2 * ZEROS)
    with open(tmp_path / "short", "rb") as file:
        checked = checked_pieces(file.fileno(), manifest, range(2))
        assert [data is not None for _, data in checked] == [True, False]
    os.truncate(tmp_path / "short", 0)
    with open(tmp_path / "short", "rb") as file:
        checked = checked_pieces(file.fileno(), manifest, range(2))
        assert [data is not None for _, data in checked] == [False, False]


def test_a_part_is_checked_with_the_size_that_it_is_about_to_get(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    manifest = manifest_of(root(), file_of(b"zeros", PIECE), digests=ZEROS)
    with open(tmp_path / "empty", "rb") as file:
        [(_, data)] = checked_pieces(file.fileno(), manifest, range(1), size=PIECE)
        assert data is not None
        assert len(data) == 0

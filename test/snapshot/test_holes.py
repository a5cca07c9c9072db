"""Holes are found where a file occupies less than its size, and only there a file is opened."""

from __future__ import annotations

import os
from pathlib import Path

from test.support.leases import leased
from xget_lib.fs.leases import LeasePatience
from xget_lib.snapshot.holes import find_extents


def extents_of(path: Path) -> list[int] | None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = find_extents(directory, os.fsencode(path.name), path.lstat(), LeasePatience(0))
    finally:
        os.close(directory)
    return None if found is None else list(found)


def test_a_file_without_holes_has_none_and_one_without_data_has_no_extents(tmp_path: Path) -> None:
    (tmp_path / "full").write_bytes(os.urandom(100_000))
    with open(tmp_path / "empty", "wb") as file:
        file.truncate(1 << 20)
    assert extents_of(tmp_path / "full") is None
    assert sum((extents_of(tmp_path / "empty") or [])[1::2]) == 0


def test_a_file_whose_lease_is_kept_has_none(tmp_path: Path) -> None:
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(1 << 20)
    with leased(tmp_path / "holes", gives_up=False):
        assert extents_of(tmp_path / "holes") is None

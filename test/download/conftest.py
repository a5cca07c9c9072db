"""Served directories, and a destination."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.downloads import PIECE, Served, one_of_everything


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(one_of_everything(tmp_path / "served"))


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


@pytest.fixture
def one_large(tmp_path: Path) -> Served:
    """One file of four pieces, and a small one."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served/large").write_bytes(os.urandom(4 * PIECE))
    (tmp_path / "served/small").write_bytes(b"small")
    return Served(tmp_path / "served")

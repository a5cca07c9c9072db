"""What not every user may read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xget_lib.fs.private import is_private


@pytest.mark.parametrize(("mode", "private"), [(0o644, False), (0o604, False), (0o640, True), (0o600, True)])
def test_a_file_is_private_where_others_may_not_read_it(tmp_path: Path, mode: int, private: bool) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    assert is_private(path.stat()) is private


@pytest.mark.parametrize(("mode", "private"), [(0o755, False), (0o711, True), (0o754, True), (0o700, True)])
def test_a_directory_is_private_where_others_may_not_list_or_enter_it(tmp_path: Path, mode: int, private: bool) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    path.chmod(mode)
    assert is_private(path.stat()) is private


def test_a_link_and_a_fifo_have_no_content(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert not is_private((tmp_path / "link").lstat()) and not is_private((tmp_path / "fifo").lstat())

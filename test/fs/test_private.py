"""What not every user may read."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from xget_lib.fs.private import is_private, is_private_at
from xget_lib.fs.rooted import Root
from xget_lib.manifest.acl import ACCESS


@pytest.mark.parametrize(("mode", "private"), [(0o644, False), (0o604, True), (0o640, True), (0o600, True)])
def test_a_file_is_private_where_somebody_may_not_read_it(tmp_path: Path, mode: int, private: bool) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    assert is_private(path.stat()) is private


@pytest.mark.parametrize(
    ("mode", "private"), [(0o755, False), (0o711, True), (0o754, True), (0o705, True), (0o700, True)]
)
def test_a_directory_is_private_where_somebody_may_not_list_or_enter_it(
    tmp_path: Path, mode: int, private: bool
) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    path.chmod(mode)
    assert is_private(path.stat()) is private


def test_a_link_and_a_fifo_have_no_content(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert not is_private((tmp_path / "link").lstat()) and not is_private((tmp_path / "fifo").lstat())


def access_list(of_user: int) -> bytes:
    """A user has these permissions, and everybody else may read and enter."""
    anybody = 0xFFFFFFFF
    entries = [(0x01, 7, anybody), (0x02, of_user, 4321), (0x04, 5, anybody), (0x10, 7, anybody), (0x20, 5, anybody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_who_is_left_out_by_an_access_list_is_somebody(tmp_path: Path, kind: str) -> None:
    path, name = tmp_path / kind, kind.encode()
    path.mkdir() if kind == "directory" else path.touch()
    path.chmod(0o755)
    with Root(os.fsencode(tmp_path)) as root:
        assert not is_private_at(root, name, path.lstat())
        os.setxattr(path, ACCESS, access_list(5))
        assert not is_private_at(root, name, path.lstat())
        os.setxattr(path, ACCESS, access_list(0))
        assert not is_private(path.lstat())  # the mode does not tell it
        assert is_private_at(root, name, path.lstat()) and is_private(path.lstat(), access_list(0))


def test_a_list_in_another_format_is_no_permission(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o644)
    assert is_private((tmp_path / "file").stat(), b"\3\0\0\0")

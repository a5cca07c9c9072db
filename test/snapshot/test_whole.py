"""What is signed is what a master serves: the same manifest, and nothing left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from test.support.snapshots import assembled, scanned
from test.support.trees import mixed_tree, noise, write
from xget_lib.errors import Failed, PathRefused
from xget_lib.snapshot import whole
from xget_lib.snapshot.hash import hash_pieces
from xget_lib.snapshot.whole import take_whole


def test_it_is_the_manifest_that_a_master_makes(tmp_path: Path) -> None:
    tree = mixed_tree(tmp_path / "tree", files=50)
    with open(tree / "sparse", "wb") as file:
        file.truncate(3 << 20)
        os.pwrite(file.fileno(), noise(70_000, 1), 1 << 20)
    write(tree / "large", noise(9 << 20, 2))
    for options in ({}, {"owner_names": False}, {"one_file_system": True}):
        of_master = assembled(scanned(tree, **options))
        arguments: dict[str, Any] = {"one_file_system": False, "owner_names": True, **options}
        assert take_whole(bytes(tree), **arguments).encode() == of_master.encode()
    single = take_whole(bytes(tree / "large"), one_file_system=False, owner_names=True)
    assert single.generation == assembled(scanned(tree / "large")).generation


def test_an_empty_directory_has_a_generation_too(tmp_path: Path) -> None:
    assert len(take_whole(bytes(tmp_path), one_file_system=False, owner_names=True).generation) == 32


def test_what_changes_while_it_is_read_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "file", noise(100, 1))

    def hashed(*arguments: Any) -> Any:
        write(tmp_path / "file", noise(101, 2))
        return hash_pieces(*arguments)

    monkeypatch.setattr(whole, "hash_pieces", hashed)
    with pytest.raises(Failed, match="file: changed while it was read"):
        take_whole(bytes(tmp_path), one_file_system=False, owner_names=True)


def test_what_cannot_be_read_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "file", noise(100, 1))
    read = os.preadv

    def fail(*arguments: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(Failed, match="file: cannot be read: Input/output error"):
        take_whole(bytes(tmp_path), one_file_system=False, owner_names=True)
    monkeypatch.setattr(os, "preadv", read)
    with pytest.raises(PathRefused):
        take_whole(bytes(tmp_path / "nothing"), one_file_system=False, owner_names=True)


@pytest.mark.root
def test_a_directory_that_cannot_be_listed_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    listdir = os.listdir

    def listed(path: Any) -> Any:
        names = listdir(path)
        if names == []:
            raise PermissionError(13, "Permission denied")
        return names

    monkeypatch.setattr(os, "listdir", listed)
    with pytest.raises(Failed, match="closed: cannot be read: Permission denied"):
        take_whole(bytes(tmp_path), one_file_system=False, owner_names=True)

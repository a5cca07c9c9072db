"""The manifest of the last run, in the cache directory: it is found again, and nothing about it is believed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from xget_lib.download import last_manifest
from xget_lib.download.last_manifest import load_manifest, save_manifest
from xget_lib.fs.rooted import Root

DATA = bytes(range(256)) * 300


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    made = tmp_path / "dest"
    made.mkdir()
    return made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "xget"


def save(dest: Path, data: bytes = DATA) -> None:
    with Root(bytes(dest)) as root:
        save_manifest(root, data)


def test_it_is_found_again_under_any_path_of_the_destination(dest: Path, tmp_path: Path) -> None:
    assert load_manifest(bytes(dest)) is None
    save(dest)
    assert load_manifest(bytes(dest)) == DATA
    (tmp_path / "link").symlink_to(dest)
    assert load_manifest(bytes(tmp_path / "link")) == DATA
    save(dest, DATA[1:])
    assert load_manifest(bytes(dest)) == DATA[1:]
    assert load_manifest(bytes(tmp_path / "nothing")) is None


def test_another_directory_at_the_same_path_has_another_one_and_one_is_kept(dest: Path, cache: Path) -> None:
    save(dest)
    dest.rename(dest.parent / "former")
    dest.mkdir()
    assert load_manifest(bytes(dest)) is None
    save(dest, DATA[2:])
    assert load_manifest(bytes(dest)) == DATA[2:]
    assert len(list(cache.iterdir())) == 1


def test_nobody_else_can_read_it_and_nothing_of_another_kind_is_read(dest: Path, cache: Path, tmp_path: Path) -> None:
    save(dest)
    (file,) = cache.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert load_manifest(bytes(dest)) is None
    file.unlink()
    os.mkfifo(file)
    assert load_manifest(bytes(dest)) is None


def test_one_that_is_too_long_is_not_read(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(dest)
    monkeypatch.setattr(last_manifest, "MANIFEST_LIMIT", len(DATA) - 1)
    assert load_manifest(bytes(dest)) is None


def test_what_cannot_be_saved_is_not_saved(dest: Path, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_bytes(b"")
    save(dest)
    assert load_manifest(bytes(dest)) is None
    cache.unlink()
    save(dest)
    (file,) = cache.iterdir()
    file.unlink()
    file.mkdir()
    save(dest)
    assert [each.name for each in cache.iterdir()] == [file.name], "nothing is left of the attempt"

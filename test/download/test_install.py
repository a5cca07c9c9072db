"""Durability: content is on disk before a name, and names before the end of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.downloads import (
    Served,
    inspect,
    run_download,
)
from xget_lib.download.directories import SYNC_EACH
from xget_lib.fs import syscalls


def trace(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes fsync, syncfs and rename as they happen."""
    happened: list[str] = []

    def note(module: object, name: str, what: Callable[..., str]) -> None:
        real = getattr(module, name)

        def noting(*arguments: object, **options: object) -> object:
            happened.append(what(*arguments))
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, noting)

    note(os, "fsync", lambda fd: "fsync " + os.readlink(f"/proc/self/fd/{fd}"))
    note(os, "rename", lambda old, new: "rename " + os.fsdecode(old))
    note(syscalls, "sync_filesystem", lambda fd: "syncfs")
    return happened


def test_a_file_is_synced_before_it_gets_its_name(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = trace(monkeypatch)
    run_download(one_large, dest)
    renamed = [line.split()[1] for line in happened if line.startswith("rename")]
    assert len(renamed) == 2
    for name in renamed:
        assert happened.index(f"fsync {dest}/.xget/parts/{name}") < happened.index(f"rename {name}")
    assert happened[-1] == f"fsync {dest}"


def test_names_are_synced_before_the_run_ends(served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = trace(monkeypatch)
    run_download(served, dest)
    last_name = max(number for number, line in enumerate(happened) if line.startswith("rename"))
    for directory in ("/a", "/a/deep", "/a/deep/er", ""):
        assert f"fsync {dest}{directory}" in happened[last_name:]
    assert "syncfs" not in happened


def test_corrected_metadata_and_names_of_an_interrupted_run_are_synced_too(
    one_large: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_download(one_large, dest)
    (dest / "small").chmod(0o600)
    with monkeypatch.context() as tracing:
        happened = trace(tracing)
        run_download(one_large, dest)
        assert "syncfs" in happened
    with monkeypatch.context() as tracing:
        happened = trace(tracing)
        run_download(one_large, dest)
        assert "syncfs" not in happened
    with one_large.download(dest) as download:
        inspect(download)
        download.install_files(download.take_complete())
    with monkeypatch.context() as tracing:
        happened = trace(tracing)
        run_download(one_large, dest)
        assert "syncfs" in happened


def test_many_files_are_synced_at_once(tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "served").mkdir()
    for number in range(SYNC_EACH + 1):
        (tmp_path / "served" / str(number)).write_bytes(b"%d" % number)
    happened = trace(monkeypatch)
    run_download(Served(tmp_path / "served"), dest)
    assert [line.split()[0] for line in happened] == ["syncfs", *["rename"] * (SYNC_EACH + 1), "fsync"]

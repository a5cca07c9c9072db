"""What --version says, in a checkout and in a package."""

from __future__ import annotations

from pathlib import Path

import pytest

from xget_lib import __version__, version


def test_a_checkout_says_its_version() -> None:
    assert version.full_version() == __version__


@pytest.mark.parametrize("commit", ["0123456789ab", "0123456789ab+changes\n"])
def test_a_package_says_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, commit: str) -> None:
    (tmp_path / "COMMIT").write_text(commit)
    monkeypatch.setattr(version, "_COMMIT", tmp_path / "COMMIT")
    assert version.full_version() == f"{__version__} (commit {commit.strip()})"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff"])
def test_a_file_without_a_commit_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "COMMIT").write_bytes(content)
    monkeypatch.setattr(version, "_COMMIT", tmp_path / "COMMIT")
    assert version.full_version() == __version__

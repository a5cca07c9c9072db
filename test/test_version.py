"""What --version says, in a checkout and in a package, and what a process finds after an upgrade."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from xget_lib import __version__, version

ROOT = Path(__file__).parent.parent


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of an installed XGet, of this version."""
    shutil.copy(ROOT / "xget_lib/__init__.py", tmp_path)
    monkeypatch.setattr(version, "_DIRECTORY", tmp_path)
    return tmp_path


def test_a_checkout_says_its_version() -> None:
    assert version.full_version() == __version__


@pytest.mark.parametrize("commit", ["0123456789ab", "0123456789ab+changes\n"])
def test_a_package_says_its_commit(installed: Path, commit: str) -> None:
    (installed / "COMMIT").write_text(commit)
    assert version.full_version() == f"{__version__} (commit {commit.strip()})"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff"])
def test_a_file_without_a_commit_is_none(installed: Path, content: bytes) -> None:
    (installed / "COMMIT").write_bytes(content)
    assert version.full_version() == __version__


def test_what_was_not_replaced_is_not_replaced(installed: Path) -> None:
    assert version.replaced_by() is None


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("__init__.py", '"""XGet."""\n\n__version__ = "2.9"\n', "2.9"),
        ("COMMIT", "abcdef\n", f"{__version__} (commit abcdef)"),
        ("__init__.py", "", "none"),
    ],
)
def test_another_version_in_the_same_place_is_found(installed: Path, name: str, content: str, found: str) -> None:
    (installed / name).write_text(content)
    assert version.replaced_by() == found


def test_an_upgrade_that_removes_the_files_is_found(installed: Path) -> None:
    (installed / "__init__.py").unlink()
    assert version.replaced_by() == "none"

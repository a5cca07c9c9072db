"""What is packaged: a checkout or an unpacked source package, with its version, commit and time."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

COMMIT_FILE = "xget_lib/COMMIT"
"""What `xget_lib/version.py` reads. Only packages have this file."""

_PATIENCE = 60.0  # seconds, for git


@dataclass(frozen=True, slots=True)
class Release:
    """`commit` is empty if it is not known. `epoch` is the time that all packaged files get, in seconds since 1970."""

    root: Path
    version: str
    commit: str
    epoch: int
    revision: str = "1"

    @property
    def name(self) -> str:
        return f"xget-{self.version}"


def read_release(root: Path, revision: str = "1") -> Release:
    """The release in a directory. With SOURCE_DATE_EPOCH in the environment, that is its time."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return Release(root, str(setup_of(root).version()), _commit(root), int(given) if given else _time(root), revision)


def setup_of(root: Path) -> ModuleType:
    """The module setup.py of a release, which has its version and the packages that it needs."""
    spec = importlib.util.spec_from_file_location("setup", root / "setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _commit(root: Path) -> str:
    """The commit, with a mark if files differ from it; of a source package, what its file says."""
    packaged = root / COMMIT_FILE
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8").strip()
    if not (root / ".git").exists():  # it could be inside the checkout of something else
        return ""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return _git(root, "rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")


def _time(root: Path) -> int:
    if (root / ".git").exists():
        return int(_git(root, "log", "-1", "--format=%ct"))
    return int((root / "setup.py").stat().st_mtime)


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE).stdout.strip()

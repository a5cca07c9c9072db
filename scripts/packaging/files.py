"""Files of the sources on their way into a package."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

_LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


def source_files(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """The files of these names, and below these directories; relative to `root`, and sorted."""
    for name in names:
        path = root / name
        found = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        for each in found:
            relative = each.relative_to(root)
            if not _LEFT_OUT.intersection(relative.parts):
                yield relative


def copy_files(root: Path, place: Path, names: Iterable[str]) -> None:
    """Copies files to the same paths below another directory, if they are there."""
    for relative in source_files(root, names):
        copy(root / relative, place / relative)


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def compress(path: Path) -> None:
    """Replaces a file by a compressed one, which is the same whenever it is made."""
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()


def normalize(place: Path, epoch: int) -> None:
    """Gives all files below a directory the same time, and modes that do not depend on the umask of who builds."""
    for path in sorted(place.rglob("*"), reverse=True):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    place.chmod(0o755)
    os.utime(place, (epoch, epoch))

"""What clients are to see of a directory."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from grp import getgrgid
from pathlib import Path

from xget_lib.ninep.stat import DMDIR


@dataclass(frozen=True, slots=True)
class Entry:
    """What 9P2000 says of a file; `content` is its bytes, or None for a directory."""

    mode: int
    mtime: int
    length: int
    owner: tuple[str, str]
    content: bytes | None


def plain(root: Path) -> dict[str, Entry]:
    """By path from the root, which is an empty string, everything that 9P2000 has a word for: no links, and no names
    that are not text."""
    return {path: _entry(root / path) for path in _paths(root, "")}


def _paths(root: Path, path: str) -> list[str]:
    if not (root / path).is_dir():
        return [path]
    names = [name for name in os.listdir(root / path) if _is_text(name) and not (root / path / name).is_symlink()]
    return [path] + [below for name in names for below in _paths(root, os.path.join(path, name))]


def _is_text(name: str) -> bool:
    return name.isprintable() or "\n" in name


def _entry(path: Path) -> Entry:
    status = path.stat()
    directory = path.is_dir()
    return Entry(
        mode=status.st_mode & 0o777 | (DMDIR if directory else 0),
        mtime=int(status.st_mtime),
        length=0 if directory else status.st_size,
        owner=(pwd.getpwuid(status.st_uid).pw_name, getgrgid(status.st_gid).gr_name),
        content=None if directory else path.read_bytes(),
    )

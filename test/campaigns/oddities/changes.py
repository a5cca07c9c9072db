"""What happens to a served directory between two runs."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from test.campaigns.oddities.tree import walk


def change(source: Path, dice: Random) -> list[str]:
    """Changes some things. Returns what."""
    said = []
    for _ in range(dice.randint(1, 6)):
        kind = dice.choice(list(_CHANGES))
        paths = [
            source / "plain" / os.fsdecode(path)
            for path, status in walk(source / "plain")
            if stat.S_ISREG(status.st_mode) or (kind in _OF_DIRECTORIES and stat.S_ISDIR(status.st_mode))
        ]
        if paths:
            path = dice.choice(paths)
            _CHANGES[kind](path, dice)
            said.append(f"{kind} {path.relative_to(source)}")
    return said


def _write(path: Path, dice: Random) -> None:
    path.write_bytes(dice.randbytes(dice.randint(0, 100_000)))


def _same_size_and_time(path: Path, dice: Random) -> None:
    status = path.stat()
    path.write_bytes(dice.randbytes(status.st_size))
    os.utime(path, ns=(0, status.st_mtime_ns))


def _insert(path: Path, dice: Random) -> None:
    old = path.read_bytes()
    at = dice.randint(0, len(old))
    path.write_bytes(old[:at] + b"inserted" + old[at:])


def _replace(path: Path, dice: Random) -> None:
    """A directory by a file, and a file by a directory."""
    if path.is_dir():
        shutil.rmtree(path)
        path.write_bytes(b"was a directory")
    else:
        path.unlink()
        path.mkdir()
        (path / "inside").write_bytes(b"was a file")


def _link(path: Path, dice: Random) -> None:
    path.unlink()
    path.symlink_to("was a file")


def _another_name(path: Path, dice: Random) -> None:
    with suppress(FileExistsError):
        os.link(path, path.with_name(path.name[:200] + " too"))


def _remove(path: Path, dice: Random) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


_CHANGES: dict[str, Callable[[Path, Random], object]] = {
    "write": _write,
    "same size and time": _same_size_and_time,
    "insert": _insert,
    "replace": _replace,
    "link": _link,
    "another name": _another_name,
    "remove": _remove,
    "touch": lambda path, dice: path.touch(),
    "mode": lambda path, dice: path.chmod(dice.choice((0o600, 0o644, 0o755, 0o4755))),
    "owner": lambda path, dice: os.chown(path, dice.choice((0, 8)), dice.choice((0, 8))),
    "move": lambda path, dice: path.rename(path.with_name(path.name[:200] + " moved")),
    "attribute": lambda path, dice: os.setxattr(path, b"user.new", b"value"),
}
_OF_DIRECTORIES = {"replace", "remove", "touch", "move", "attribute", "mode", "owner"}

"""Makes directories with every kind of entry, and compares copies of them."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_BLOCK = 1 << 20
MOMENT = 1_500_000_000_123_456_789  # nanoseconds; not a multiple of what any file system keeps


@lru_cache(maxsize=4)
def noise(size: int, seed: int) -> bytes:
    """Pseudo-random bytes, the same in each run."""
    return random.Random(seed).randbytes(size)


def write(path: Path | bytes, content: bytes, *, mode: int = 0o644, mtime: int = MOMENT) -> None:
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)
    os.utime(path, ns=(mtime, mtime))


def small_tree(root: Path) -> Path:
    """A few files, for tests that are about something else."""
    (root / "a" / "b").mkdir(parents=True)
    write(root / "top", b"at the top\n")
    write(root / "a" / "b" / "file1", noise(200_000, 1))
    write(root / "a" / "b" / "file2", b"two\n", mode=0o600)
    write(root / "a" / "other", b"other\n")
    return root


def mixed_tree(root: Path, *, files: int = 300) -> Path:
    """Many small files of all sizes, and one of each special case."""
    root.mkdir(parents=True)
    source = random.Random(7)
    for number in range(files):
        directory = root / f"many{number % 7}"
        directory.mkdir(exist_ok=True)
        write(directory / f"file{number}", source.randbytes(int(10 ** source.uniform(0, 5))), mtime=MOMENT + number)
    odd = root / "odd"
    (odd / "empty" / "and deeper").mkdir(parents=True)
    write(odd / "nothing", b"")
    write(odd / ".hidden", b"hidden\n")
    write(odd / "private", b"private\n", mode=0o600)
    write(odd / "read only", b"read only\n", mode=0o444)
    write(odd / "tool", b"#!/bin/sh\n", mode=0o4755)
    write(odd / ("long" * 63), b"a long name\n")
    write(odd / "two\nlines", b"a name of two lines\n")
    write(bytes(odd) + b"/not \xff\xfe UTF-8", b"a name that is no text\n")
    write(odd / "first", b"one content, three names\n")
    os.link(odd / "first", odd / "second")
    os.link(odd / "first", root / "many0" / "third")
    for name, target in (("here", "nothing"), ("nowhere", "no such file"), ("far", "/etc/passwd"), ("up", "../many1")):
        os.symlink(target, odd / name)
        os.utime(odd / name, ns=(MOMENT, MOMENT), follow_symlinks=False)
    os.chmod(odd / "empty", 0o2770)
    for directory in sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink()):
        os.utime(directory, ns=(MOMENT, MOMENT))
    os.chmod(root, 0o750)
    os.utime(root, ns=(MOMENT, MOMENT))
    return root


def _entries(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    yield b".", os.lstat(root)
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory, name)
            with suppress(FileNotFoundError):  # a client may be at work there
                yield os.path.relpath(path, root), os.lstat(path)


def _same_content(one: bytes, other: bytes) -> bool:
    with open(one, "rb") as left, open(other, "rb") as right:
        while True:
            block = left.read(_BLOCK)
            if block != right.read(_BLOCK):
                return False
            if not block:
                return True


def _names(entries: dict[bytes, os.stat_result]) -> set[frozenset[bytes]]:
    """The sets of names of the same file."""
    names: dict[tuple[int, int], set[bytes]] = {}
    for path, status in entries.items():
        if stat.S_ISREG(status.st_mode):
            names.setdefault((status.st_dev, status.st_ino), set()).add(path)
    return {frozenset(one) for one in names.values()}


def differences(original: Path, copy: Path, *, unfinished: bool = False) -> list[str]:
    """The differences of two trees, the metadata of their roots included. Empty where the copy is right. What somebody
    removes meanwhile is a difference. `unfinished`: the copy may have `.xget`, and the time when that was made."""
    try:
        return _differences(original, copy, unfinished=unfinished)
    except FileNotFoundError as error:
        return [f"removed while it was compared: {error.filename!r}"]


def _differences(original: Path, copy: Path, *, unfinished: bool) -> list[str]:
    left, right = bytes(original), bytes(copy)
    here, there = dict(_entries(left)), dict(_entries(right))
    if unfinished:
        there = {path: status for path, status in there.items() if path.split(b"/")[0] != b".xget"}
    found = [f"only in one: {path!r}" for path in sorted(here.keys() ^ there.keys())]
    for path in sorted(here.keys() & there.keys()):
        one, other = here[path], there[path]
        facts = {"mode": "st_mode", "time": "st_mtime_ns", "user": "st_uid", "group": "st_gid"}
        found += [f"{what} of {path!r}" for what, name in facts.items() if getattr(one, name) != getattr(other, name)]
        pair = os.path.join(left, path), os.path.join(right, path)
        if stat.S_ISLNK(one.st_mode) and os.readlink(pair[0]) != os.readlink(pair[1]):
            found.append(f"target of {path!r}")
        if stat.S_ISREG(one.st_mode) and not _same_content(*pair):
            found.append(f"content of {path!r}")
    if _names(here) != _names(there):
        found.append("hard links")
    if unfinished:
        return [each for each in found if each != "time of b'.'"]
    if not found and shutil.which("rsync"):
        found = rsync_differences(original, copy)
    return found


def rsync_differences(original: Path, copy: Path) -> list[str]:
    """What rsync would do to make the copy like the original."""
    command = ["rsync", "-aHn", "--checksum", "--delete", "--itemize-changes", f"{original}/", f"{copy}/"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()

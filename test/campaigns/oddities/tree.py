"""What is on a disk before and after a run."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from xget_lib.errors import printable

STAGING = b".xget"


@dataclass(frozen=True)
class Facts:
    """Of one path."""

    status: os.stat_result

    @property
    def changed(self) -> tuple[int, int]:
        """Equal if nothing was changed."""
        return self.status.st_ino, self.status.st_ctime_ns

    @property
    def read(self) -> int:
        return self.status.st_atime_ns


Tree = dict[bytes, Facts]
Contents = dict[bytes, set[bytes]]
"""The digests of regular files by path, in which case does not count."""


def walk(root: Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """Each path below a directory, relative to it, with its lstat. The paths may be long."""
    unvisited = [b""]
    top = bytes(root)
    while unvisited:
        above = unvisited.pop()
        try:
            names = sorted(os.listdir(os.path.join(top, above)))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            path = above + b"/" + name if above else name
            status = os.lstat(os.path.join(top, path))
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                unvisited.append(path)


def tree(root: Path) -> Tree:
    return {path: Facts(status) for path, status in walk(root)}


def contents(root: Path) -> Contents:
    found: Contents = {}
    for path, status in walk(root):
        if stat.S_ISREG(status.st_mode) and STAGING not in path.split(b"/"):
            try:
                with open(os.path.join(bytes(root), path), "rb") as file:
                    digest = hashlib.file_digest(file, "sha1").digest()
            except OSError:
                continue
            found.setdefault(_folded(path), set()).add(digest)
    return found


def _folded(path: bytes) -> bytes:
    return os.fsencode(os.fsdecode(path).casefold())


def torn(dest: Path, before: Contents, source: Contents, prefixes: dict[str, str]) -> list[str]:
    """The files that have neither their old content nor that of the source. `prefixes`: where a first name is from."""
    found = []
    for path, digests in contents(dest).items():
        top, slash, rest = os.fsdecode(path).partition("/")
        there = os.fsencode(prefixes.get(top, top) + slash + rest)
        known = before.get(path, set()) | source.get(_folded(there), set())
        if not digests <= known:
            found.append(f"torn: {printable(path)}")
    return found


def foretold(before: Tree, after: Tree, steps: list[tuple[str, str]], *, limited: bool) -> list[str]:
    """How what changed differs from the steps (action, path) of a dry run.

    `limited`: the run noted that the destination could not keep something, so some steps had no effect.
    """
    by_action: dict[str, set[str]] = {}
    for action, path in steps:
        by_action.setdefault(action, set()).add(path)
    made = by_action.get("fetch", set()) | by_action.get("make", set()) | by_action.get("link", set())
    removed, corrected = by_action.get("remove", set()), by_action.get("correct", set())
    old = {printable(path): facts.changed for path, facts in before.items() if STAGING not in path.split(b"/")}
    new = {printable(path): facts.changed for path, facts in after.items() if STAGING not in path.split(b"/")}
    found = []
    for path, (inode, _) in new.items():
        if (path not in old or old[path][0] != inode) and path not in made:
            found.append(f"not foretold: {path} is new")
    for path in old.keys() - new.keys():
        if not any(path == each or path.startswith(each + "/") for each in removed):
            found.append(f"not foretold: {path} is gone")
    found += [f"foretold, but not removed: {path}" for path in removed if path in new and path not in made]
    if not limited:
        found += [f"foretold, but not made: {path}" for path in made if path not in new]
        found += [f"foretold, but not corrected: {path}" for path in corrected if _is_same(path, old, new)]
    return found


def _is_same(path: str, old: Mapping[str, object], new: Mapping[str, object]) -> bool:
    return path != "." and new.get(path) == old.get(path)

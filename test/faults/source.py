"""The served directory, and a copy of each state that it has had.

A change is one system call, so a master sees the state before or after it. What it replaces a file with is made beside
the directory.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from random import Random

from test.support.trees import MOMENT, write

KIB = 1024


class Source:
    """`path` is served. `states` are copies of it, in order; `since` is when each began, in seconds since the epoch."""

    def __init__(self, base: Path, seed: int) -> None:
        self._base = base
        self._dice = Random(seed)
        self._lock = threading.RLock()
        self.path = base / "source"
        self.states: list[Path] = []
        self.since: list[float] = []
        _fill(self.path, self._dice)
        self.size = sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())
        self.note()

    def note(self) -> None:
        """Keep a copy of what is there now."""
        now = time.time()
        state = self._base / f"state{len(self.states)}"
        subprocess.run(["cp", "-a", str(self.path), str(state)], check=True, timeout=60)
        self.states.append(state)
        self.since.append(now)

    def states_since(self, moment: float) -> list[Path]:
        """The states that the directory had at a moment or later."""
        ends = [*self.since[1:], float("inf")]
        return [state for state, end in zip(self.states, ends, strict=True) if end >= moment]

    def another(self) -> None:
        """Another directory is to be served from now on. It has some names of the former one."""
        with self._lock:
            self.path = self._base / f"source{len(self.states)}"
            _fill(self.path, self._dice)
            self.note()

    # Changes.

    def change(self, kind: str) -> None:
        """One of CHANGES."""
        with self._lock:
            if not self.path.is_dir():
                return
            file = self._dice.choice(self._files())
            if kind == "replace":
                os.rename(self._new(max(1, file.stat().st_size)), file)
            elif kind == "write":
                with open(file, "r+b") as opened:
                    os.pwrite(opened.fileno(), self._dice.randbytes(100), 0)
            elif kind == "add":
                os.rename(self._new(self._dice.randrange(300 * KIB)), file.with_name(f"added{len(self.states)}"))
            else:
                file.unlink()
            self.note()

    def _new(self, size: int) -> Path:
        new = self._base / "new"
        write(new, self._dice.randbytes(size), mtime=MOMENT + self._dice.randrange(10**9))
        return new

    def hide(self) -> None:
        """The served directory is not there any more."""
        with self._lock:
            if self.path.is_dir():
                self.path.rename(self._base / "hidden")

    def show(self) -> None:
        """It is there again."""
        with self._lock:
            if (self._base / "hidden").is_dir():
                (self._base / "hidden").rename(self.path)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink())


CHANGES = ("replace", "write", "add", "remove")


def _fill(root: Path, dice: Random) -> None:
    """Many small files, and one or two larger ones."""
    for name in ("a", "b/c", "empty"):
        (root / name).mkdir(parents=True)
    for number in range(dice.randint(30, 120)):
        path = root / dice.choice(("", "a", "b", "b/c")) / f"small{number}"
        mtime = MOMENT + dice.randrange(10**12)
        write(path, dice.randbytes(dice.choice((0, 100, 1 * KIB, 5 * KIB, 20 * KIB))), mtime=mtime)
    for number in range(dice.randint(1, 2)):
        path = root / dice.choice(("", "b")) / f"large{number}"
        write(path, dice.randbytes(dice.randint(1200 * KIB, 3000 * KIB)), mode=dice.choice((0o644, 0o755, 0o600)))
    os.symlink("a", root / "link")
    os.link(_any_file(root), root / "b" / "another name")
    for directory in sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink()):
        os.utime(directory, ns=(MOMENT, MOMENT))
    os.utime(root, ns=(MOMENT, MOMENT))


def _any_file(root: Path) -> Path:
    return next(path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())


def old_copy(source: Path, to: Path, dice: Random) -> None:
    """What an earlier run may have left: some files are missing, and some are older."""
    subprocess.run(["cp", "-a", str(source), str(to)], check=True, timeout=60)
    files = sorted(path for path in to.rglob("*") if path.is_file() and not path.is_symlink())
    for path in dice.sample(files, len(files) // 2):
        path.unlink()
        if dice.random() < 0.3:
            write(path, dice.randbytes(dice.randrange(100 * KIB)), mtime=MOMENT - dice.randrange(10**12))

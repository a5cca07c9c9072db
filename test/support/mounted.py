"""Mounts of the tests: file systems below a temporary directory, and namespaces. They need root."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from test.support.installed import lacking


def do(*command: str | Path) -> str:
    """Runs a command that must succeed. Returns what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def needs(program: str) -> None:
    """Skips the test where a program is not installed."""
    if not shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin"):
        lacking(f"needs {program}")


class Mounts:
    """What a test has mounted. `close` unmounts it."""

    def __init__(self, base: Path) -> None:
        """Images of file systems are made in `base`."""
        self._base = base
        self._points: list[Path] = []

    def memory(self, point: Path, kind: str = "tmpfs", options: str = "mode=755") -> Path:
        """A tmpfs or ramfs."""
        return self._mount(point, "-t", kind, "-o", options, kind)

    def bind(self, what: Path, point: Path) -> Path:
        """The same directory or file at another place."""
        return self._mount(point, "--bind", what)

    def image(self, point: Path, *make: str, megabytes: int = 64, options: str = "loop") -> Path:
        """A file system in a file, made by a command to which the name of the file is added."""
        needs(make[0])
        image = self._base / f"image{len(self._points)}"
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        do(*make, image)
        return self._mount(point, "-o", options, image)  # the loop device goes with the mount

    def overlay(self, point: Path, lower: Path) -> Path:
        """A union of a directory, which it does not change, and an empty one."""
        upper = self.memory(self._base / f"upper{len(self._points)}")
        for name in ("upper", "work"):
            (upper / name).mkdir()
        options = f"lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work"
        return self._mount(point, "-t", "overlay", "-o", options, "overlay")

    def _mount(self, point: Path, *words: str | Path) -> Path:
        if not point.exists():
            point.mkdir(parents=True)
        do("mount", *words, point)
        self._points.append(point)
        return point

    def close(self) -> None:
        for point in reversed(self._points):
            subprocess.run(["umount", "--lazy", str(point)], check=True, timeout=60)


def where(script: str) -> list[str]:
    """The words before a command that run a shell script in a new mount namespace, and then the command."""
    return ["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh"]


NO_PROC = where("mount -t tmpfs none /proc")
"""The words before a command that has no /proc."""

"""Real file systems in files, mounted for a test. Needs root."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from test.support.installed import lacking

_SIZE = 64 << 20  # bytes

MAKE = {
    "exfat": ("mkfs.exfat",),  # no case, links, owners, permissions or attributes; whole seconds. By FUSE
    "ext4 with small inodes": ("mke2fs", "-q", "-F", "-t", "ext4", "-I", "128"),  # whole seconds, from 1901 to 2038
    "ext3": ("mke2fs", "-q", "-F", "-t", "ext3", "-I", "128"),
    "ext4": ("mke2fs", "-q", "-F", "-t", "ext4"),
}
"""The command that makes each kind of file system."""


@contextmanager
def mounted(kind: str, base: Path) -> Iterator[Path]:
    """A new file system of this kind, mounted below `base`, good inside the `with`."""
    image, top = base / "image", base / "mounted"
    if shutil.which(MAKE[kind][0]) is None or (kind == "exfat" and shutil.which("mount.exfat-fuse") is None):
        lacking(f"the programs for {kind} are not installed")
    with image.open("wb") as file:
        file.truncate(_SIZE)
    _run(*MAKE[kind], image)
    top.mkdir()
    device = _run("losetup", "--find", "--show", image).strip()
    try:
        if kind == "exfat":
            _run("mount.exfat-fuse", device, top)
        else:
            _run("mount", device, top)
    finally:
        _run("losetup", "--detach", device)  # when it is unmounted, at the latest
    try:
        yield top
    finally:
        _run("umount", "--lazy", top)


def remount(kind: str, base: Path) -> None:
    """Unmounts it and mounts it again: nothing of it is in memory then."""
    image, top = base / "image", base / "mounted"
    _run("umount", top)
    device = _run("losetup", "--find", "--show", image).strip()
    try:
        _run("mount.exfat-fuse" if kind == "exfat" else "mount", device, top)
    finally:
        _run("losetup", "--detach", device)


def _run(*command: str | Path) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, timeout=60).stdout

"""What a destination can be: a directory on each kind of file system, with others mounted below.

Everything is mounted in the mount namespace of this process, which has to be a private one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from test.campaigns.oddities.sources import do

_SIZE = 160 << 20
_BTRFS_SIZE = 256 << 20


def _image(base: Path, size: int, *make: str) -> Path:
    number = sum(1 for path in base.iterdir() if path.name.startswith("image"))
    image = base / f"image{number}"
    with open(image, "wb") as file:
        file.truncate(size)
    do(*make, image)
    return image


def _plain(base: Path, point: Path) -> None:
    do("mount", "--bind", point, point)
    do("mount", "-o", "remount,bind,strictatime", point)


def _memory(kind: str) -> Callable[[Path, Path], None]:
    return lambda base, point: (do("mount", "-t", kind, "-o", "mode=755,strictatime", "none", point), None)[1]


def _ext4(*options: str) -> Callable[[Path, Path], None]:
    def mount(base: Path, point: Path) -> None:
        image = _image(base, _SIZE, "mke2fs", "-q", "-F", "-t", "ext4", *options)
        do("mount", "-o", "loop,strictatime", image, point)

    return mount


def _btrfs(base: Path, point: Path) -> None:
    do("mount", "-o", "loop,strictatime", _image(base, _BTRFS_SIZE, "mkfs.btrfs", "-q"), point)


def _exfat(base: Path, point: Path) -> None:
    image = _image(base, _SIZE, "mkfs.exfat")
    device = do("losetup", "--find", "--show", image).strip()
    try:
        do("mount.exfat-fuse", device, point)
    finally:
        do("losetup", "--detach", device)  # when it is unmounted, at the latest


DESTINATIONS: dict[str, Callable[[Path, Path], None]] = {
    "plain": _plain,
    "ext4": _ext4(),
    "ext4 of small inodes": _ext4("-I", "128"),
    "tmpfs": _memory("tmpfs"),
    "ramfs": _memory("ramfs"),
    "btrfs": _btrfs,
    "exfat": _exfat,
}
FOLDS_CASE = NO_LINKS = frozenset(("exfat",))


def mount(kind: str, base: Path, point: Path) -> None:
    """Mounts a new file system at a new directory `point`. Its image is made in `base`."""
    point.mkdir(parents=True)
    DESTINATIONS[kind](base, point)


def mount_below(kind: str, base: Path, dest: Path, source: Path, count: int, dice: Random) -> None:
    """Makes some directories of the source in the destination, and mounts other file systems there."""
    directories = [
        path
        for path in sorted(source.glob("*")) + sorted(source.glob("*/*"))
        if path.is_dir() and not path.is_symlink() and path.name != ".xget" and "case twins" not in path.parts
    ]
    for path in dice.sample(directories, min(count, len(directories))):
        point = dest / path.relative_to(source)
        if point.exists() or (kind == "exfat" and path.parent.name == "names"):
            continue
        point.parent.mkdir(parents=True, exist_ok=True)
        if kind == "btrfs" and dice.random() < 0.7:
            do("btrfs", "subvolume", "create", point)
        else:
            mount(dice.choice(("tmpfs", "ext4")), base, point)


def own(path: Path, user: int) -> None:
    """Gives all of a destination to a user, as far as its file systems have owners and it is not immutable."""
    for directory, directories, files in os.walk(path):
        for name in [".", *directories, *files]:
            with suppress(OSError):
                os.chown(os.path.join(directory, name), user, user, follow_symlinks=False)

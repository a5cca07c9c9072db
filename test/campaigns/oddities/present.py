"""What a destination can have before the first run. Each maker changes what is there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from test.support.oddities import access_list

Maker = Callable[[Path, Path, Random], None]
"""Of (destination, source, dice)."""


def old_copy(dest: Path, source: Path, dice: Random) -> None:
    """A copy by another program, of which some files have become wrong in the meantime."""
    command = ["rsync", "-aHX", "--exclude=.xget", "--exclude=tmpfs", "--exclude=odd*", f"{source}/", f"{dest}/"]
    subprocess.run(command, check=False, capture_output=True, timeout=120)
    for path in dice.sample(files := _files(dest), min(4, len(files))):
        old = path.read_bytes()
        path.write_bytes(dice.choice((b"wrong" + old[5:], old[:3], old + b"more", old[: len(old) // 2] + b"+")))


def stale(dest: Path, source: Path, dice: Random) -> None:
    for number in range(dice.randint(1, 6)):
        directory = dest / dice.choice((".", "old", "plain", "plain/d0", "new/deep"))
        with suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"stale{number}").write_bytes(b"stale")


def immutable(dest: Path, source: Path, dice: Random) -> None:
    """Files that nobody can replace or remove."""
    for path in dice.sample(there := _wanted(source, stat.S_ISREG), min(2, len(there))):
        point = dest / path
        with suppress(OSError):
            point.parent.mkdir(parents=True, exist_ok=True)
            if not point.exists():
                point.write_bytes(b"immutable")
            subprocess.run(["chattr", "+i", str(point)], check=False, capture_output=True)


def in_the_way(dest: Path, source: Path, dice: Random) -> None:
    """Files where directories should be, and the reverse."""
    for path in dice.sample(there := _wanted(source, stat.S_ISREG), min(1, len(there))):
        with suppress(OSError):
            (dest / path).unlink(missing_ok=True)
            (dest / path / "inner").mkdir(parents=True)
            (dest / path / "inner" / "file").write_bytes(b"in the way")
    for path in dice.sample(there := _wanted(source, stat.S_ISDIR), min(1, len(there))):
        with suppress(OSError):
            (dest / path).parent.mkdir(parents=True, exist_ok=True)
            if not (dest / path).exists():
                (dest / path).write_bytes(b"in the way")


def read_only_directories(dest: Path, source: Path, dice: Random) -> None:
    for path in dice.sample(there := _wanted(source, stat.S_ISDIR), min(3, len(there))):
        with suppress(OSError):
            (dest / path).mkdir(parents=True, exist_ok=True)
            (dest / path / "old").write_bytes(b"old")
            (dest / path).chmod(0o555)


def links(dest: Path, source: Path, dice: Random) -> None:
    """Symbolic links where something else should be."""
    outside = dest.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "file").write_bytes(b"outside")
    for path in dice.sample(there := _wanted(source, lambda mode: not stat.S_ISLNK(mode)), min(2, len(there))):
        with suppress(OSError):
            (dest / path).parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(dest / path):
                os.symlink(dice.choice((str(outside), str(outside / "file"), "nowhere", ".", "/dev/null")), dest / path)


def specials(dest: Path, source: Path, dice: Random) -> None:
    """FIFOs where files should be, and files where links should be."""
    for path in dice.sample(there := _wanted(source, stat.S_ISREG), min(2, len(there))):
        with suppress(OSError):
            (dest / path).parent.mkdir(parents=True, exist_ok=True)
            (dest / path).unlink(missing_ok=True)
            os.mkfifo(dest / path)
    for path in dice.sample(there := _wanted(source, stat.S_ISLNK), min(2, len(there))):
        with suppress(OSError):
            (dest / path).parent.mkdir(parents=True, exist_ok=True)
            (dest / path).unlink(missing_ok=True)
            (dest / path).write_bytes(b"a file")


def other_downloads(dest: Path, source: Path, dice: Random) -> None:
    """The temporary data of downloads into directories below."""
    for directory in dice.sample(("old", "plain", "plain/d1", "elsewhere/deep"), 2):
        with suppress(OSError):
            (dest / directory / ".xget").mkdir(parents=True)
            (dest / directory / ".xget" / "part").write_bytes(b"part")


def odd_metadata(dest: Path, source: Path, dice: Random) -> None:
    """Lists that new files inherit, and attributes that should not be there."""
    with suppress(OSError):
        os.setxattr(dest, b"system.posix_acl_default", access_list(1111, 2222))
    for path in [dest, *dice.sample(there := _files(dest), min(3, len(there)))]:
        with suppress(OSError):
            os.setxattr(path, b"user.more", b"than there should be")
            path.chmod(0o2770 if path.is_dir() else 0o6777)


def of_root(dest: Path, source: Path, dice: Random) -> None:
    """Something of another user. It is made last, see `make_present`."""
    for path in dice.sample(there := _wanted(source, lambda mode: True), min(2, len(there))):
        with suppress(OSError):
            os.chown(dest / path, 8, 8, follow_symlinks=False)


def mount_in_the_way(dest: Path, source: Path, dice: Random) -> None:
    """A file of the source is a mount point in the destination."""
    for path in dice.sample(there := _wanted(source, stat.S_ISREG), min(1, len(there))):
        with suppress(OSError):
            (dest / path).parent.mkdir(parents=True, exist_ok=True)
            (dest / path).touch()
            subprocess.run(["mount", "--bind", "/etc/hostname", str(dest / path)], check=False, capture_output=True)


PRESENT: dict[str, Maker] = {
    "old copy": old_copy,
    "stale": stale,
    "immutable": immutable,
    "in the way": in_the_way,
    "read-only directories": read_only_directories,
    "links": links,
    "specials": specials,
    "other downloads": other_downloads,
    "odd metadata": odd_metadata,
    "of root": of_root,
    "mount in the way": mount_in_the_way,
}
_ORDER = ["old copy", "in the way", "links", "specials", "stale", "other downloads", "odd metadata"]
_AFTER = ["immutable", "mount in the way", "read-only directories", "of root"]


def make_present(dest: Path, source: Path, kinds: tuple[str, ...], give: Callable[[], None], dice: Random) -> None:
    """Makes these kinds. `give` gives all that is there to the user of the client, before what only root can change."""
    for kind in _ORDER:
        if kind in kinds:
            PRESENT[kind](dest, source, dice)
    give()
    for kind in _AFTER:
        if kind in kinds:
            PRESENT[kind](dest, source, dice)
            if kind == "read-only directories":
                give()


def _wanted(source: Path, kind: Callable[[int], bool]) -> list[Path]:
    """The paths, relative, of what the source has of this kind, at most three levels deep."""
    found = []
    for directory, directories, names in os.walk(source):
        path = Path(directory).relative_to(source)
        if len(path.parts) > 2:
            directories.clear()
        for name in [*directories, *names]:
            if ".xget" not in (path / name).parts and kind((Path(directory) / name).lstat().st_mode):
                found.append(path / name)
    return sorted(found)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def remove_all(path: Path) -> None:
    """Removes a tree, also what is immutable."""
    subprocess.run(["chattr", "-R", "-i", str(path)], check=False, capture_output=True)
    shutil.rmtree(path, ignore_errors=True)

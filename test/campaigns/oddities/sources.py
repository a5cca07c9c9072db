"""What can be in a served directory. Each maker fills a new directory, and draws what it makes."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from test.support.oddities import CAPABILITY, access_list

Maker = Callable[[Path, Random], None]

ODD_NAMES = (
    *(b"\xff\xfe\xc3\x28", b"new\nline", b"-rf", b"~", b"*", b" ", b".hidden", b"a\\b", b'"', b"$x", b"\x7f\x01"),
    *("naïve ☃ 🜁".encode(), b"n" * 255, b"trailing. ", b"xget", b".xget~", b"\xe2\x80\xae.txt", b"a:b", b"lost+found"),
)


def content(dice: Random) -> bytes:
    """Bytes of a file: often few, sometimes more than a chunk."""
    return dice.randbytes(dice.choice((0, 1, 100, 4096, 5000, 70_000, 200_000, 1_500_000)))


def plain(root: Path, dice: Random) -> None:
    for number in range(dice.randint(2, 12)):
        directory = root / f"d{dice.randint(0, 2)}" / f"e{dice.randint(0, 1)}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file{number}").write_bytes(content(dice))
        (directory / f"file{number}").chmod(dice.choice((0o644, 0o600, 0o444, 0o755, 0o000, 0o222)))


def holes(root: Path, dice: Random) -> None:
    for number in range(dice.randint(1, 4)):
        size = dice.randint(1, 3 << 20)
        with open(root / f"holes{number}", "wb") as file:
            file.truncate(size)
            for _ in range(dice.randint(0, 4)):
                at = dice.randrange(size) // 4096 * 4096
                file.seek(at)
                file.write(dice.randbytes(min(dice.randint(1, 9000), size - at)))
    (root / "zeros").write_bytes(bytes(dice.randint(1, 300_000)))


def hard_links(root: Path, dice: Random) -> None:
    (root / "a").mkdir()
    for number in range(dice.randint(1, 3)):
        first = root / "a" / f"first{number}"
        first.write_bytes(content(dice))
        for link in range(dice.randint(1, 3)):
            os.link(first, root / dice.choice((".", "a")) / f"link{number}-{link}")
    os.mkfifo(root / "pipe")
    os.link(root / "pipe", root / "a" / "pipe too")
    os.symlink("nowhere", root / "symbolic")
    os.link(root / "symbolic", root / "a" / "symbolic too", follow_symlinks=False)


def symbolic_links(root: Path, dice: Random) -> None:
    (root / "real").mkdir()
    (root / "real" / "file").write_bytes(b"real")
    targets = ["real", "real/file", "nowhere", "/etc/passwd", "../../..", "x/" * 900, "self", "\udcff\udcfe", "real/"]
    for number, target in enumerate(dice.sample(targets, 5)):
        with suppress(OSError):  # too long for this file system
            os.symlink(target, root / f"link{number}")
            os.utime(root / f"link{number}", ns=(0, dice.randrange(2**60)), follow_symlinks=False)


def attributes(root: Path, dice: Random) -> None:
    values = [(b"user.a", b"1"), (b"user.empty", b""), (b"user.\xff", bytes(range(256))), (b"user.z", b"z" * 900)]
    values += [(b"trusted.mark", b"for root"), (b"system.posix_acl_access", access_list(4321, 8765))]
    for number in range(dice.randint(1, 4)):
        path = root / f"file{number}"
        path.write_bytes(content(dice))
        path.chmod(0o664)
        for name, value in dice.sample(values, dice.randint(0, 4)):
            with suppress(OSError):  # too much for this file system
                os.setxattr(path, name, value)
    (root / "inheriting").mkdir()
    os.setxattr(root / "inheriting", b"system.posix_acl_default", access_list(4321, 8765))
    os.setxattr(root / "inheriting", b"user.directory", b"has some too")
    (root / "inheriting" / "plain").write_bytes(b"plain")


def privileged(root: Path, dice: Random) -> None:
    owners = ((0, 0), (8, 8), (65534, 65534), (4_000_000_000, 123_456))
    for number in range(dice.randint(1, 4)):
        path = root / f"tool{number}"
        path.write_bytes(content(dice))
        os.chown(path, *dice.choice(owners))
        path.chmod(dice.choice((0o4755, 0o2755, 0o6711, 0o1644, 0o755)))
        if dice.random() < 0.4:
            os.setxattr(path, b"security.capability", CAPABILITY)
    os.symlink("tool0", root / "link")
    os.chown(root / "link", 8, 12, follow_symlinks=False)
    (root / "sticky").mkdir()
    (root / "sticky").chmod(dice.choice((0o1777, 0o2750, 0o3770, 0o555, 0o000)))
    os.chown(root / "sticky", *dice.choice(owners))
    (root / "sticky" / "inside").write_bytes(b"inside")


def devices(root: Path, dice: Random) -> None:
    kinds = [("null", stat.S_IFCHR, (1, 3)), ("disk", stat.S_IFBLK, (259, 1 << 18)), ("white", stat.S_IFCHR, (0, 0))]
    for name, kind, numbers in dice.sample(kinds, dice.randint(1, 3)):
        os.mknod(root / name, kind | 0o640, os.makedev(*numbers))
    if dice.random() < 0.7:
        os.mkfifo(root / "pipe", 0o600)
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(root, os.O_PATH)
        listening.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)


def names(root: Path, dice: Random) -> None:
    for name in dice.sample(ODD_NAMES, dice.randint(2, len(ODD_NAMES))):
        path = bytes(root) + b"/" + name
        if dice.random() < 0.3:
            os.mkdir(path)
            path += b"/" + dice.choice(ODD_NAMES)
        with open(path, "wb") as file:
            file.write(content(dice))


def case_twins(root: Path, dice: Random) -> None:
    for name in dice.sample(("Makefile", "makefile", "MAKEFILE", "README", "readme"), 3):
        (root / name).write_bytes(content(dice))
    for name in ("Dir", "dir"):
        (root / name).mkdir()
        (root / name / "inside").write_bytes(name.encode())


def deep(root: Path, dice: Random) -> None:
    for number in range(dice.randint(3, 14)):
        root = root / (f"{number:02}-" + "d" * 200)
        root.mkdir()
    (root / "file").write_bytes(content(dice))


def empties(root: Path, dice: Random) -> None:
    (root / "a" / "b" / "c").mkdir(parents=True)
    for number in range(dice.randint(1, 30)):
        (root / dice.choice((".", "a", "a/b")) / f"empty{number}").touch()


def times(root: Path, dice: Random) -> None:
    seconds = [-(2**31), -1, 0, 1, 2**31 - 1, 2**31, 2**32, 2**33, 9_223_372_036, 9_300_000_000, 1_700_000_001]
    for second in dice.sample(seconds, dice.randint(1, 8)):
        path = root / f"time {second}"
        path.write_bytes(b"x")
        with suppress(OverflowError):
            os.utime(path, ns=(0, second * 10**9 + dice.randrange(10**9)))
    (root / "directory").mkdir()
    os.utime(root / "directory", ns=(0, dice.choice(seconds[:8]) * 10**9 + 7))


def mounts(root: Path, dice: Random) -> None:
    (root / "tmpfs").mkdir()
    do("mount", "-t", "tmpfs", "-o", "mode=750", "none", root / "tmpfs")
    (root / "tmpfs" / "deeper").mkdir()
    (root / "tmpfs" / "deeper" / "file").write_bytes(content(dice))
    (root / "what").mkdir()
    (root / "what" / "file").write_bytes(content(dice))
    (root / "bind").mkdir()
    do("mount", "--bind", root / "what", root / "bind")


def unreadable(root: Path, dice: Random) -> None:
    """Files that are shorter than they say, or that cannot be read by anybody."""
    files = ["/sys/kernel/uevent_seqnum", "/sys/kernel/profiling", "/sys/devices/system/cpu/cpu0/uevent"]
    files += ["/sys/bus/platform/uevent", "/sys/block/loop0/uevent", "/sys/bus/platform/drivers_probe"]
    for number, name in enumerate(dice.sample(files, dice.randint(1, 4))):
        if os.path.exists(name):
            (root / f"odd{number}").touch()
            do("mount", "--bind", name, root / f"odd{number}")
    (root / "good").write_bytes(content(dice))


def leftovers(root: Path, dice: Random) -> None:
    for directory in dice.sample((".", "a", "a/b"), dice.randint(1, 3)):
        path = root / directory / ".xget"
        path.mkdir(parents=True)
        (path / "part").write_bytes(content(dice))
    (root / "beside").write_bytes(b"beside")


def many(root: Path, dice: Random) -> None:
    for number in range(dice.randint(200, 900)):
        (root / f"file{number}").write_bytes(dice.randbytes(dice.randint(0, 300)))


def large(root: Path, dice: Random) -> None:
    for number in range(2):
        (root / f"image{number}").write_bytes(dice.randbytes(dice.randint(1 << 20, 8 << 20)))


def busy(root: Path, dice: Random) -> None:
    """A file that changes for a while; see `Busy`."""
    (root / "growing").write_bytes(content(dice))
    (root / "good").write_bytes(content(dice))


SOURCES: dict[str, Maker] = {
    "plain": plain,
    "holes": holes,
    "hard links": hard_links,
    "symbolic links": symbolic_links,
    "attributes": attributes,
    "privileged": privileged,
    "devices": devices,
    "names": names,
    "case twins": case_twins,
    "deep": deep,
    "empties": empties,
    "times": times,
    "mounts": mounts,
    "unreadable": unreadable,
    "leftovers": leftovers,
    "many": many,
    "large": large,
    "busy": busy,
}
UNREADABLE = frozenset(("unreadable", "busy"))
"""What can cost a client the exit status 1."""


def do(*command: str | Path) -> str:
    """Runs a command that must succeed. Returns what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def make_source(root: Path, kinds: tuple[str, ...], dice: Random) -> None:
    """Fills a directory with all these kinds."""
    for kind in kinds:
        directory = root / kind
        directory.mkdir()
        SOURCES[kind](directory, dice)
        if kind not in ("mounts", "unreadable"):
            os.utime(directory, ns=(0, dice.randrange(2 * 10**18)))


class Busy:
    """Appends to a file again and again, until it is stopped."""

    def __init__(self, path: Path, seconds: float | None) -> None:
        """`seconds`: after which it stops by itself."""
        self._path = path
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._append, daemon=True)
        self._thread.start()

    def _append(self) -> None:
        left = 1000 if self._seconds is None else int(self._seconds / 0.03)
        while left and not self._stop.wait(0.03):
            left -= 1
            with open(self._path, "ab") as file:
                file.write(b"more")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

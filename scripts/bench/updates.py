"""Measures what an update transfers: `python -m scripts.bench.updates`.

    unchanged  nothing has changed since the copy
    package    a package of 10 MB changes in a tree of 2 GB
    added      then a file is added, as the first of its directory
    removed    then this file is removed
    grown      then a file there grows
    large      1 MiB is overwritten in the middle of a file of 4 GiB, across the boundaries of pieces

The destination is a copy of the state before (made with cp), which the first client does not know: it reads the whole
manifest. One client updates it over loopback, through a relay that counts all bytes in both directions. `content` is
what the client fetched, `wire` what the relay counted. Afterwards both trees are compared. The case `many` makes the
same changes as the first five in a tree of many small files. The exit status is 1 if more was transferred than the aim.
It needs 13 GB below --directory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from .loopback import HOST, PATIENCE, client, finished, serving, unwind_on_signals

_MIB = 1 << 20
_PACKAGE_FILES = 200
_LARGE_AIM = 4 * _MIB


@dataclass(frozen=True, slots=True)
class Update:
    """What one update moved: bytes and seconds. `aim` is what both of the first two must not pass."""

    name: str
    changed: int
    """Bytes of what changed: whole files but for `large`, where it is what was overwritten."""
    content: int
    wire: int
    seconds: float
    content_aim: int
    wire_aim: int | None

    @property
    def good(self) -> bool:
        return self.content <= self.content_aim and (self.wire_aim is None or self.wire <= self.wire_aim)

    def __str__(self) -> str:
        aim = f"{self.content_aim if self.wire_aim is None else self.wire_aim:,}"
        kind = "content" if self.wire_aim is None else "wire"
        return (
            f"{self.name:8} {self.changed:>11,} {self.content:>11,} {self._ratio(self.content):>6}"
            f" {self.wire:>11,} {self._ratio(self.wire):>6} {self.seconds:8.2f}"
            f"  {kind} {aim}: {'yes' if self.good else 'NO'}"
        )

    def _ratio(self, moved: int) -> str:
        return f"{moved / self.changed:.3f}" if self.changed else "-"


_HEADING = f"{'case':8} {'changed':>11} {'content':>11} {'of it':>6} {'wire':>11} {'of it':>6} {'seconds':>8}  aim"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.updates", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--cases",
        default="tree,large",
        metavar="NAME,...",
        help="cases to measure: tree (the first five), large, many (tree,large)",
    )
    parser.add_argument("--tree", type=float, default=2.0, metavar="GB", help="size of the tree (2)")
    parser.add_argument("--files", type=int, default=40_000, metavar="N", help="number of files in the tree (40000)")
    parser.add_argument("--package", type=float, default=10.0, metavar="MB", help="size of the package (10)")
    parser.add_argument("--many", type=int, default=500_000, metavar="N", help="number of small files (500000)")
    parser.add_argument("--size", type=float, default=4.0, metavar="GIB", help="size of the large file (4)")
    parser.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        help="directory with enough free space (that of temporary files)",
    )
    given = parser.parse_args()
    unwind_on_signals()
    cases = {"tree": _tree, "large": _large, "many": _many}
    print(_HEADING, flush=True)
    good = True
    for name in given.cases.split(","):
        with tempfile.TemporaryDirectory(prefix="xget-updates-", dir=given.directory) as base:
            good &= cases[name](Path(base), given)
    return 0 if good else 1


# The cases.


def _tree(base: Path, given: argparse.Namespace) -> bool:
    return _changes(base, given, int(given.tree * 1e9), given.files, 105)


def _many(base: Path, given: argparse.Namespace) -> bool:
    return _changes(base, given, given.many * 1000, given.many, 110)


def _changes(base: Path, given: argparse.Namespace, size: int, files: int, wire_aim: int) -> bool:
    """Four changes, one after the other, each of them in the midst of a directory that is in the midst of all.
    `wire_aim`: per cent of a changed package."""
    served = base / "served"
    names = _make_tree(served, size, files)
    dest = _copied(served, base / "dest")
    package = names[len(names) // 2 :][:_PACKAGE_FILES]
    front = (served / package[0]).parent / "!first"
    content = random.Random(2)

    def change_package() -> int:
        for name in package:
            (served / name).write_bytes(content.randbytes(int(given.package * 1e6) // len(package)))
        return sum((served / name).stat().st_size for name in package)

    def add() -> int:
        return front.write_bytes(content.randbytes(_MIB))

    def remove() -> int:
        front.unlink()
        return 0

    def grow() -> int:
        with open(served / names[len(names) // 2 - 1], "ab") as file:
            file.write(content.randbytes(_MIB))
            return file.tell()

    changes: dict[str, Callable[[], int]] = {
        "unchanged": lambda: 0,
        "package": change_package,
        "added": add,
        "removed": remove,
        "grown": grow,
    }
    good = True
    for name, change in changes.items():
        changed = change()
        aim = changed * wire_aim // 100 if name == "package" else None
        good &= _updated(base, served, dest, name, changed, changed, aim)
    return good


def _large(base: Path, given: argparse.Namespace) -> bool:
    served = base / "served"
    served.mkdir()
    size = int(given.size * (1 << 30))
    content = random.Random(3)
    with open(served / "large", "wb") as file:
        for begin in range(0, size, 8 * _MIB):
            file.write(content.randbytes(min(8 * _MIB, size - begin)))
    dest = _copied(served, base / "dest")
    with open(served / "large", "r+b") as file:
        file.seek(size // 2 - _MIB // 2)
        file.write(content.randbytes(_MIB))
    return _updated(base, served, dest, "large", _MIB, _LARGE_AIM, _LARGE_AIM)


def _make_tree(root: Path, size: int, files: int) -> list[str]:
    """Files of many sizes, as a root file system has them, up to 400 times the smallest; their names in order."""
    content = random.Random(1)
    block = content.randbytes(32 * _MIB)
    weights = [min(content.paretovariate(1.2), 400) for _ in range(files)]
    scale = size / sum(weights)
    names = []
    for number, weight in enumerate(weights):
        name = f"{number // 1000:03}/{number:06}"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        start = content.randrange(len(block) // 2)
        with open(root / name, "wb") as file:
            file.write(number.to_bytes(8, "little"))  # so that no two are the same
            file.write(block[start : start + int(weight * scale)])
        names.append(name)
    return names


def _copied(source: Path, dest: Path) -> Path:
    finished(["cp", "-a", str(source), str(dest)], PATIENCE)
    return dest


def _updated(
    base: Path, served: Path, dest: Path, name: str, changed: int, content_aim: int, wire_aim: int | None
) -> bool:
    """Update the destination and show what that cost. Whether it was no more than the aim."""
    with serving(served, base) as master, _Counter(master.port) as counter:
        begun = time.monotonic()
        command = client(counter.port, dest, "--json", "--delete")
        environment = {**os.environ, "XDG_CACHE_HOME": str(base / "cache-of-clients")}
        done = json.loads(finished(command, PATIENCE, env=environment).splitlines()[-1])
        seconds = time.monotonic() - begun
        update = Update(name, changed, done["fetched"], counter.bytes, seconds, content_aim, wire_aim)
    finished(["diff", "-r", "--no-dereference", str(served), str(dest)], PATIENCE, stdout=subprocess.DEVNULL)
    print(update, flush=True)
    return update.good


class _Counter:
    """A relay on a port of its own that counts what passes, both ways."""

    def __init__(self, port: int) -> None:
        self.bytes = 0
        self._server = port
        self._lock = threading.Lock()
        self._listening = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> _Counter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection((HOST, self._server))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_MIB):
                with self._lock:
                    self.bytes += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main())

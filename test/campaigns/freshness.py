"""Whether each client gets what changed just before it started, in a large directory.

    python -m test.campaigns.freshness [--files 100000] [--changes 200] [--seed 1]

For each change: something in the directory is moved, copied, truncated, touched, deleted, or gets another mode. Then,
at most 0.2 seconds later, a client starts. When it ends with status 0, its destination must be what the directory is.
Prints a line for each change that a client did not get, and one with the counts and times. The exit status is 1 if
there is any such change.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from test.support.cluster import Cluster, eventually

_FILES_A_DIRECTORY = 100
_KINDS = ("move", "move in", "copy", "truncate", "touch", "chmod", "delete", "write", "append to an open file")


class Directory:
    """The directory that is served, and what it must be at a client."""

    def __init__(self, root: Path, files: int, rng: random.Random) -> None:
        self.root = root
        self._random = rng
        self._files: list[Path] = []
        self._created = 0
        for number in range(-(-files // _FILES_A_DIRECTORY)):
            (root / f"d{number}").mkdir(parents=True)
        for number in range(files):
            path = root / f"d{number // _FILES_A_DIRECTORY}" / f"f{number}"
            path.write_bytes(b"%d\n" % number)
            self._files.append(path)
        self._log = open(root / "log", "ab", buffering=0)  # noqa: SIM115  # open until the end: that is the case

    def change(self, kind: str) -> Path:
        """Change something in this way. Returns where."""
        index = self._random.randrange(len(self._files))
        path = self._files[index]
        match kind:
            case "move":
                self._files[index] = path.rename(self._new(path.parent))
            case "move in":
                outside = self.root.parent / "outside"
                outside.write_bytes(self._random.randbytes(100))
                outside.rename(path)
            case "copy":
                self._files.append(Path(shutil.copy2(path, self._new(path.parent))))
            case "truncate":
                os.truncate(path, self._random.randrange(3))
            case "touch":
                path.touch()
            case "chmod":
                path.chmod(self._random.choice((0o600, 0o640, 0o644, 0o755)))
            case "delete":
                self._files.pop(index).unlink()
            case "write":
                path.write_bytes(self._random.randbytes(50))
            case _:
                self._log.write(b"line\n")
                path = self.root / "log"
        return path

    def _new(self, directory: Path) -> Path:
        self._created += 1
        return directory / f"new{self._created}"


def state(root: Path) -> dict[str, tuple[int, int, int]]:
    """Path -> mode, size, mtime of everything below a directory."""
    found: dict[str, tuple[int, int, int]] = {}
    unvisited = [str(root)]
    while unvisited:
        with os.scandir(unvisited.pop()) as listing:
            for entry in listing:
                status = entry.stat(follow_symlinks=False)
                found[entry.path[len(str(root)) :]] = status.st_mode, status.st_size, status.st_mtime_ns
                if entry.is_dir(follow_symlinks=False):
                    unvisited.append(entry.path)
    return found


def run(base: Path, files: int, changes: int, seed: int) -> int:
    rng = random.Random(seed)
    directory = Directory(base / "served", files, rng)
    dest = base / "dest"
    cluster = Cluster(base)
    wrong, seconds = 0, []
    try:
        master = cluster.master(directory.root, "--cache", str(base / "cache"))
        eventually(lambda: master.status()["notices"], "changes are not noticed", 120)
        assert cluster.get(master, dest, options=["--delete"]).status == 0
        for number in range(changes):
            kind = _KINDS[number % len(_KINDS)]
            path = directory.change(kind)
            time.sleep(rng.uniform(0, 0.2))
            begun = time.monotonic()
            ended = cluster.get(master, dest, options=["--delete"])
            seconds.append(time.monotonic() - begun)
            copy = dest / path.relative_to(directory.root)
            same = not path.exists() or (copy.exists() and path.read_bytes() == copy.read_bytes())
            if ended.status or not same or state(directory.root) != state(dest):
                wrong += 1
                print(f"{kind} of {path}: status {ended.status} {ended.stderr}", flush=True)
    finally:
        cluster.close()
    print(
        f"{files} files, seed {seed}: {changes - wrong} of {changes} changes right;"
        f" a client took {statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s (longest)"
    )
    return int(wrong > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xget-freshness-") as base:
        return run(Path(base), arguments.files, arguments.changes, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())

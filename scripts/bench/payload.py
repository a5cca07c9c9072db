"""The payload: files with content generated from a seed, and the check that a node has received them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3

_SEED = 20004
_STEP = 1 << 20
_A_DIRECTORY = 100
"""Files in one directory of a tree."""
SMALLEST, LARGEST = 4 << 10, 64 << 10
"""Bytes of a file in a tree."""


def expected_size(size: int, files: int) -> int:
    """Size of the payload in bytes, before it is generated."""
    return sum(length for _, length in _plan(size, files))


def _plan(size: int, files: int) -> Iterator[tuple[str, int]]:
    if not files:
        yield "payload", size
    lengths = random.Random(_SEED)
    for number in range(files):
        yield f"tree/{number // _A_DIRECTORY:03}/{number:06}", lengths.randint(SMALLEST, LARGEST)


class Payload:
    """The files below `root`, generated from a seed: the same for every tool and run."""

    def __init__(self, root: Path, size: int, files: int) -> None:
        self.root = root
        self.is_tree = bool(files)
        self.files = [Path(name) for name, _ in _plan(size, files)]
        self.size = 0
        self._digests: dict[Path, bytes] = {}
        content = random.Random(_SEED)
        for name, length in _plan(size, files):
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = blake3()
            with target.open("wb") as file:
                for offset in range(0, length, _STEP):
                    data = content.randbytes(min(_STEP, length - offset))
                    digest.update(data)
                    file.write(data)
            self._digests[Path(name)] = digest.digest()
            self.size += length

    def check(self, landed: list[Path]) -> dict[Path, str]:
        """Compare these directories with the payload. Returns the differences by directory."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(self._check_one, landed)
        return {directory: wrong for directory, wrong in zip(landed, found, strict=True) if wrong}

    def _check_one(self, directory: Path) -> str:
        for name, digest in self._digests.items():
            try:
                size = (directory / name).stat().st_size
                if size != (self.root / name).stat().st_size:
                    return f"{name} has {size} bytes"
                if blake3().update_mmap(directory / name).digest() != digest:
                    return f"{name} has wrong content"
            except OSError as error:
                return f"{name}: {error.strerror}"
        return ""

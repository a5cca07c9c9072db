"""The payload: files with content generated from a seed, and the check that a node has received them."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3

from .cases import Case

_SEED = 20004
_STEP = 1 << 20
_A_DIRECTORY = 100
"""Files in one directory of a tree."""
_REPEATED = 512
"""Bytes that repeat in compressible content, and bytes of chance after each."""
_PAGE = random.Random(_SEED + 1).randbytes(_REPEATED)
_AGE = 3600
"""Seconds since a file was written, as far as its time says: tools do not trust files that are new."""


def expected_size(case: Case) -> int:
    """Size of all files in bytes, before they are generated."""
    return sum(length for _, length in _plan(case))


def _plan(case: Case) -> Iterator[tuple[str, int]]:
    if not case.files:
        yield "payload", case.size
    lengths = random.Random(_SEED)
    for number in range(case.files):
        yield f"tree/{number // _A_DIRECTORY:03}/{number:06}", lengths.randint(case.smallest, case.largest)


class Payload:
    """The files below `root`, generated from a seed: the same for every tool and run."""

    def __init__(self, root: Path, case: Case) -> None:
        self.root = root
        self.is_tree = bool(case.files)
        self.is_update = bool(case.changed)
        self._compressible = case.compressible
        self._content = random.Random(_SEED)
        self._sizes = {Path(name): length for name, length in _plan(case)}
        self.files = list(self._sizes)
        self.size = sum(self._sizes.values())
        """Bytes of what a node has to get: of all files, or of those that have changed."""
        self._digests: dict[Path, bytes] = {}
        age = time.time() - _AGE
        for name in self.files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            self._write(name)
            os.utime(root / name, (age, age))

    def change(self, count: int) -> None:
        """Give so many files in the middle new content of the same size."""
        begin = (len(self.files) - count) // 2
        changed = self.files[begin : begin + count]
        for name in changed:
            self._write(name)
        self.size = sum(self._sizes[name] for name in changed)

    def _write(self, name: Path) -> None:
        digest = blake3()
        length = self._sizes[name]
        with (self.root / name).open("wb") as file:
            for offset in range(0, length, _STEP):
                data = self._generated(min(_STEP, length - offset))
                digest.update(data)
                file.write(data)
        self._digests[name] = digest.digest()

    def _generated(self, length: int) -> bytes:
        if not self._compressible:
            return self._content.randbytes(length)
        chance = self._content.randbytes(-(-length // 2 // _REPEATED) * _REPEATED)
        parts = (_PAGE + chance[offset : offset + _REPEATED] for offset in range(0, len(chance), _REPEATED))
        return b"".join(parts)[:length]

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

"""How far a snapshot is, and whether it gets on: a disk that hangs must not keep clients waiting without end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_HANGS = 10.0
"""Seconds without progress after which a disk counts as hanging. A piece of 1 MiB takes that at 100 kB/s."""


class Progress:
    """Owned by the master; `take_snapshot` updates it. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.pieces = 0
        """That must be hashed, as far as known."""
        self.hashed = 0
        """Of these."""
        self.scan_seconds = 0.0
        """How long the last scan took, without hashing."""
        self._reads = False
        self._got_on = 0.0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Workers read the disk inside the `with`. Other work needs no disk and always ends."""
        self._reads = True
        self.got_on()
        try:
            yield
        finally:
            self._reads = False

    def got_on(self) -> None:
        """Something was read."""
        self._got_on = time.monotonic()

    @property
    def hangs(self) -> int:
        """Seconds since anything was read if the disk seems to hang, else 0."""
        seconds = time.monotonic() - self._got_on
        return int(seconds) if self._reads and seconds >= _HANGS else 0

    @property
    def percent(self) -> int:
        """How much is hashed of what must be."""
        return min(100, 100 * self.hashed // self.pieces) if self.pieces else 0

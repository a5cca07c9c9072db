"""How far the work on a snapshot is, for another thread that wants to know whether it gets on: a disk may hang."""

from __future__ import annotations


class Steps:
    """Counts names that were scanned and pieces that were hashed. One thread or several count, any may read."""

    def __init__(self) -> None:
        self.done = 0

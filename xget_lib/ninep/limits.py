"""How much sessions may take: each for itself (`session`), and all of a process together.

Whoever asks for more is refused with an error and goes on with what he has. The numbers are far above what a client
needs and far below what a process has: they are for a client with a bug, or one that means harm.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

MAX_FIDS = 65536
"""Of one session. Linux keeps a fid for every name that it caches (`cache=loose`), and this is a large cache."""
MAX_TAGS = 1024
"""Requests of one session without a reply. Linux has 64 at most on their way by default, our own clients fewer."""
MAX_OPEN = 4096
"""Open files of one session: as many as some programs of one machine have open, and each may be a descriptor here."""
MAX_WAITING = 256
"""Reads of one session that wait. All are asked again when anything changes; our own clients have 5, the C program's
3, a mounted file system one for each process that waits, and who reads ahead at a node that is half done some more."""
ALL_PLACES = 2_000_000
"""On the ways to all fids of one process, from the roots on: 0.8 KB each, so 1.6 GB if no two fids share any. Linux
walks from a directory's fid to what is in it, and so its fids share nearly all."""


class Budget:
    """How many of something there may be in this process, whoever has them."""

    def __init__(self, limit: int = sys.maxsize) -> None:
        self.limit = limit
        self.used = 0

    @property
    def spent(self) -> bool:
        return self.used >= self.limit

    def take(self, count: int = 1) -> bool:
        """Whether there were so many left; they are taken then."""
        if self.used + count > self.limit:
            return False
        self.used += count
        return True

    def give_back(self, count: int = 1) -> None:
        self.used -= count


@dataclass(frozen=True)
class Shared:
    """What all sessions of a process share; by default as much as anybody wants."""

    places: Budget = field(default_factory=Budget)
    """What fids stand for, and all that is on the way there."""
    open_files: Budget = field(default_factory=Budget)
    """Open fids: at most one descriptor each."""
    extents: Budget = field(default_factory=Budget)
    """Descriptors of files that are just being sent."""

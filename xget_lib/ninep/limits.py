"""Limits on what sessions may take: each by itself (`session`), and all sessions of a process together.

A request beyond a limit is refused with an error, and the session continues. The numbers are far above what a client
needs and far below what a process has: they stop clients that have a bug or are malicious.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

MAX_FIDS = 65536
"""Of one session. Linux keeps a fid for every name that it caches (`cache=loose`), and this is a large cache."""
MAX_TAGS = 1024
"""Requests of one session without a reply. Linux has 64 in flight at most by default, our own clients fewer."""
MAX_OPEN = 4096
"""Open files of one session: as many as some programs of one machine have open, and each may be a descriptor here."""
MAX_WAITING = 256
"""Reads of one session that wait. All are asked again when anything changes. Our own clients have 5, the C program's 3,
a mounted file system one for each process that waits, plus its read-ahead on a node that is still downloading."""
MAX_WALKED = 2_000_000
"""Files on the ways from the roots to all fids of one process: 0.8 KB each, so 1.6 GB if no two fids share any. Linux
walks from a directory's fid to what is in it, so its fids share nearly all."""


class Budget:
    """How many of something there may be in this process, in all sessions together."""

    def __init__(self, limit: int = sys.maxsize) -> None:
        self.limit = limit
        self.used = 0

    @property
    def spent(self) -> bool:
        return self.used >= self.limit

    def take(self, count: int = 1) -> bool:
        """Take `count` and return True. If fewer are left, take none and return False."""
        if self.used + count > self.limit:
            return False
        self.used += count
        return True

    def give_back(self, count: int = 1) -> None:
        self.used -= count


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one session may take, and the budgets that it shares with the other sessions of the process; these are
    unlimited by default."""

    max_fids: int = MAX_FIDS
    max_tags: int = MAX_TAGS
    max_open: int = MAX_OPEN
    max_waiting: int = MAX_WAITING
    walked_files: Budget = field(default_factory=Budget)
    """The files that fids stand for, and all on the way there."""
    open_files: Budget = field(default_factory=Budget)
    """Open fids: at most one descriptor each."""
    extents: Budget = field(default_factory=Budget)
    """Descriptors of files that are being sent."""

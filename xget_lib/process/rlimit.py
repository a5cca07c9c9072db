"""How many descriptors a process may have, and what they are for: each purpose has its part, and none takes another's.

Where a process runs out of them, not only strangers are refused: a worker could not take over a connection any more,
nor a node open the file that it is about to write.
"""

from __future__ import annotations

import resource

MOST = 1 << 20
"""As many as anybody needs. The limit may be a thousand times that, and some things cost time for each."""
_PARTS = 4
"""Connections; files that strangers have open; files that are being sent to them; everything else."""


def raise_limit() -> None:
    """From now on this process, and those that it forks, may have as many as the administrator allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def part() -> int:
    """The descriptors that one purpose may have in this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)) // _PARTS

"""How many descriptors a process may have. Each purpose has its own part of them.

If strangers could use up all of them, a worker could not take over a connection any more, and a node could not open the
file that it is about to write.
"""

from __future__ import annotations

import resource

_MOST = 1 << 20
"""Enough for any server. The limit may be a thousand times that, and some calls take time for each descriptor."""
_PARTS = 4
"""Connections; files that clients have open; files that are being sent to them; everything else."""


def raise_limit() -> None:
    """Let this process, and those that it forks, have as many descriptors as the administrator allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def part() -> int:
    """The descriptors that one purpose may have in this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (_MOST if soft == resource.RLIM_INFINITY else min(soft, _MOST)) // _PARTS

"""How many descriptors a process may have. Each purpose has its own part of them.

If strangers could use up all of them, a worker could not take over a connection any more, and a node could not open the
file that it is about to write.
"""

from __future__ import annotations

import resource

from xget_lib.errors import Failed

_MOST = 1 << 20
"""Enough for any server. The limit may be a thousand times that, and some calls take time for each descriptor."""
_PARTS = 4
"""Connections; files that clients have open; files that are being sent to them; everything else."""


MASTER_NEEDS, WORKER_NEEDS, CLIENT_NEEDS = 96, 2, 128
"""Descriptors: of a master, and besides for each worker; of a client. Fewer end a transfer in the middle."""


def raise_limit(needed: int) -> None:
    """Let this process, and those that it forks, have as many descriptors as the administrator allows.

    Raises Failed if these are fewer than `needed`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Failed("limit of open files", f"{hard} is too low, {needed} are needed (ulimit -n, or LimitNOFILE)")


def part() -> int:
    """The descriptors that one purpose may have in this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (_MOST if soft == resource.RLIM_INFINITY else min(soft, _MOST)) // _PARTS

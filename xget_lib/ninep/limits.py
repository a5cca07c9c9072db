"""Limits on what sessions may take: each by itself, each host, and all sessions of a process together (`budget`).

A request beyond a limit is refused with an error, and the session continues. The numbers are far above what a client
needs and far below what a process has: they stop clients that have a bug or are malicious.
"""

from __future__ import annotations

from xget_lib.dataclass import dataclass, field
from xget_lib.ninep.budget import Budget

MAX_FIDS = 65536
"""Of one session. Linux keeps a fid for every name that it caches (`cache=loose`), and this is a large cache."""
MAX_TAGS = 256
"""Requests of one session that wait for their turn. A session that has so many reads no further ones until it has
answered these. Linux has 64 in flight at most by default, our own clients fewer."""
MAX_OPEN = 4096
"""Open files of one session: as many as some programs of one machine have open, and each may be a descriptor here."""
MAX_WAITING = 256
"""Reads of one session that wait. All are asked again when anything changes. Our own clients have 5, the C program's 3,
a mounted file system one for each process that waits, plus its read-ahead on a node that is still downloading."""
MAX_REQUEST = 64 * 1024
"""Bytes of one request: the largest write of our own clients has 60 KiB. What is longer is not kept in memory; it is
answered with an error."""
MAX_QUEUED_BYTES = 256 * 1024
"""Bytes of requests of one session that wait for their turn, as for MAX_TAGS."""

MEMORY = 256 << 20
"""Bytes that all sessions of one process keep for their clients, estimated. Ten thousand nodes need a third of it."""
MEMORY_OF_HOST = 48 << 20
"""Bytes of these for one host. A mounted file system that knows 40,000 files needs as much."""
WAITING_OF_PROCESS = 65536
"""Reads that wait in one process."""
WAITING_OF_HOST = 16384
"""Reads of one host that wait: 2,000 nodes may be behind one address."""
SLOTS_OF_PROCESS = 65536
"""Slots that the clients of one process have requested at once (`serve.swarm`)."""
SLOTS_OF_HOST = 4096
"""Slots of one host: a node requests two from its master, and 2,000 nodes may be behind one address."""

FID_COST = 256
WALKED_COST = 768
REQUEST_COST = 512
TEXTS_COST = 1024
"""Estimated bytes of memory, measured with CPython 3.11: of a fid, of a file that was walked to, of a request that
waits; and of the names in a request that is not short, besides its length."""
SHORT_REQUEST = 64
"""Bytes of a request that has few names, or none."""
RECEIVED_COST = 2
"""Bytes of memory for each byte that has arrived of a message: memory of different sizes is fragmented."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one session may take, and the budgets that it shares with the other sessions of the process; these are
    unlimited by default."""

    max_fids: int = MAX_FIDS
    max_tags: int = MAX_TAGS
    max_open: int = MAX_OPEN
    max_waiting: int = MAX_WAITING
    memory: Budget = field(default_factory=Budget)
    """Bytes, estimated: of fids and the files on the way to them, requests that wait, messages that arrive or are sent
    in parts, and what open files keep."""
    open_files: Budget = field(default_factory=Budget)
    """Open fids: at most one descriptor each."""
    waiting: Budget = field(default_factory=Budget)
    """Reads that wait."""
    extents: Budget = field(default_factory=Budget)
    """Descriptors of files that are being sent."""

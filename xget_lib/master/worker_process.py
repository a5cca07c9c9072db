"""One worker process, as the master sees it. `workers` has the pool of them."""

from __future__ import annotations

import time
from collections import Counter

from gevent.event import AsyncResult

from xget_lib import ipc
from xget_lib.dataclass import dataclass, field
from xget_lib.master.outbox import Outbox
from xget_lib.process.channel import Channel

JobAnswer = tuple[ipc.Done | ipc.JobFailed, list[int]] | None
"""The answer to a job, with its descriptors; None if the worker has ended."""


@dataclass(eq=False)
class WorkerProcess:
    """Owned by the WorkerPool, from the start of the process until it has ended."""

    pid: int
    channel: Channel
    """To receive from."""
    outbox: Outbox = field(init=False)
    """To send to."""
    connections: dict[int, str] = field(default_factory=dict)
    """By number: the host of each."""
    hosts: Counter[str] = field(default_factory=Counter)
    """How many connections each host has."""
    jobs: dict[int, AsyncResult[JobAnswer]] = field(default_factory=dict)
    """By number: where the answer to each job goes."""
    last_message: float = field(default_factory=time.monotonic)
    """When it came, in monotonic seconds."""
    pings: int = 0
    """Sent since its last message."""
    last_words: str = ""
    """Why it ends, if it says so."""
    sent: int = 0
    """Bytes of content that it has sent to clients."""
    encrypts: str = ""
    """Where it encrypts those of TLS connections (`net.server.Server.encrypts`)."""

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.channel)

    def connected(self, number: int, host: str) -> None:
        """It serves a connection."""
        self.connections[number] = host
        self.hosts[host] += 1

    def ended(self, number: int) -> None:
        """It serves a connection no longer."""
        host = self.connections.pop(number, None)
        if host is not None:
            self.hosts[host] -= 1
            if not self.hosts[host]:
                del self.hosts[host]

    @property
    def is_late(self) -> bool:
        """Whether it has not answered a ping before the next one was sent. It may be stopped: others come first."""
        return self.pings > 1

    def close(self) -> None:
        """It has ended."""
        self.outbox.close()
        self.channel.close()

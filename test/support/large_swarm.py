"""A swarm in which a master tells further nodes to ask their peers first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from test.support.cluster import Master
from test.support.plain_client import PlainClient
from xget_lib.swarm.messages import Registration
from xget_lib.swarm.tuning import TUNING


def registration(master: Master, port: int) -> bytes:
    status = master.status()
    return Registration(port, bytes.fromhex(status["generation"]), 0).encode()


@contextmanager
def large_swarm(master: Master, port: int) -> Iterator[None]:
    """As many members as the master has take from it, all of which serve on one port."""
    said = registration(master, port)
    with ExitStack() as stack:
        for _ in range(TUNING.first_tier):
            member = stack.enter_context(PlainClient(master.port, "swarm"))
            peers = member.open("peers", mode=2)
            member.write(peers, said)
            member.read(peers, 0, 64 * 1024)
        yield

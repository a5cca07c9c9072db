"""How often a node connects to a host that does not answer as a server does.

Who names peers, or registers as one, can name any port of a host, and a host that others name need not have anything to
do with the swarm. So attempts count for the host, whatever the port: after some in a row without an answer, one more is
made after each pause, and the pauses grow.
"""

from __future__ import annotations

from collections import OrderedDict
from random import Random

from xget_lib.swarm.backoff import Backoff
from xget_lib.swarm.hosts import host_of

TRIES = 12
"""Attempts in a row without an answer, after which each further one follows a pause."""
FIRST_REST, LONGEST_REST = 60.0, 600.0
"""Seconds of such a pause, at first and at most; half of it at least."""
_REMEMBERED = 4096
"""Hosts that are remembered, at most."""


class _Attempts:
    """Those in a row at one host."""

    def __init__(self, rng: Random) -> None:
        self.rest = Backoff(rng, FIRST_REST, LONGEST_REST)
        self.count = 0
        self.until = 0.0
        """When the pause ends, if there is one."""


class HostAttempts:
    """One in each node, for all connections that it makes to peers. Times are monotonic seconds."""

    def __init__(self, rng: Random) -> None:
        self._random = rng
        self._hosts: OrderedDict[str, _Attempts] = OrderedDict()
        """The last tried at the end. Without those that have answered."""

    def may_try(self, address: str, now: float) -> bool:
        """Whether a connection to this address may be made now."""
        attempts = self._hosts.get(host_of(address))
        return attempts is None or attempts.count < TRIES or attempts.until <= now

    def tried(self, address: str, now: float) -> None:
        """A connection to this address is being made."""
        host = host_of(address)
        attempts = self._hosts.pop(host, None) or _Attempts(self._random)
        attempts.count += 1
        if attempts.count >= TRIES:
            attempts.until = now + attempts.rest.next()
        self._hosts[host] = attempts
        if len(self._hosts) > _REMEMBERED:
            self._hosts.popitem(last=False)

    def answered(self, address: str) -> None:
        """A server at this address answers."""
        self._hosts.pop(host_of(address), None)

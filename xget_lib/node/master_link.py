"""A node's connection to its master for small messages, made again whenever it is lost.

On this connection the node registers, reads the addresses of its peers, has its slots, and writes to the master's log.
Content travels on other connections, so that no message waits for a megabyte of content. The pauses between two tries
grow, since many nodes may boot at once, and before their master.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum, auto
from math import inf
from typing import TypeVar

import gevent

from xget_lib.errors import LinkLost, MasterUnreachable, NinepError, ProtocolViolation
from xget_lib.net.link import Link, Remote
from xget_lib.ninep.messages import ORDWR
from xget_lib.report.log import LOGGER
from xget_lib.serve.attach import SWARM
from xget_lib.swarm.backoff import Backoff
from xget_lib.swarm.messages import LINE_LIMIT, Address, News, Registration, Scanning

ANSWER = 30.0
"""Seconds within which a server answers a request that waits for nothing."""

_T = TypeVar("_T")


class Change(Enum):
    """What happens to the connection."""

    CONNECTED = auto()
    LOST = auto()


def retry_for(seconds: float, attempt: Callable[[float], _T], *failures: type[Exception]) -> _T:
    """Return what `attempt(seconds left)` returns, trying again after these failures, with growing pauses. Raises the
    last failure when the time is over."""
    deadline = time.monotonic() + seconds
    backoff = Backoff(random.Random())
    while True:
        pause = backoff.next()
        try:
            return attempt(max(deadline - time.monotonic(), 0.1))
        except failures as error:
            if deadline - time.monotonic() <= pause:
                raise
            LOGGER.debug("trying again: %s", error)
        gevent.sleep(pause)


class MasterLink:
    """One for the life of a node. Call `begin`, then iterate over `events` until the node ends."""

    def __init__(self, host: str, port: int, *, serving_port: int | None, follows: bool = False) -> None:
        """`serving_port` is where this node serves; None if it does not serve. `follows`: as in a Registration."""
        self.host = host
        self.port = port
        self.link: Link | None = None
        """The connection; None while there is none."""
        self._serving_port = serving_port
        self._peers: Remote | None = None
        self._registration = Registration(serving_port or 1, b"", 0, follows)
        self._why_lost = "no answer"

    @property
    def address(self) -> Address:
        return self.host, self.port

    def begin(self, seconds: float) -> None:
        """Connect within this many seconds. Raises MasterUnreachable."""
        try:
            retry_for(seconds, self._connect, LinkLost, NinepError)
        except (LinkLost, NinepError):
            raise self.unreachable(seconds) from None

    def events(self) -> Iterator[Change | News | Scanning]:
        """What happens, for ever. Connects again when the connection is lost."""
        while True:
            yield Change.CONNECTED
            assert self._peers is not None
            try:
                yield from self._read_news(self._peers)
            except (LinkLost, NinepError, ProtocolViolation) as error:
                LOGGER.warning("connection to the master lost: %s", error)
            if self.link is not None:
                self.link.close()
                self.link = None
            yield Change.LOST
            gevent.sleep(Backoff(random.Random()).next())  # the other nodes connect again too
            retry_for(inf, lambda left: self._connect(ANSWER), LinkLost, NinepError)
            LOGGER.info("connected to the master again")

    def unreachable(self, seconds: float) -> MasterUnreachable:
        """The error after this many seconds without a connection."""
        return MasterUnreachable(self.host, self.port, round(seconds), self._why_lost)

    def set_registration(self, generation: bytes, held: int) -> None:
        """What `register` sends from now on. It is also the first message on each new connection."""
        self._registration = replace(self._registration, generation=generation, held=held)

    def register(self) -> None:
        """Tell the master what this node serves, if it is connected."""
        if self._peers is not None and self.link is not None and self._serving_port is not None:
            try:
                self._peers.write(0, self._registration.encode(), ANSWER)
            except (LinkLost, NinepError) as error:
                LOGGER.debug("registration not sent: %s", error)  # it is repeated on the next connection

    def peer_registration(self, generation: bytes) -> bytes | None:
        """The registration for a peer from which this node downloads a generation; None if this node does not serve."""
        if self._serving_port is None:
            return None
        return Registration(self._serving_port, generation, 0).encode()

    def remark(self, line: str) -> None:
        """Write a line to the master's log, if it is connected."""
        try:
            if self.link is not None:
                log = self.link.open("log", ANSWER, ORDWR)
                log.write(0, line.encode()[:LINE_LIMIT], ANSWER)
                log.close(ANSWER)
        except (LinkLost, NinepError) as error:
            LOGGER.debug("message to the log of the master not sent: %s", error)

    def _connect(self, seconds: float) -> None:
        try:
            link = Link.connect(*self.address, SWARM, seconds)
            try:
                peers = link.open("peers", ANSWER, ORDWR)
                if self._serving_port is not None:
                    peers.write(0, self._registration.encode(), ANSWER)
            except BaseException:
                link.close()
                raise
        except (LinkLost, NinepError) as error:
            self._why_lost = str(error).removeprefix(f"{self.host}:{self.port}: ")
            raise
        self.link, self._peers = link, peers

    def _read_news(self, peers: Remote) -> Iterator[News | Scanning]:
        line = b""
        while True:
            line += peers.read(0, 64 * 1024, None)
            if not line:
                raise LinkLost(peers.link.name, "unexpected end of the file peers")
            if len(line) > 64 * LINE_LIMIT:
                raise ProtocolViolation("peers: line too long")
            if line.endswith(b"\n"):
                yield Scanning.decode(line) or News.decode(line)
                line = b""

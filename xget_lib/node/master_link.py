"""A node's standing with its master: a connection for small messages only, made again whenever it is lost.

On it the node says what it serves, hears who else serves, is offered chunks, and writes to the master's log. Content
travels on other connections, so that no news waits behind a megabyte. A master that is not there yet, or not any
more, is tried again with growing pauses, a little different for each node, since nodes boot before masters and all
at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import gevent

from xget_lib.errors import LinkLost, MasterUnreachable, NinepError, ProtocolViolation
from xget_lib.net.link import Link, Remote
from xget_lib.ninep.messages import ORDWR
from xget_lib.report.log import LOGGER
from xget_lib.swarm.messages import LINE_LIMIT, News, Report
from xget_lib.swarm.tuning import TUNING

ANSWER = 30.0
"""Seconds within which a server answers a request that doesn't wait for anything."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0

_T = TypeVar("_T")


def pauses(source: random.Random) -> Iterator[float]:
    """Seconds to wait before each further try: doubling, each anywhere between half and the whole."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * source.uniform(0.5, 1.0)
        pause = min(2 * pause, _LONGEST_PAUSE)


def insist(seconds: float, attempt: Callable[[float], _T], *failures: type[Exception]) -> _T:
    """What `attempt(seconds left)` returns, which is tried again with growing pauses after these failures. Raises the
    last of them when the time is over."""
    deadline = time.monotonic() + seconds
    tries = pauses(random.Random())
    while True:
        pause = next(tries)
        try:
            return attempt(max(deadline - time.monotonic(), 0.1))
        except failures as error:
            if deadline - time.monotonic() <= pause:
                raise
            LOGGER.debug("tried again: %s", error)
        gevent.sleep(pause)


class MasterLink:
    """Keeps the connection; `on_news` is called with each piece of news, `on_link` with each new connection."""

    def __init__(self, host: str, port: int, *, serving_port: int | None, follows: bool = False) -> None:
        """`serving_port` is where this node serves; None where it doesn't. `follows`: as in a Report."""
        self.host = host
        self.port = port
        self.link: Link | None = None
        self.on_news: Callable[[News], None] = lambda news: None
        self.on_link: Callable[[Link], None] = lambda link: None
        self._serving_port = serving_port
        self._peers: Remote | None = None
        self._report = Report(serving_port or 1, b"", 0, follows)
        self._reporting = False
        self._reported = time.monotonic()
        self._reason = "no answer"

    def begin(self, seconds: float) -> None:
        """Connect, within so many seconds. Raises MasterUnreachable."""
        try:
            insist(seconds, self._connect, LinkLost, NinepError)
        except (LinkLost, NinepError) as error:
            self._reason = str(error).removeprefix(f"{self.host}:{self.port}: ")
            raise self.unreachable(seconds) from None
        gevent.spawn(self._keep)

    def unreachable(self, seconds: float) -> MasterUnreachable:
        """The error that says so, after so many seconds."""
        return MasterUnreachable(self.host, self.port, round(seconds), self._reason)

    def report(self, generation: bytes, held: int) -> None:
        """What this node serves now. The master hears of another generation at once, else not more often than every
        few seconds; that a node that had nothing knows its first generation now is nothing to hear at once."""
        if generation != self._report.generation and (held or self._report.generation):
            self._reported = -TUNING.report_pause
        self._report = replace(self._report, generation=generation, held=held)
        if not self._reporting:
            self._reporting = True
            gevent.spawn_later(max(0.0, self._reported + TUNING.report_pause - time.monotonic()), self.report_now)

    def report_now(self) -> None:
        """Say what was reported last, where the master is reached."""
        self._reporting = False
        self._reported = time.monotonic()
        if self._peers is not None and self.link is not None and self._serving_port is not None:
            try:
                self._peers.write(0, self._report.encode(), ANSWER)
            except (LinkLost, NinepError) as error:
                # What reads the news on the same connection sees to it; the report is repeated then.
                LOGGER.debug("not reported: %s", error)

    def introduction(self, generation: bytes) -> bytes | None:
        """What is said to a peer whose content of a generation is taken; None where this node serves nobody."""
        if self._serving_port is None:
            return None
        return Report(self._serving_port, generation, 0).encode()

    def remark(self, line: str) -> None:
        """A line for the master's log; lost where the master is not reached."""
        gevent.spawn(self._remark, line)

    def _connect(self, seconds: float) -> None:
        link = Link.connect(self.host, self.port, "swarm", seconds)
        try:
            peers = link.open("peers", ANSWER, ORDWR)
            if self._serving_port is not None:
                peers.write(0, self._report.encode(), ANSWER)
        except BaseException:
            link.close()
            raise
        self.link, self._peers = link, peers
        gevent.spawn(self.on_link, link)

    def _keep(self) -> None:
        """Read news for ever; connect again when the connection is lost."""
        while True:
            assert self._peers is not None
            try:
                self._read_news(self._peers)
            except (LinkLost, NinepError, ProtocolViolation) as error:
                LOGGER.warning("the master is lost: %s", error)
            if self.link is not None:
                self.link.close()
                self.link = None
            for pause in pauses(random.Random()):
                gevent.sleep(pause)
                try:
                    self._connect(ANSWER)
                    LOGGER.info("the master is back")
                    break
                except (LinkLost, NinepError) as error:
                    self._reason = str(error)
                    LOGGER.debug("the master is not reached: %s", error)

    def _read_news(self, peers: Remote) -> None:
        line = b""
        while True:
            line += peers.read(0, 64 * 1024, None)
            if not line:
                raise LinkLost(peers.link.name, "no more news")
            if len(line) > 64 * LINE_LIMIT:
                raise ProtocolViolation("a line of news without end")
            if line.endswith(b"\n"):
                self.on_news(News.decode(line))
                line = b""

    def _remark(self, line: str) -> None:
        try:
            if self.link is not None:
                log = self.link.open("log", ANSWER, ORDWR)
                log.write(0, line.encode()[:LINE_LIMIT], ANSWER)
                log.close(ANSWER)
        except (LinkLost, NinepError) as error:
            LOGGER.debug("not said to the master: %s", error)

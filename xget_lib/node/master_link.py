"""A node's connection to its master for small messages, made again whenever it is lost.

On this connection the node registers, reads the addresses of its peers, has its slots, and writes to the master's log.
Content travels on other connections, so that no message waits for a megabyte of content. The pauses between two tries
grow, since many nodes may boot at once, and before their master.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from enum import Enum, auto
from itertools import islice
from math import inf

import gevent

from xget_lib.config import Network
from xget_lib.dataclass import asdict, dataclass, replace
from xget_lib.errors import LinkLost, MasterUnreachable, NinepError, NotAdmitted, ProtocolViolation, XGetError
from xget_lib.net.link import Link, Remote
from xget_lib.net.receive_limit import ReceiveLimit
from xget_lib.ninep import messages
from xget_lib.ninep.auth import MASTER, Credentials
from xget_lib.ninep.messages import ORDWR
from xget_lib.node.attempts import LEAST, first_of, retry_for
from xget_lib.node.awake import now
from xget_lib.node.source import send
from xget_lib.report.log import LOGGER
from xget_lib.report.waiting import Wait
from xget_lib.serve.attach import SWARM
from xget_lib.swarm.addresses import usable
from xget_lib.swarm.backoff import Backoff
from xget_lib.swarm.messages import (
    DONE,
    LINE_LIMIT,
    NEWS_LIMIT,
    NOTHING_FETCHED,
    REACHED_LIMIT,
    Address,
    Fetched,
    News,
    Registration,
    Scanning,
)
from xget_lib.swarm.seal import SealCheck

ANSWER = 30.0
"""Seconds within which a server answers a request that waits for nothing."""

_LAST_ANSWER = 2.0
"""Seconds within which the master must answer a node that would end otherwise."""

_IDLE_PROBE = 60.0
"""Seconds between two questions whether the master still answers, while nothing is waited for (`node.patience`). A
connection on which the master does not answer for as long is given up."""

_NEWS_APART = 0.05
"""Seconds between two lines of news, at least: each costs this node time, and new peers connections."""
_LONGEST_PAUSE = 30.0
"""Seconds before the connection is made again to a master that sends no valid news, at most."""

_REACHED_MOST = 256
"""Peers that are remembered until the master is told."""
_SOON = 1.0
"""Seconds without an answer that are nothing to talk about."""


class Change(Enum):
    """What happens to the connection."""

    CONNECTED = auto()
    LOST = auto()


def _within(deadline: float) -> float:
    """Seconds for an answer, until a deadline."""
    return min(ANSWER, max(deadline - now(), LEAST))


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection on which this node is registered."""

    link: Link
    peers: Remote
    hosts: tuple[str, str]
    """The addresses of its two ends."""

    def close(self) -> None:
        self.link.close()


class MasterLink:
    """One for the life of a node: first `begin`, then `events`, for ever.

    A master that hangs keeps its connections. So whoever waits calls `probe`, and `silent` says for how long there has
    been no answer, whatever the reason.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        serving_port: int | None,
        follows: bool = False,
        credentials: Credentials | None = None,
        allow: tuple[Network, ...] = (),
        name: str = "",
        identity: str = "",
        limit: ReceiveLimit | None = None,
    ) -> None:
        """`serving_port` is where this node serves; None if it does not serve. `follows`, `name`, `identity`: as in a
        Registration. `credentials` are for all connections of this node. `allow`: the peers that it may connect to;
        empty: all. `limit`: of what this node receives on connections for content."""
        self.limit = limit
        self.host = host
        self.port = port
        self.credentials = credentials or Credentials()
        self.link: Link | None = None
        """The connection; None while there is none."""
        self._serving_port = serving_port
        self._allow = allow
        self._peers: Remote | None = None
        self._local_host = self._remote_host = ""
        """The addresses of the two ends of the connection."""
        self._registration = Registration(serving_port or 1, b"", 0, follows, name=name, identity=identity)
        self._reached: dict[Address, None] = {}
        """Peers that this node has connected to, and not told the master."""
        self._why_lost = "no answer"
        self._trouble = ""
        """Why the last connection was lost, if there has been no news since."""
        self._refusal: NotAdmitted | None = None
        """Why no connection could be made, if one side refused the other the last time."""
        self.distrusted: NotAdmitted | None = None
        """Why nothing that comes from the master can be believed; None after a line that can."""
        self.content_refusal: NotAdmitted | None = None
        """Why there is no connection for content, if one side refused the other the last time."""
        self._lost_at = now()
        """When the connection was lost, or the first was begun."""
        self._asked_at: float | None = None
        """When the master was asked whether it answers; None if it has."""
        self._renewing: gevent.Greenlet[..., None] | None = None
        """While another connection is being made beside a silent one."""
        self._spare: _Opened | None = None
        """A connection that takes the place of the present one."""

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def registration(self) -> Registration:
        """What the master is told of this node."""
        return self._registration

    @property
    def where(self) -> str:
        """The master as -n takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """The master, in messages."""
        return f"the master at {self.host} port {self.port}"

    @property
    def name_and_trouble(self) -> str:
        """The same, and what was wrong with the last connection that was lost."""
        return f"{self.name} ({self._trouble})" if self._trouble else self.name

    @property
    def why_silent(self) -> str:
        """Why the master does not answer, as far as it is known."""
        return self._why_lost if self.link is None else "no answer"

    @property
    def silent(self) -> float:
        """For how many seconds the master has not answered. 0 while it does."""
        since = self._lost_at if self.link is None else self._asked_at
        return 0.0 if since is None else now() - since

    @property
    def is_silent(self) -> bool:
        """Whether the master has not answered for long enough to say so."""
        return self.silent > _SOON

    def begin(self, seconds: float) -> None:
        """Connect, within so many seconds. Raises MasterUnreachable, and NotAdmitted at once."""
        self._lost_at = now()
        try:
            retry_for(seconds, self._connect, LinkLost, NinepError)
        except (LinkLost, NinepError):
            raise self.unreachable() from None

    def probe(self, pause: float) -> None:
        """Ask the master whether it still answers, if it has sent nothing for so many seconds: see `silent`."""
        link = self.link
        if link is None or self._asked_at is not None or time.monotonic() - link.last_received < pause:
            return

        def answered(reply: messages.Message | LinkLost) -> None:
            if link is self.link and not isinstance(reply, LinkLost):
                self._asked_at = None

        # A walk to where the root is already changes nothing.
        if send(link, messages.Twalk(0, 0, ()), answered) is not None:
            self._asked_at = now()

    def renew(self, seconds: float) -> None:
        """Make another connection beside this one, on which the master does not answer, within so many seconds: another
        process of the master may answer. To be called again and again while it is silent."""
        if self.link is not None and self._renewing is None:
            self._renewing = gevent.spawn(self._renew, self.link, seconds)

    def _renew(self, silent: Link, seconds: float) -> None:
        try:
            opened = first_of(self._open, seconds, _Opened.close)
        except (LinkLost, NinepError) as error:
            LOGGER.debug("no other connection to the master: %s", error)
            return
        finally:
            self._renewing = None
        if self.link is silent and self._asked_at is not None:
            self._spare = opened
            silent.close()  # `events` goes on with the spare one
        else:
            opened.close()

    def secret_changed(self) -> None:
        """End the connection if its key is none any more: who has stolen it may have answered in the master's place."""
        link = self.link
        if link is not None and link.key and link.key not in self.credentials.keys:
            link.close()

    def events(self) -> Iterator[Change | News | Scanning]:
        """What happens, for ever. Connects again when the connection is lost."""
        gevent.spawn(self._watch_idle)
        backoff = Backoff(random.Random(), longest=_LONGEST_PAUSE)
        while True:
            yield Change.CONNECTED
            assert self._peers is not None
            try:
                for news in self._read_news(self._peers):
                    backoff.reset()
                    self._trouble = ""
                    yield news
            except (LinkLost, NinepError, ProtocolViolation) as error:
                if self._spare is None:
                    LOGGER.warning("connection to the master lost: %s", error)
                else:
                    LOGGER.info("the master does not answer on one connection; it does on another")
                self._why_lost = self._trouble = self._plain(error)
            if self.link is not None:
                self._lost_at = now() - self.silent
                self.link.close()
                self.link = None
            yield Change.LOST
            if self._spare is None:
                gevent.sleep(backoff.next())  # the other nodes connect again too
            # Also if one side refuses the other: the secret may be changed just now.
            retry_for(inf, lambda left: self._connect(ANSWER), LinkLost, NinepError, refused=True)
            LOGGER.info("connected to the master again")

    def unreachable(self, seconds: float | None = None, why: str | None = None) -> XGetError:
        """The error after so many seconds without an answer; without a number, those of `silent`."""
        if self._refusal is not None:
            return self._refusal
        seconds = self.silent if seconds is None else seconds
        return MasterUnreachable(self.host, self.port, seconds, why or self.why_silent)

    def expect(self, what: str, why: str, then: str, timeout: float) -> Wait:
        """What a node waits for that waits for the master: `what` while it answers, and an answer otherwise."""
        if not self.is_silent:
            return Wait(what, self.name, then, why)
        then = f"trying again, and giving up after {timeout:g} s without an answer"
        return Wait("an answer", self.name, then, self.why_silent)

    def set_registration(self, generation: bytes, held: int) -> None:
        """What `register` sends from now on. It is also the first message on each new connection."""
        same = generation == self._registration.generation  # otherwise only a part of it may be in place
        in_place = same and self._registration.in_place
        self._registration = replace(self._registration, generation=generation, held=held, in_place=in_place)

    def register(self, fetched: Fetched | None = None) -> None:
        """Tell the master what this node serves, if it is connected. `fetched`: what has arrived, during a download."""
        if fetched is not None:
            self._registration = replace(self._registration, **asdict(fetched))
        reached = tuple(islice(self._reached, REACHED_LIMIT))
        for peer in reached:
            del self._reached[peer]
        self._send_registration(replace(self._registration, reached=reached), ANSWER)

    def peer_reached(self, peer: Address) -> None:
        """This node has connected to a peer: the next registrations tell the master, so that it names it to others."""
        self._reached.pop(peer, None)
        self._reached[peer] = None
        if len(self._reached) > _REACHED_MOST:
            del self._reached[next(iter(self._reached))]

    def run_begins(self) -> None:
        """The node begins to download."""
        self._registration = replace(self._registration, ended="", why="", in_place=False, **asdict(NOTHING_FETCHED))

    def run_ended(self, ended: str, why: str, seconds: float, fetched: Fetched) -> None:
        """Tell the master how the download ended (`messages.ENDINGS`), if it answers soon."""
        facts = {"milliseconds": round(1000 * seconds), "in_place": ended == DONE, **asdict(fetched)}
        self._registration = replace(self._registration, ended=ended, why=why, **facts)
        if not self.is_silent:
            self._send_registration(self._registration, _LAST_ANSWER)

    def report_wrong(self, chunk: int) -> None:
        """Tell the master that a chunk which it sent does not match its digests."""
        self._send_registration(replace(self._registration, wrong_chunk=chunk), _LAST_ANSWER)

    def _send_registration(self, registration: Registration, seconds: float) -> None:
        if self._peers is not None and self.link is not None and self._serving_port is not None:
            try:
                self._peers.write(0, registration.encode(), seconds)
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
        opened, self._spare = self._spare, None
        try:
            opened = opened or first_of(self._open, seconds, _Opened.close)
        except (LinkLost, NinepError) as error:
            self._why_lost = self._plain(error)
            if isinstance(error, NotAdmitted) and (self._refusal is None or error.why != self._refusal.why):
                LOGGER.warning("no connection to the master: %s", error)
            self._refusal = error if isinstance(error, NotAdmitted) else None
            raise
        self._refusal = None
        self._local_host, self._remote_host = opened.hosts
        self.link, self._peers, self._asked_at = opened.link, opened.peers, None
        self.secret_changed()  # perhaps meanwhile

    def _open(self, seconds: float) -> _Opened:
        """Connect, and register, within so many seconds. Raises LinkLost, NinepError."""
        deadline = now() + seconds
        link = Link.connect(*self.address, SWARM, min(seconds, ANSWER), self.credentials, MASTER)
        try:
            peers = link.open("peers", _within(deadline), ORDWR)
            if self._serving_port is not None:
                peers.write(0, self._registration.encode(), _within(deadline))
            return _Opened(link, peers, link.hosts)
        except BaseException:
            link.close()
            raise

    def _plain(self, error: Exception) -> str:
        """What went wrong, without the name of the master, which stands before it."""
        if isinstance(error, LinkLost):
            return error.why
        return f"it refuses: {error}" if isinstance(error, NinepError) else str(error)

    def _watch_idle(self) -> None:
        """Give up a connection on which a master does not answer any more, while nobody waits for it either."""
        while True:
            gevent.sleep(_IDLE_PROBE / 4)
            self.probe(_IDLE_PROBE)
            if self.link is not None and self.silent > _IDLE_PROBE:
                self.link.close()

    def _read_news(self, peers: Remote) -> Iterator[News | Scanning]:
        line = b""
        key = peers.link.session_key
        seal = SealCheck(key) if key is not None else None
        while True:
            # There may be no news for days. `probe` finds out whether the master still answers.
            line += peers.read(0, NEWS_LIMIT, None)
            if not line:
                raise LinkLost(peers.link.name, "unexpected end of the file peers")
            if len(line) > NEWS_LIMIT:
                raise ProtocolViolation("peers: line too long")
            if line.endswith(b"\n"):
                if seal is not None:
                    self._check_seal(peers.link, seal, line)
                yield Scanning.decode(line) or self._usable(News.decode(line))
                line = b""
                gevent.sleep(_NEWS_APART)

    def _check_seal(self, link: Link, seal: SealCheck, line: bytes) -> None:
        """Raises NotAdmitted for a line that is not as the master sent it."""
        try:
            seal.check(line)
        except ProtocolViolation as violation:
            self.distrusted = NotAdmitted(link.name, f"refused by this node: {violation}")
            raise self.distrusted from None
        self.distrusted = None

    def _usable(self, news: News) -> News:
        """The news with only those peers that this node may connect to."""
        own = self._local_host, self._serving_port or 0
        return replace(news, peers=usable(news.peers, own, self._remote_host, self._allow))

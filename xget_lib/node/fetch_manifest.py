"""Reading the manifest of the generation that the master names, from a peer or from the master itself.

In a large swarm the master tells most nodes to ask their peers for it (`swarm.first_tier`). Of a node that has an older
manifest, each server is asked only for what that lacks (`manifest.assembly`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf

import gevent

from xget_lib.errors import LinkLost, MalformedManifest, NinepError, NotAdmitted, XGetError
from xget_lib.manifest.assembly import SMALL, Assembly, KnownParts, assembly
from xget_lib.net.link import Link
from xget_lib.net.receive_limit import ReceiveLimit
from xget_lib.net.threads import in_thread
from xget_lib.ninep.auth import Credentials
from xget_lib.node.attempts import MOST, first_of, retry_for
from xget_lib.node.awake import now
from xget_lib.node.master_link import ANSWER
from xget_lib.node.read_ranges import RangeReader
from xget_lib.report.log import LOGGER
from xget_lib.serve.attach import SWARM
from xget_lib.serve.served import NOT_READY
from xget_lib.swarm.first_tier import PAUSE, ManifestSources
from xget_lib.swarm.host_attempts import HostAttempts
from xget_lib.swarm.messages import Address, News

_PEER_ANSWERS = 5.0
"""Seconds within which a peer must answer: there are other peers."""


def fetch_manifest(
    news: News,
    master: Address,
    seconds: float,
    host_attempts: HostAttempts,
    on_progress: Callable[[], None] = lambda: None,
    credentials: Credentials | None = None,
    limit: ReceiveLimit | None = None,
    known: KnownParts | None = None,
) -> bytes | memoryview | None:
    """The encoded manifest, every part verified. None: the master has another one, of a newer generation perhaps.

    `host_attempts`: of all connections of this node to peers. `on_progress` is called as it arrives, at a minimum rate.
    `known`: of an older manifest; gets what is read. The master is tried until nothing has come from it for so many
    seconds; that it has no snapshot yet is an answer too. Raises LinkLost, and at once NinepError, NotAdmitted, and
    MalformedManifest, if it is the master's.
    """
    credentials = credentials or Credentials()
    whole = in_thread(known.whole, news.generation) if known is not None else None
    if whole is not None:
        return whole
    heard = -inf

    def progress() -> None:
        nonlocal heard
        heard = now()
        on_progress()

    first = () if news.master_first else news.peers
    sources = ManifestSources(first, news.manifest_size, random.Random(), now())
    while (peer := sources.next(now())) is not None:
        encoded = _read_of_peer(news, peer, host_attempts, on_progress, credentials, limit, known)
        if encoded is not None:
            return encoded
        gevent.sleep(PAUSE)

    def connect(left: float) -> Link:
        return Link.connect(*master, SWARM, left, credentials, limit=limit)

    def read(left: float) -> bytes | None:
        nonlocal heard
        try:
            within, answer = min(left, ANSWER), min(seconds / MOST, ANSWER)
            return _read(connect, news, within, answer, progress, known)
        except NinepError as error:
            if str(error) != NOT_READY[1]:  # 9P2000 has no error numbers
                raise
            # It was restarted, and has no snapshot yet.
            heard = now()
            raise LinkLost(f"{master[0]}:{master[1]}", str(error)) from error
        except NotAdmitted:
            raise
        except LinkLost:
            # Any peer may have it meanwhile.
            for peer in random.sample(news.peers, min(1, len(news.peers))):
                of_peer = _read_of_peer(news, peer, host_attempts, on_progress, credentials, limit, known)
                if of_peer is not None:
                    return of_peer
            raise

    # The master may lose a worker, or be restarted, meanwhile.
    return retry_for(seconds, read, LinkLost, since=lambda: heard)


def _read_of_peer(
    news: News,
    peer: Address,
    host_attempts: HostAttempts,
    on_progress: Callable[[], None],
    credentials: Credentials,
    limit: ReceiveLimit | None,
    known: KnownParts | None,
) -> bytes | None:
    """The manifest of the generation, if this peer has it."""

    def connect(left: float) -> Link:
        if not host_attempts.may_try(peer[0], now()):
            raise LinkLost(f"{peer[0]}:{peer[1]}", "this host has not answered for some time")
        host_attempts.tried(peer[0], now())
        link = Link.connect(*peer, SWARM, left, credentials, limit=limit)
        host_attempts.answered(peer[0])
        return link

    try:
        return _read(connect, news, _PEER_ANSWERS, _PEER_ANSWERS, on_progress, known)
    except (LinkLost, NinepError, MalformedManifest) as error:
        LOGGER.debug("no manifest from peer %s port %d: %s", *peer, _why(error))
        return None


def _read(
    connect: Callable[[float], Link],
    news: News,
    seconds: float,
    answer: float,
    on_progress: Callable[[], None],
    known: KnownParts | None,
) -> bytes | None:
    """Connect within `seconds`, and read; each part comes within `answer` seconds. None: it is of another generation.
    Raises LinkLost, NinepError, MalformedManifest."""
    steps = assembly(news.manifest_size, news.generation, known)
    ranges = next(steps)
    link = first_of(connect, seconds, Link.close)
    try:
        reader = RangeReader(link.open("manifest", answer), answer, on_progress)
        while True:
            contents = reader.read(ranges)
            # To compare so little takes less time than a thread.
            step = _step(steps, contents) if news.manifest_size <= SMALL else in_thread(_step, steps, contents)
            if not isinstance(step, list):
                return step
            ranges = step
    finally:
        link.close()


def _step(steps: Assembly, contents: list[bytes]) -> list[range] | bytes | None:
    """The next ranges, or the result."""
    try:
        return steps.send(contents)
    except StopIteration as end:
        manifest: bytes | None = end.value
        return manifest


def _why(error: XGetError) -> str:
    """Without the name of the server, which stands before it."""
    return error.why if isinstance(error, LinkLost) else str(error)

"""Reading the manifest of the generation that the master names, from a peer or from the master itself.

In a large swarm the master tells most nodes to ask their peers for it (`swarm.first_tier`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf

import gevent
from blake3 import blake3

from xget_lib.errors import LinkLost, NinepError, NotAdmitted
from xget_lib.net.link import Link
from xget_lib.net.receive_limit import ReceiveLimit
from xget_lib.net.threads import in_thread
from xget_lib.ninep.auth import Credentials
from xget_lib.node.attempts import MOST, first_of, retry_for
from xget_lib.node.awake import now
from xget_lib.node.master_link import ANSWER
from xget_lib.report.log import LOGGER
from xget_lib.serve.attach import SWARM
from xget_lib.serve.served import NOT_READY
from xget_lib.swarm.first_tier import PAUSE, ManifestSources
from xget_lib.swarm.host_attempts import HostAttempts
from xget_lib.swarm.messages import Address, News

_PEER_ANSWERS = 5.0
"""Seconds within which a peer must answer: there are other peers."""
MANIFEST_RATE = 4096
"""Bytes per second, at least. A server that is slower is left."""
_LONGEST_STEP = 16
"""Seconds."""
_STEP = _LONGEST_STEP * MANIFEST_RATE
"""Bytes of a manifest that count as progress, once all of them have arrived."""


def fetch_manifest(
    news: News,
    master: Address,
    seconds: float,
    host_attempts: HostAttempts,
    on_progress: Callable[[], None] = lambda: None,
    credentials: Credentials | None = None,
    limit: ReceiveLimit | None = None,
) -> tuple[memoryview, bool]:
    """The encoded manifest, and whether it is that of the generation: the master may send that of a newer one.

    `host_attempts`: of all connections of this node to peers. `on_progress` is called as it arrives, at a minimum rate.
    The master is tried until nothing has come from it for so many seconds; that it has no snapshot yet is an answer
    too. Raises LinkLost, NinepError, NotAdmitted at once.
    """
    credentials = credentials or Credentials()
    heard = -inf

    def progress() -> None:
        nonlocal heard
        heard = now()
        on_progress()

    first = () if news.master_first else news.peers
    sources = ManifestSources(first, news.manifest_size, random.Random(), now())
    while (peer := sources.next(now())) is not None:
        encoded = _read_of_peer(news, peer, host_attempts, on_progress, credentials, limit)
        if encoded is not None:
            return encoded, True
        gevent.sleep(PAUSE)

    def connect(left: float) -> Link:
        return Link.connect(*master, SWARM, left, credentials, limit=limit)

    def read(left: float) -> tuple[memoryview, bool]:
        nonlocal heard
        try:
            within, answer = min(left, ANSWER), min(seconds / MOST, ANSWER)
            encoded = _read(connect, news.manifest_size, within, answer, progress)
            return encoded, _is_of(encoded, news.generation)
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
                of_peer = _read_of_peer(news, peer, host_attempts, on_progress, credentials, limit)
                if of_peer is not None:
                    return of_peer, True
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
) -> memoryview | None:
    """The manifest of the generation, if this peer has it."""

    def connect(left: float) -> Link:
        if not host_attempts.may_try(peer[0], now()):
            raise LinkLost(f"{peer[0]}:{peer[1]}", "this host has not answered for some time")
        host_attempts.tried(peer[0], now())
        link = Link.connect(*peer, SWARM, left, credentials, limit=limit)
        host_attempts.answered(peer[0])
        return link

    try:
        encoded = _read(connect, news.manifest_size, _PEER_ANSWERS, _PEER_ANSWERS, on_progress)
    except (LinkLost, NinepError) as error:
        LOGGER.debug("no manifest from peer %s port %d: %s", *peer, _why(error))
        return None
    return encoded if _is_of(encoded, news.generation) else None


def _read(
    connect: Callable[[float], Link], size: int, seconds: float, answer: float, on_progress: Callable[[], None]
) -> memoryview:
    """Connect within `seconds`, and read; each part comes within `answer` seconds. Raises LinkLost, NinepError."""
    encoded = bytearray()
    link = first_of(connect, seconds, Link.close)
    try:
        file = link.open("manifest", answer)
        least = max(1, round(MANIFEST_RATE * min(answer, _LONGEST_STEP)))
        count, step_begun, step_end = least, now(), _STEP
        while len(encoded) < size:
            asked = now()
            part = file.read(len(encoded), min(size - len(encoded), count, link.max_read), answer)
            if not part:
                break
            encoded += part
            if len(encoded) >= min(step_end, size):
                on_progress()
                step_begun, step_end = now(), len(encoded) + _STEP
            elif now() - step_begun > _STEP / MANIFEST_RATE:
                raise LinkLost(link.name, f"sends less than {MANIFEST_RATE} bytes of the manifest a second")
            # On a slow link a read must end in time, on a fast one there should be few.
            count = 2 * count if now() - asked < 1 else least
    finally:
        link.close()
    return memoryview(encoded).toreadonly()


def _is_of(encoded: memoryview, generation: bytes) -> bool:
    return in_thread(lambda: blake3(encoded).digest()) == generation


def _why(error: LinkLost | NinepError) -> str:
    """Without the name of the server, which stands before it."""
    return error.why if isinstance(error, LinkLost) else str(error)

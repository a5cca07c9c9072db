"""Reading the manifest of the generation that the master names, from a peer or from the master itself.

In a large swarm the master tells most nodes to ask their peers for it (`swarm.first_tier`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from math import inf

import gevent
from blake3 import blake3

from xget_lib.errors import LinkLost, NinepError
from xget_lib.net.blocking import in_thread
from xget_lib.net.link import Link
from xget_lib.node.master_link import ANSWER, retry_for
from xget_lib.report.log import LOGGER
from xget_lib.serve.attach import SWARM
from xget_lib.serve.served import NOT_READY
from xget_lib.swarm.first_tier import PAUSE, ManifestSources
from xget_lib.swarm.messages import Address, News

_PEER_ANSWERS = 5.0
"""Seconds within which a peer must answer: there are other peers."""


def fetch_manifest(
    news: News, master: Address, seconds: float, on_progress: Callable[[], None] = lambda: None
) -> tuple[bytes, bool]:
    """The encoded manifest, and whether it is that of the generation: the master may send that of a newer one.

    `on_progress` is called as it arrives. The master is tried until nothing has arrived for so many seconds. Raises
    LinkLost, NinepError.
    """
    arrived = -inf

    def progress() -> None:
        nonlocal arrived
        arrived = time.monotonic()
        on_progress()

    sources = ManifestSources(
        () if news.master_first else news.peers, news.manifest_size, random.Random(), time.monotonic()
    )
    while (peer := sources.next(time.monotonic())) is not None:
        try:
            encoded = _read(peer, news.manifest_size, _PEER_ANSWERS, _PEER_ANSWERS, progress)
        except (LinkLost, NinepError) as error:
            LOGGER.debug("no manifest from %s:%d: %s", *peer, error)
        else:
            if _is_of(encoded, news.generation):
                return encoded, True
        gevent.sleep(PAUSE)

    def read(left: float) -> bytes:
        try:
            return _read(master, news.manifest_size, min(left, ANSWER), min(seconds, ANSWER), progress)
        except NinepError as error:
            if str(error) != NOT_READY[1]:  # 9P2000 has no error numbers
                raise
            # It was restarted, and has no snapshot yet.
            raise LinkLost(f"{master[0]}:{master[1]}", str(error)) from error

    # The master may lose a worker, or be restarted, meanwhile.
    encoded = retry_for(seconds, read, LinkLost, since=lambda: arrived)
    return encoded, _is_of(encoded, news.generation)


def _read(server: Address, size: int, seconds: float, answer: float, on_progress: Callable[[], None]) -> bytes:
    """Connect within `seconds`, and read; each part comes within `answer` seconds. Raises LinkLost, NinepError."""
    encoded = bytearray()
    link = Link.connect(*server, SWARM, seconds)
    try:
        file = link.open("manifest", answer)
        while len(encoded) < size:
            part = file.read(len(encoded), min(size - len(encoded), link.max_read), answer)
            if not part:
                break
            encoded += part
            on_progress()
    finally:
        link.close()
    return bytes(encoded)


def _is_of(encoded: bytes, generation: bytes) -> bool:
    return in_thread(lambda: blake3(encoded).digest()) == generation

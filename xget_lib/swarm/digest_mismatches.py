"""What a node does when a chunk does not match its digests.

A peer that sent wrong content is not used again: it may be broken, or malicious. The master is asked again, up to
`--retries` times for each chunk: it may be the only source of a chunk. After that the node goes on without the files
whose pieces are wrong.
"""

from __future__ import annotations

from collections import Counter

from xget_lib.errors import PieceMismatch
from xget_lib.swarm.actions import MASTER, Action, Disconnect, GiveUp, SendRemark
from xget_lib.swarm.messages import Address


class DigestMismatches:
    """The chunks of one generation that failed verification. Owned by a `Downloader`."""

    def __init__(self, retries: int) -> None:
        """`retries`: how often the master may send a chunk again that was wrong."""
        self._retries = retries
        self._from_master: Counter[int] = Counter()
        """By chunk: how many times the master sent it wrong."""

    def begin(self) -> None:
        """The node downloads another generation from now on."""
        self._from_master.clear()

    def act_on(self, source: Address, chunk: int, error: PieceMismatch) -> list[Action]:
        """A source sent a wrong chunk. The caller never connects to this peer again for this generation."""
        if source != MASTER:
            return [SendRemark(str(error)), Disconnect(source)]
        self._from_master[chunk] += 1
        if self._from_master[chunk] > self._retries:
            del self._from_master[chunk]  # what is right of the chunk is still wanted
            return [GiveUp(chunk, error.source)]
        return []

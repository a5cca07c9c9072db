"""The numbers of the swarm. Production uses the defaults; `python -m test.sim` chose them, and tries others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times are seconds."""

    degree: int = 6
    """Peers that the master names to a new node. It is later named to as many other nodes itself.
    8 gain a quarter of a percent with 32 nodes, and each costs messages; 5 cost 1 %."""
    master_slots: int = 2
    """Chunks that a node fetches from the master at once."""
    first_tier: int = 32
    """Nodes that fetch from the master at once, if there are more. 64 gain nothing and cost twice as many manifests."""
    fetches: int = 4
    """Chunks that a node fetches at once. While it does, it uses no more upload slots. 3 cost 1 to 6 %; with 6 or
    more the last node is up to 20 % behind."""
    requests: int = 3
    """Upload slots that a node requests for each chunk that it could still fetch. 2 cost 3 %. Requesting one of every
    peer gains nothing, and more than four slots are returned for each that is used."""
    uploads: int = 4
    """Upload slots that a node grants at once. 2 cost 4 %, 3 up to 3 %, 6 about 5 %."""
    have_chunks: float = 6.0
    """Chunks that arrive between two answers to the readers of `have`. 4 gain 0.5 % with 32 nodes, and cost each a
    tenth more processor time; 8 cost 1.4 % with 1,000 nodes."""
    have_least: float = 0.03
    """The shortest time between two answers to the readers of `have`."""
    have_most: float = 0.5
    """The longest time between two answers to the readers of `have`."""
    news_pause: float = 0.05
    """Between two rounds of news from the master. A new node gets its peers in the next one."""
    news_later: float = 10.0
    """After which the master tells a node of new peers. These have registered with the node before."""
    news_most: int = 200
    """Nodes that the master tells of new peers between two pauses: a tenth of what it can send."""
    wants_pause: float = 0.5
    """Between two reports of a node to the master about the chunks that it finds at no peer."""
    register_pause: float = 10.0
    """Between two registrations of a node, which say how much it holds. A complete node registers at once."""
    register_early: float = 2.0
    """After which a node registers once, when a generation has begun: from then on the master knows its rate."""


TUNING = Tuning()

_BUFFER_BYTES = 32 * 1024 * 1024


def buffer_count(chunk_size: int) -> int:
    """The number of buffers of one chunk each that a download has. They limit its memory."""
    return max(4, min(64, _BUFFER_BYTES // chunk_size))

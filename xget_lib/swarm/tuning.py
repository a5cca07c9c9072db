"""The swarm's numbers, in one place: production uses the defaults, and the simulator tries others.

Each was chosen with `python -m test.sim`; what others cost is said beside it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times are seconds."""

    degree: int = 6
    """Ties that a node is given when it comes; it gets as many again from those who come later.
    8 gain a quarter of a percent with 32 nodes, and each costs messages; 5 cost 1 %."""
    slots: int = 2
    """Chunks that a node takes from the master at once."""
    direct: int = 6
    """Chunks that the master has on their way at once. 10 cost 2 % with 8 nodes and half a percent with more; 3 leave
    its link idle and cost 10 %."""
    takers: int = 32
    """Nodes that take from the master at once, where more come. 64 gain nothing and cost twice as many manifests."""
    flights: int = 4
    """Chunks that a node has on their way, above which it takes no turn of a peer. 3 cost 1 to 6 %; with 6 or
    more the last node is up to 20 % behind."""
    asks: int = 3
    """Peers that a node asks for a turn for each chunk that it could have on its way besides. 2 cost 3 %; asking
    all gains nothing, and more than four turns are passed for each that is used."""
    uploads: int = 4
    """Turns that a node gives its peers at once. 2 cost 4 %, 3 up to 3 %, 6 about 5 %."""
    have_chunks: float = 6.0
    """Between two answers to the readers of `have`: the time in which so many chunks come. 4 gain 0.5 % with 32 nodes
    and cost each a tenth more processor time; 8 cost 1.4 % with 1,000,"""
    have_least: float = 0.03
    """but not less than this,"""
    have_most: float = 0.5
    """nor more than this."""
    news_pause: float = 0.05
    """Between two rounds of news from the master. Who comes hears of its neighbours in the next one."""
    news_later: float = 10.0
    """After which a node hears from the master of changes among its neighbours, who introduce themselves before,"""
    news_most: int = 200
    """so many nodes between two pauses: a tenth of what the master can say."""
    takes_pause: float = 0.5
    """Between two messages to the master about what is to be had nowhere else."""
    report_pause: float = 10.0
    """Between two reports of a node to the master about how much it holds; that it has everything is said at once."""


TUNING = Tuning()

_BUFFER_BYTES = 32 * 1024 * 1024


def buffer_count(chunk_size: int) -> int:
    """The number of buffers of one chunk each that a download has. They limit its memory."""
    return max(4, min(64, _BUFFER_BYTES // chunk_size))

"""What a Tracker decides: its caller carries it out."""

from __future__ import annotations

from xget_lib.dataclass import dataclass
from xget_lib.swarm.messages import News, Registration
from xget_lib.swarm.node_progress import Lag


@dataclass(frozen=True, slots=True)
class SendNews:
    """Send this news to the readers of `peers` on a connection."""

    connection: int
    news: News


@dataclass(frozen=True, slots=True)
class SendGrant:
    """Grant a chunk to a slot of a connection."""

    connection: int
    slot: int
    chunk: int


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node registered."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A registered node ended, or closed `peers`. `last` is its last registration."""

    address: str
    last: Registration
    whole: bool
    """Whether it held everything."""


@dataclass(frozen=True, slots=True)
class NodeComplete:
    """A node holds all of the published generation now. `seconds`: since it could begin to download it."""

    connection: int
    address: str
    port: int
    seconds: float


@dataclass(frozen=True, slots=True)
class NodeIncomplete:
    """A node that was complete has ended, or another generation was published."""

    connection: int


@dataclass(frozen=True, slots=True)
class NodeEnded:
    """The run of a node has ended, as its registration says."""

    address: str
    registration: Registration


@dataclass(frozen=True, slots=True)
class NodeLags:
    """A node lags behind the others. Said once for each node and generation."""

    address: str
    registration: Registration
    held: int
    """Chunks of the published generation."""
    chunk_count: int
    lag: Lag


Action = SendNews | SendGrant | NodeJoined | NodeLeft | NodeComplete | NodeIncomplete | NodeEnded | NodeLags

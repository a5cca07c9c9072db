"""The decisions of a `Downloader` and an `Uploader`, as data.

`node/transfer.py` and `node/child.py` carry them out with 9P requests and replies, the simulator in virtual time.
"""

from __future__ import annotations

from xget_lib.dataclass import dataclass
from xget_lib.swarm.messages import Address

MASTER: Address = ("", 0)
"""The master as a source of chunks."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect to a peer, register with it and read its `have`. `peer_connected` and `peer_has` follow, and at the end
    `peer_gone`."""

    peer: Address


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection to a peer, and cancel what is being fetched from it. No event follows."""

    peer: Address


@dataclass(frozen=True, slots=True)
class RequestSlot:
    """Request an upload slot of a peer: `slot_granted` follows. This node has used the slot that it had there."""

    peer: Address


@dataclass(frozen=True, slots=True)
class PassSlot:
    """Return an upload slot to a peer, unused."""

    peer: Address


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read a chunk from a source, into one buffer.

    `chunk_arrived` or `chunk_failed` follows; after `chunk_arrived` verify and write it: then `chunk_written`,
    `chunk_incomplete` or `chunk_wrong` follows. Each of these events, except `chunk_arrived`, frees the buffer."""

    source: Address
    chunk: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a fetch whose chunk has not arrived, and free its buffer. No event follows."""

    source: Address
    chunk: int


@dataclass(frozen=True, slots=True)
class OpenMasterSlot:
    """Open one more slot at the master: `master_slot_opened` follows, or `master_slots_lost`."""

    slot: int


@dataclass(frozen=True, slots=True)
class CloseMasterSlots:
    """Close all slots at the master. Nothing is being read from it, and no event of these slots follows."""


@dataclass(frozen=True, slots=True)
class AskMasterSlot:
    """Ask for a chunk on an open slot at the master: `chunk_offered` follows. The chunk before has arrived."""

    slot: int


@dataclass(frozen=True, slots=True)
class SendWants:
    """Tell the master which chunks this node lacks and finds at none of its peers: bit i for chunk i."""

    chunks: int


@dataclass(frozen=True, slots=True)
class SendRemark:
    """Write a line to the master's log."""

    text: str


@dataclass(frozen=True, slots=True)
class SendRegistration:
    """Register again at the master, with how much of the generation this node holds now."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the readers of `have` that what this node holds has changed."""


@dataclass(frozen=True, slots=True)
class GrantUploadSlot:
    """Tell a reader that it may fetch one chunk from this node now."""

    key: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """For the log: nothing is asked of a peer for a while."""

    peer: Address
    why: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Every chunk that was lacking is written."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Go on without the files of which a chunk has wrong pieces: no source has them right. The chunk may be fetched
    again, without these pieces."""

    chunk: int
    source: str
    """Who sent it last, for people."""


Action = (
    Connect
    | Disconnect
    | RequestSlot
    | PassSlot
    | Fetch
    | Cancel
    | OpenMasterSlot
    | CloseMasterSlots
    | AskMasterSlot
    | SendWants
    | SendRemark
    | Suspended
    | Finished
    | GiveUp
)
"""What a `Downloader` decides."""

UploadAction = GrantUploadSlot | Announce | SendRegistration
"""What an `Uploader` decides."""

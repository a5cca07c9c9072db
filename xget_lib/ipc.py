"""What the master and its workers say to each other: each message a frozen dataclass, packed as [name, fields...].

Descriptors that travel with a message are named in its docstring, in their order. Large things (a scan, a manifest)
are not in messages but in memfds that go along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, TypeVar, dataclass_transform

from xget_lib.errors import ProtocolViolation


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages."""


# Master to worker.


@dataclass(frozen=True, slots=True)
class Adopt(Message):
    """Serve this connection. Descriptor: the socket."""

    connection: int
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Serve(Message):
    """This is what is served from now on. Descriptors: the manifest, the stamps of its files."""

    base: bytes
    location: bytes
    """As in `surveying.Snapshot`."""


@dataclass(frozen=True, slots=True)
class Job(Message):
    """Do a part of a snapshot (see `surveying`). Descriptors: as the kind of work says."""

    number: int
    kind: str
    arguments: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Notice(Message):
    """Say what changes in this directory (or file) from now on."""

    path: bytes
    one_file_system: bool


@dataclass(frozen=True, slots=True)
class StopNoticing(Message):
    """Nobody needs to know what changes."""


@dataclass(frozen=True, slots=True)
class News(Message):
    """A line for the readers of `peers` on this connection."""

    connection: int
    line: bytes


@dataclass(frozen=True, slots=True)
class Grant(Message):
    """A chunk for this slot of a connection."""

    connection: int
    slot: int
    chunk: int


@dataclass(frozen=True, slots=True)
class Status(Message):
    """The answer to StatusWanted. Descriptor: its text, which is long where many nodes serve."""

    connection: int


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """Say that you live."""


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """End: finish nothing, but tell C clients that they will not get the rest of their files; close everything."""


# Worker to master.


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """Alive, with this many connections, having sent so many bytes of content."""

    connections: int
    sent: int


@dataclass(frozen=True, slots=True)
class Closed(Message):
    """A connection has ended, and all that depended on it."""

    connection: int


@dataclass(frozen=True, slots=True)
class Done(Message):
    """The result of a Job; `error` is empty, or says why there is none. Descriptors: as the kind of work says."""

    number: int
    result: Sequence[Any]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Watch(Message):
    """Somebody opened `peers`: wants news."""

    connection: int


@dataclass(frozen=True, slots=True)
class Register(Message):
    """A node serves: on this port of the connection's address, that many chunks of a generation.

    The generation is b"" while it doesn't know one.
    """

    connection: int
    port: int
    generation: bytes
    held: int
    follows: bool


@dataclass(frozen=True, slots=True)
class Unregister(Message):
    """A node does not serve any more."""

    connection: int


@dataclass(frozen=True, slots=True)
class Ask(Message):
    """A slot asks for a chunk; the one before it has arrived."""

    connection: int
    slot: int


@dataclass(frozen=True, slots=True)
class Takes(Message):
    """What a node lacks and finds at none of its peers: a bitmap, bit i of it is bit i % 8 of byte i // 8."""

    connection: int
    chunks: bytes


@dataclass(frozen=True, slots=True)
class CloseSlot(Message):
    """A slot is gone."""

    connection: int
    slot: int


@dataclass(frozen=True, slots=True)
class Remark(Message):
    """A line that a client wrote to `log`."""

    connection: int
    text: str


@dataclass(frozen=True, slots=True)
class StatusWanted(Message):
    """Somebody reads `status`."""

    connection: int


@dataclass(frozen=True, slots=True)
class Stale(Message):
    """A file on disk is no longer that of the snapshot."""

    generation: bytes
    path: bytes


@dataclass(frozen=True, slots=True)
class Changed(Message):
    """What was noticed, as in `snapshot.watch.Changes`."""

    directories: Sequence[bytes]
    trees: Sequence[bytes]
    everything: bool


@dataclass(frozen=True, slots=True)
class CannotNotice(Message):
    """Nothing is noticed (any more), for this reason."""

    why: str


_BY_NAME = {kind.__name__: kind for kind in Message.__subclasses__()}

M = TypeVar("M", bound=Message)


@dataclass_transform(frozen_default=True)
def message(kind: type[M]) -> type[M]:
    """Make a class a message. For packages that have messages of their own; a name must be unique."""
    made = dataclass(frozen=True, slots=True)(kind)
    _BY_NAME[made.__name__] = made
    return made


def pack(message: Message) -> list[Any]:
    """A message as the channel sends it."""
    return [type(message).__name__, *astuple(message)]


def unpack(packed: Sequence[Any]) -> Message:
    """The message that was packed. Raises ProtocolViolation where it is none of ours."""
    kind = _BY_NAME.get(packed[0]) if packed else None
    if kind is None or len(packed) != len(fields(kind)) + 1:
        raise ProtocolViolation(f"unknown message {packed[:1]!r} between master and worker")
    return kind(*packed[1:])

"""The messages between the master and its workers: each is stated once, typed, and checked on arrival.

Descriptors that travel with a message are named in its docstring, in their order. Large things (a scan, a manifest)
are not in messages but in memfds that go along. `ipc.jobs` has the jobs of a snapshot, `ipc.codec` the packing.
"""

from __future__ import annotations

from xget_lib.ipc.codec import Message, message, pack, receive, unpack
from xget_lib.ipc.jobs import Request, Result

__all__ = ["Message", "message", "pack", "receive", "unpack"]


# Master to worker.


@message
class Adopt(Message):
    """Serve this connection. Descriptor: the socket."""

    DESCRIPTORS = 1

    connection: int
    address: str
    port: int


@message
class Keys(Message):
    """The secret has these keys from now on (`ninep.auth.Credentials`). Without a secret this is not sent."""

    keys: tuple[bytes, ...]


@message
class Certificates(Message):
    """TLS is spoken with these from now on (`process.certificates.TlsFiles`), on new connections. Descriptors: the
    certificate, its key, and the authorities. This is sent only when they have been replaced."""

    DESCRIPTORS = 3


@message
class EndConnection(Message):
    """End this connection: a host that has fewer connections needs one. ConnectionClosed follows."""

    connection: int
    why: str


@message
class Serve(Message):
    """Serve this snapshot from now on. Descriptors: the manifest, the stamps of its files, the directory `base`."""

    DESCRIPTORS = 3

    base: bytes
    location: bytes
    """Both as in `jobs.Assembled`."""


@message
class Job(Message):
    """Do a part of a snapshot. Descriptors: those of the request."""

    number: int
    request: Request


@message
class WatchDirectory(Message):
    """Report from now on when something in this directory (or file) changes. Changed or WatchFailed follows."""

    path: bytes
    one_file_system: bool


@message
class CheckDirectory(Message):
    """Report at once whether something has happened in the watched directory since the last report. Checked follows."""


@message
class NewsLine(Message):
    """A line for the readers of `peers` on this connection."""

    connection: int
    line: bytes


@message
class Grant(Message):
    """A slot of this connection may read this chunk."""

    connection: int
    slot: int
    chunk: int


@message
class Status(Message):
    """The answer to StatusWanted. Descriptor: its text, which is long when many nodes serve."""

    DESCRIPTORS = 1

    connection: int
    file: str


@message
class Ping(Message):
    """Answer with Pong."""


@message
class Stop(Message):
    """Tell C clients that they will not get the rest of their files, then end."""


# Worker to master.


@message
class Pong(Message):
    """The answer to Ping: how many connections the worker serves, how many bytes of content it has sent, and where
    those of TLS are encrypted (`Server.encrypts`)."""

    connections: int
    sent: int
    encrypts: str = ""


@message
class WorkerFailed(Message):
    """The worker ends because of an error that nobody foresaw."""

    why: str


@message
class LetIn(Message):
    """The client of a connection has proved that it belongs, or needs no proof for what it asks. Sent before anything
    else about this connection, by the workers of a master with a secret."""

    connection: int


@message
class ConnectionClosed(Message):
    """A connection has ended, and everything that depended on it."""

    connection: int


@message
class Done(Message):
    """A Job is done. Descriptors: those of the result."""

    number: int
    result: Result


@message
class JobFailed(Message):
    """A Job could not be done, and why."""

    number: int
    error: str


@message
class Progressed(Message):
    """The jobs of this worker have read something since the last such message, or since they began."""


@message
class PeersOpened(Message):
    """A client opened `peers` and waits for news."""

    connection: int


@message
class NodeRegistered(Message):
    """A node registers: it serves on this port of the connection's address, and holds `held` chunks of a generation.

    The generation is b"" while it does not know one. Fields as in `swarm.messages.Registration`.
    """

    connection: int
    port: int
    generation: bytes
    held: int
    follows: bool
    ended: str
    why: str
    milliseconds: int
    fetched: int
    from_master: int
    wrong_chunk: int
    name: str
    identity: str
    sources: tuple[tuple[str, int, int], ...]
    in_place: bool


@message
class PeersReached(Message):
    """A node has connected to these peers, each an address and a port."""

    connection: int
    peers: tuple[tuple[str, int], ...]


@message
class NodeUnregistered(Message):
    """A client closed `peers`: it serves no longer."""

    connection: int


@message
class SlotAsked(Message):
    """A slot asks for a chunk; its former one has arrived."""

    connection: int
    slot: int
    round_trip: float
    """Seconds that a packet to the client and its acknowledgement take at least."""


@message
class Wants(Message):
    """The chunks that a node lacks and finds at none of its peers: a bitmap, chunk i is bit i % 8 of byte i // 8."""

    connection: int
    chunks: bytes


@message
class SlotClosed(Message):
    """A client closed a slot."""

    connection: int
    slot: int


@message
class LogLine(Message):
    """A client wrote a line to `log`."""

    connection: int
    text: str


@message
class StatusWanted(Message):
    """A client reads a file about the state of the master: `status` or `nodes`."""

    connection: int
    file: str


@message
class Stale(Message):
    """A file on disk has changed since the snapshot."""

    generation: bytes
    path: bytes


@message
class Changed(Message):
    """Something in the watched directory has changed, or may have changed before it was watched."""


@message
class Checked(Message):
    """The answer to CheckDirectory."""

    changed: bool
    """Whether something may have changed, or is being written, since the last report (a Changed or Checked)."""


@message
class WatchFailed(Message):
    """The directory is not watched (any more), for this reason."""

    why: str

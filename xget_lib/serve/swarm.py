"""The namespace `swarm`: how XGet's own clients work with a server, as files that any 9P client can read.

    manifest   the manifest of this server's generation, by offset
    data       the content stream, by offset; a range that is not held is an error at once
    have       the generation, 32 bytes, and a bitmap of the chunks held. Each further read is answered when the bitmap
               has changed
    peers      read: a line of JSON for each news of the swarm (`News`). Written: what the writer serves
               (`Registration`), to the master, or to a peer that the writer downloads from
    offer      at a master: each read answers with the number of a chunk to take from it (`17\\n`); reading again says
               that the chunk has arrived. Written: a bitmap of the chunks that the writer finds at none of its peers.
               When the master serves another generation, reads wait until they are flushed
    turn       at a child: a read answers (`take\\n`) when this connection gets an upload slot, which is good for one
               chunk; reading again says that it was used. Written, any bytes: the slot is given back
    log        the debug level; written: a line for this server's log
    status     what this server is doing, JSON
    nodes      at a master: all its nodes, JSON (`report.distribution`)
    places     at a master: marks of the served directory (`fs.places`), by which a client on the same machine sees that
               its destination is in there

The files ask a backend for what is not in the content: one `SwarmBackend` for each connection.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import count
from typing import Protocol

from xget_lib.errors import NinepError, NotHeld
from xget_lib.ninep.file import WAITING, Content, Handle, Waiting
from xget_lib.serve.served import NOT_READY, EncodedManifest, Served, Serving
from xget_lib.serve.synthetic import DeferredText, Log, Stream, SyntheticFile, root
from xget_lib.swarm.messages import LINE_LIMIT, Registration

SLOTS_LIMIT = 16
"""Slots that one connection may request at once: each costs the server time at every event. XGet's own clients request
two from a master, and one from a child."""
WANTS_LIMIT = 60 * 1024
"""Bytes of a bitmap written to `offer`: it must fit into a message between processes. 480,000 chunks are 2 TB."""


class SwarmServer(Serving, Protocol):
    """What all connections of a process have in common."""

    @property
    def manifest(self) -> EncodedManifest | None:
        """The newest manifest. A node serves it before it knows what it holds of the content."""


class SwarmBackend(Protocol):
    """What the files of one connection ask for. Each file of the connection has the same backend."""

    @property
    def server(self) -> SwarmServer: ...

    def subscribe(self, news: Stream) -> None:
        """Put lines of news into this stream, the first one as soon as there is one."""

    def register(self, registration: Registration) -> None:
        """The client wrote what it serves."""

    def request_slot(self, slot: int, answers: Stream) -> None:
        """Put a line into the stream when this slot may fetch a chunk. Its former chunk has arrived.

        Raises NinepError if the connection has requested too many slots.
        """

    def release_slot(self, slot: int) -> None:
        """The slot needs no chunk now. Called for every slot at its end, even if it was not requested."""

    def request_status(self, answer: DeferredText) -> None:
        """Put the status into the answer, now or later."""

    def remark(self, line: str) -> None:
        """Write a line of the client to the log."""


class MasterBackend(SwarmBackend, Protocol):
    """A master grants chunks, and keeps a list of the registered nodes."""

    def unsubscribe(self, news: Stream) -> None:
        """`peers` was clunked, even if it was not read: the registration of the client ends."""

    def wants(self, chunks: bytes) -> None:
        """The client finds these chunks at none of its peers: bit i is bit i % 8 of byte i // 8."""

    def request_nodes(self, answer: DeferredText) -> None:
        """Put the list of all nodes into the answer, later."""


class ChildBackend(SwarmBackend, Protocol):
    """A child gets a chunk every few milliseconds. It tells its readers of several chunks at once."""

    @property
    def have_round(self) -> int:
        """Increases whenever reads of `have` may be answered with what has changed."""


def master_tree(backend: MasterBackend) -> SyntheticFile:
    """The root of the namespace at a master, for one connection."""
    offer = SyntheticFile("offer", 5, 0o666, lambda: Offer(backend))
    places = SyntheticFile("places", 9, 0o444, lambda: Places(backend))
    nodes = SyntheticFile("nodes", 10, 0o444, lambda: DeferredText(backend.request_nodes))
    return _tree(backend, lambda: Have(backend), lambda: MasterPeers(backend), offer, places, nodes)


def child_tree(backend: ChildBackend) -> SyntheticFile:
    """The root of the namespace at a child, for one connection."""
    turn = SyntheticFile("turn", 8, 0o666, lambda: Turn(backend))
    return _tree(backend, lambda: PacedHave(backend), lambda: Peers(backend), turn)


def _tree(
    backend: SwarmBackend, have: Callable[[], Have], peers: Callable[[], Peers], *others: SyntheticFile
) -> SyntheticFile:
    return root(
        [
            SyntheticFile("manifest", 1, 0o444, lambda: _manifest(backend), lambda: _manifest_size(backend)),
            SyntheticFile("data", 2, 0o444, lambda: Data(backend), lambda: _data_size(backend)),
            SyntheticFile("have", 3, 0o444, have),
            SyntheticFile("peers", 4, 0o666, peers),
            *others,
            SyntheticFile("log", 6, 0o666, lambda: Log(b"%d\n" % backend.server.debug_level, backend.remark)),
            SyntheticFile("status", 7, 0o444, lambda: DeferredText(backend.request_status)),
        ]
    )


def _manifest(backend: SwarmBackend) -> EncodedManifest:
    if backend.server.manifest is None:
        raise NinepError(*NOT_READY)
    return backend.server.manifest


def _manifest_size(backend: SwarmBackend) -> int:
    return backend.server.manifest.size if backend.server.manifest else 0


def _data_size(backend: SwarmBackend) -> int:
    return backend.server.served.store.layout.size if backend.server.served else 0


class Data(Handle):
    """An open `data`. It stays with the generation of its first read. Before there is a generation, nothing is held."""

    def __init__(self, backend: SwarmBackend) -> None:
        self._backend = backend
        self._served: Served | None = None

    def read(self, offset: int, count: int) -> bytes | Content:
        newest = self._backend.server.served
        if self._served is None or (newest is not None and newest.generation == self._served.generation):
            # A second store of the same generation may hold more of it.
            self._served = newest
        if self._served is None:
            raise NotHeld(offset, count)
        return self._served.store.read(offset, count)


class Have(Handle):
    """An open `have`. Each answer is the whole bitmap, at any offset. A read waits while there is no content, and then
    until the bitmap has changed."""

    def __init__(self, backend: SwarmBackend) -> None:
        self._backend = backend
        self._served: Served | None = None
        self._changes = -1
        """The store's count of changes when the last answer was made."""
        self._rest = b""

    @property
    def kept(self) -> int:
        return len(self._rest)

    def read(self, offset: int, count: int) -> bytes | Waiting:
        if not self._rest:
            self._served = self._served or self._backend.server.served
            if self._served is None or not self._has_news(self._served):
                return WAITING
            self._changes = self._served.store.changes
            self._rest = self._served.generation + self._served.store.held.to_bytes()
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def _has_news(self, served: Served) -> bool:
        return self._changes != served.store.changes


class PacedHave(Have):
    """The `have` of a child: it answers at most once in each round of the child, even if it is read again sooner."""

    def __init__(self, backend: ChildBackend) -> None:
        super().__init__(backend)
        self._child = backend
        self._round: int | None = None

    def _has_news(self, served: Served) -> bool:
        if not super()._has_news(served) or self._round == self._child.have_round:
            return False
        self._round = self._child.have_round
        return True


class Places(Handle):
    """A line in hexadecimal for each mark. A read waits while it is not known what is served."""

    def __init__(self, backend: MasterBackend) -> None:
        self._backend = backend
        self._text: bytes | None = None

    def read(self, offset: int, count: int) -> bytes | Waiting:
        served = self._backend.server.served
        if self._text is None:
            if served is None:
                return WAITING
            self._text = b"".join(b"%s\n" % mark.hex().encode() for mark in served.marks)
        return self._text[offset : offset + count]


class Peers(Stream):
    """An open `peers`. A client registers before it reads, so that its first news already names peers."""

    def __init__(self, backend: SwarmBackend) -> None:
        super().__init__()
        self._backend = backend
        self._subscribed = False

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        if not self._subscribed:
            self._subscribed = True
            self._backend.subscribe(self)
        return super().read(offset, count)

    def write(self, offset: int, data: bytes) -> int:
        if len(data) > LINE_LIMIT:
            raise NinepError(errno.EMSGSIZE)
        self._backend.register(Registration.decode(data))
        return len(data)


class MasterPeers(Peers):
    """The `peers` of a master: a registration is valid until the file is clunked."""

    def __init__(self, backend: MasterBackend) -> None:
        super().__init__(backend)
        self._master = backend

    def clunk(self) -> None:
        self._master.unsubscribe(self)


class Slot(Stream):
    """An open `offer` or `turn`. It requests a slot at the first read, and again at each read after an answer."""

    _numbers = count(1)
    """Unique in the process."""

    def __init__(self, backend: SwarmBackend) -> None:
        super().__init__()
        self._backend = backend
        self._requested = False
        self._slot = next(Slot._numbers)

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        if not self._requested:
            self._backend.request_slot(self._slot, self)
            self._requested = True
        data = super().read(offset, count)
        self._requested = data is WAITING or self.begun
        return data

    def clunk(self) -> None:
        self._backend.release_slot(self._slot)


class Offer(Slot):
    """An open `offer`. It stays with the generation of its first read or write, like `data`, and is forgotten when
    another one begins: the client means chunks of its own. Before there is a generation, it requests nothing."""

    def __init__(self, backend: MasterBackend) -> None:
        super().__init__(backend)
        self._master = backend
        self._generation: bytes | None = None

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        return super().read(offset, count) if self._is_current() else WAITING

    def write(self, offset: int, data: bytes) -> int:
        if len(data) > WANTS_LIMIT:
            raise NinepError(errno.EMSGSIZE)
        if self._is_current():
            self._master.wants(data)
        return len(data)

    def _is_current(self) -> bool:
        served = self._master.server.served
        if served is not None and self._generation is None:
            self._generation = served.generation
        return served is not None and served.generation == self._generation


class Turn(Slot):
    """An open `turn`. Any write returns the upload slot."""

    def write(self, offset: int, data: bytes) -> int:
        self._documents.clear()
        self._requested = False
        self._backend.release_slot(self._slot)
        return len(data)

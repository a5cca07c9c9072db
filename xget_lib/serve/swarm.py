"""The namespace `swarm`: how XGet's own clients work with a server, as files that any 9P client can read.

    manifest   the manifest of this server's generation, by offset
    data       the content stream, by offset; a range that is not held is an error at once
    have       the generation, 32 bytes, and a bitmap of the chunks held. Each further read answers when it has changed
    peers      a line of JSON for each piece of news (`News`). Written: what the writer serves (`Report`), to a master
               or to a peer, which takes content from there in its turn
    offer      chunks to take from this server, one a read (`17\\n`); reading on says that the last one has arrived.
               Written: a bitmap of the chunks that this node lacks and finds at none of its peers
    turn       at a child, instead of `offer`: a read answers (`take\n`) when it is this connection's turn to take a
               chunk; reading on says that it was used. Written, whatever it is: the turn is passed
    log        the debug level; written: a line for this server's log
    status     what this server is doing, JSON

A `Desk` answers for what goes beyond files: in a worker it asks the master, in a child it knows by itself.
"""

from __future__ import annotations

import errno
from typing import Protocol

from xget_lib.errors import NinepError, NotHeld, printable
from xget_lib.ninep.file import WAITING, Content, Waiting
from xget_lib.serve.served import Encoded, Served
from xget_lib.serve.synthetic import Answered, OpenFile, Place, Stream, Text, root
from xget_lib.swarm.messages import LINE_LIMIT, Report

SLOTS_LIMIT = 16
"""Slots, or turns, that one connection may ask for at once: each costs the one who gives them some thought whenever
something happens. Our clients have two, and one."""
TAKES_LIMIT = 60 * 1024
"""Bytes of a bitmap written to `offer`: what a message between worker and master carries. 480,000 chunks are 2 TB."""


class Desk(Protocol):
    """What a connection's swarm namespace asks of its server. One for each connection."""

    @property
    def served(self) -> Served | None:
        """The newest generation; None while there is none yet."""

    @property
    def manifest(self) -> Encoded | None:
        """The newest manifest: a node has it, and gives it away, before it has found out what it holds of it."""

    @property
    def debug(self) -> int:
        """The debug level."""

    @property
    def offers(self) -> bool:
        """Whether there is an `offer` file: a master gives chunks out. Where not there is a `turn` file: of a child one
        takes what its `have` says, when it is one's turn."""

    @property
    def news_round(self) -> int | None:
        """Another number whenever readers of `have` may be told of changes: a node that gets a chunk every few
        milliseconds tells of many at once, however soon its readers ask again. None where each is told at once."""

    def watch(self, news: Stream) -> None:
        """`peers` is read: lines of news go into this stream, the first as soon as there is one."""

    def register(self, report: Report) -> None:
        """A node wrote what it serves."""

    def unregister(self, news: Stream) -> None:
        """`peers` was clunked, whether it was read or not: the stream gets no more, and what was registered at a master
        does not hold."""

    def ask(self, slot: int, granted: Stream) -> None:
        """A slot asks for a chunk to take from this server: its number goes into the stream as a line. Or for a turn:
        a line goes into the stream when it comes."""

    def takes(self, chunks: bytes) -> None:
        """A bitmap of what the node lacks and finds at none of its peers."""

    def close_slot(self, slot: int) -> None:
        """`offer` or `turn` was clunked, or the turn was passed."""

    def ask_status(self, answer: Answered) -> None:
        """`status` is read: its text goes into the answer."""

    def remark(self, line: str) -> None:
        """A line for the log."""


def tree(desk: Desk) -> Place:
    """The namespace for one connection."""
    offer = Place("offer", 5, 0o666, lambda: Offer(desk))
    turn = Place("turn", 8, 0o666, lambda: Turn(desk))
    return root(
        [
            Place("manifest", 1, 0o444, lambda: Manifest(_manifest(desk)), lambda: _manifest_size(desk)),
            Place("data", 2, 0o444, lambda: Data(desk), lambda: _data_size(desk)),
            Place("have", 3, 0o444, lambda: Have(desk)),
            Place("peers", 4, 0o666, lambda: Peers(desk)),
            offer if desk.offers else turn,
            Place("log", 6, 0o666, lambda: Log(desk)),
            Place("status", 7, 0o444, lambda: Answered(desk.ask_status)),
        ]
    )


def _manifest(desk: Desk) -> Encoded:
    if desk.manifest is None:
        raise NinepError(errno.EAGAIN, "the snapshot is not ready yet")
    return desk.manifest


def _manifest_size(desk: Desk) -> int:
    return desk.manifest.size if desk.manifest else 0


def _data_size(desk: Desk) -> int:
    return desk.served.store.layout.size if desk.served else 0


class Manifest(OpenFile):
    def __init__(self, encoded: Encoded) -> None:
        self._encoded = encoded

    def read(self, offset: int, count: int) -> bytes | Content:
        return self._encoded.read(offset, count)


class Data(OpenFile):
    """Keeps to the generation that was there at the first read; while there is none, nothing is held."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._served: Served | None = None

    def read(self, offset: int, count: int) -> bytes | Content:
        newest = self._desk.served
        if self._served is None or (newest is not None and newest.generation == self._served.generation):
            # The same generation may have been surveyed again, and more of it be true now.
            self._served = newest
        if self._served is None:
            raise NotHeld(offset, count)
        return self._served.read_data(offset, count)


class Have(OpenFile):
    """Each read is the whole bitmap: there is nothing in it to be read by offset. Waits while there is no content, and
    then while there is nothing new, or it is too soon to say so."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._served: Served | None = None
        self._seen = -1
        self._round: int | None = None
        self._rest = b""

    def read(self, offset: int, count: int) -> bytes | Waiting:
        if not self._rest:
            self._served = self._served or self._desk.served
            if self._served is None or self._seen == self._served.store.changes:
                return WAITING
            if self._round is not None and self._round == self._desk.news_round:
                return WAITING
            self._seen, self._round = self._served.store.changes, self._desk.news_round
            self._rest = self._served.generation + self._served.store.held.to_bytes()
        data, self._rest = self._rest[:count], self._rest[count:]
        return data


class Peers(Stream):
    """Who serves says so before it reads, and so the first news name its peers."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._read = False

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        if not self._read:
            self._read = True
            self._desk.watch(self)
        return super().read(offset, count)

    def write(self, offset: int, data: bytes) -> int:
        if len(data) > LINE_LIMIT:
            raise NinepError(errno.EMSGSIZE)
        self._desk.register(Report.decode(data))
        return len(data)

    def clunk(self) -> None:
        self._desk.unregister(self)


class Asking(Stream):
    """A stream that the desk fills on request: the first read asks, and so does each read after an answer."""

    _numbers = 0

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._asked = False
        Asking._numbers += 1
        self._slot = Asking._numbers

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        if not self._asked:
            self._desk.ask(self._slot, self)
            self._asked = True
        data = super().read(offset, count)
        self._asked = data is WAITING or self.begun
        return data

    def clunk(self) -> None:
        self._desk.close_slot(self._slot)


class Offer(Asking):
    """Asks only when there is something to give out: a generation begins with nobody asking, so what was asked before
    would be forgotten, and who asked wait for ever."""

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        return WAITING if self._desk.served is None else super().read(offset, count)

    def write(self, offset: int, data: bytes) -> int:
        if len(data) > TAKES_LIMIT:
            raise NinepError(errno.EMSGSIZE)
        self._desk.takes(data)
        return len(data)


class Turn(Asking):
    def write(self, offset: int, data: bytes) -> int:
        self._documents.clear()
        self._asked = False
        self._desk.close_slot(self._slot)
        return len(data)


class Log(Text):
    def __init__(self, desk: Desk) -> None:
        super().__init__(b"%d\n" % desk.debug)
        self._desk = desk

    def write(self, offset: int, data: bytes) -> int:
        self._desk.remark(printable(data[:LINE_LIMIT].strip(b"\0\n ")))
        return len(data)

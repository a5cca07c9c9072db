"""What a C client of XCPU 1.2.3 once said to a C server, said again to ours.

test/traces/c_xget has the conversations, recorded on loopback: a JSON object a line, with the connection, the direction
and the message; messages of over 600 bytes carry only their first 64. Each recorded request is sent as it was, and each
of our answers is held to what the client relied on: the kind of message, how far a walk came, modes, owners, lengths,
texts, and the content, which is what we serve. What differs rightly is the length of a directory's entries, and so the
offset from which the client reads on: it is where our answer ended.
"""

from __future__ import annotations

import json
import os
import socket
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually
from test.support.directories import unpack_directory
from test.support.processes import PATIENCE
from test.support.trees import noise, write
from xget_lib.ninep import messages
from xget_lib.ninep.dialect import NINEP2000, decode, encode
from xget_lib.ninep.messages import Message, Rerror, Rwalk, Topen, Tread, Tstat, Twalk, Twrite
from xget_lib.ninep.stat import PLAIN_STAT, Stat
from xget_lib.ninep.wire import QTDIR

RECORDINGS = Path(__file__).parent.parent / "traces" / "c_xget"
LISTENED = 43067
"""The port on which the recorded client that came first serves."""
YEAR_2020 = 1_577_934_245


@dataclass(frozen=True)
class Record:
    connection: int
    request: bool
    wire: bytes
    size: int

    @property
    def whole(self) -> bool:
        return len(self.wire) == self.size

    @property
    def kind(self) -> int:
        return self.wire[4]

    @property
    def tag(self) -> int:
        return int.from_bytes(self.wire[5:7], "little")

    def message(self) -> Message:
        assert self.whole
        return decode(self.wire, NINEP2000)[1]


def recorded(name: str) -> list[Record]:
    lines = map(json.loads, (RECORDINGS / name).read_text().splitlines())
    return [Record(each["conn"], each["dir"] == "T", bytes.fromhex(each["hex"]), each["size"]) for each in lines]


@dataclass
class Fid:
    names: tuple[str, ...]
    directory: bool
    read: int = 0
    """Bytes of a directory's entries that were read."""


@dataclass
class Client:
    """One recorded connection, held with our master."""

    sock: socket.socket
    source: Path
    fids: dict[int, Fid] = field(default_factory=dict)
    asked: dict[int, Message] = field(default_factory=dict)
    """By tag: what has no reply yet."""
    heard: dict[int, Message] = field(default_factory=dict)
    listed: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)
    """What `redir` and `checksum` said."""

    def say(self, record: Record) -> None:
        request = record.message()
        if isinstance(request, Tread) and self.fids[request.fid].directory:
            request = replace(request, offset=self.fids[request.fid].read)
        self.asked[record.tag] = request
        wire = encode(record.tag, request, NINEP2000)
        assert wire == record.wire or isinstance(request, Tread)
        self.sock.sendall(wire)

    def hear(self, tag: int) -> tuple[Message, Message]:
        """The request with this tag, and our reply to it."""
        while tag not in self.heard:
            size = self._take(4)
            other, reply = decode(size + self._take(int.from_bytes(size, "little") - 4), NINEP2000)
            self.heard[other] = reply
        return self.asked.pop(tag), self.heard.pop(tag)

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            assert part, "the master ended the connection"
            data += part
        return data

    def path(self, fid: int) -> Path:
        """The served file that a fid is about."""
        names = self.fids[fid].names
        return self.source.joinpath(*(names if self.fids[fid].directory else names[:-1]))

    def check(self, record: Record) -> None:
        """Our answer against the recorded one. What a request is about is known from the walks before it."""
        request, ours = self.hear(record.tag)
        where = f"{request}: {ours}"
        if isinstance(request, messages.Tclunk) and request.fid not in self.fids:
            # Of a walk that came halfway: the C server makes that fid all the same.
            return
        if isinstance(request, Twalk) and isinstance(ours, Rerror):
            assert record.kind == 107, where
            return
        assert ours.number == record.kind, where
        match request:
            case Twalk():
                self._check_walk(request, ours, record.message())
            case Tstat():
                assert isinstance(ours, messages.Rstat)
                self._check_stat(request.fid, Stat.unpack(ours.stat, PLAIN_STAT), record.message())
            case Tread():
                assert isinstance(ours, messages.Rread)
                self._check_read(request, bytes(ours.data), record)
            case Topen():
                theirs = record.message()
                assert isinstance(ours, messages.Ropen) and isinstance(theirs, messages.Ropen)
                assert (ours.qid.type, ours.iounit) == (theirs.qid.type, theirs.iounit), where
            case messages.Tversion() | Twrite():
                assert ours == record.message(), where

    def _check_walk(self, request: Twalk, ours: Message, theirs: Message) -> None:
        assert isinstance(ours, Rwalk) and isinstance(theirs, Rwalk)
        kinds = [qid.type for qid in ours.wqid]
        assert kinds == [qid.type for qid in theirs.wqid], request
        if len(kinds) == len(request.wname):
            names = (*self.fids[request.fid].names, *request.wname) if request.fid else request.wname
            self.fids[request.newfid] = Fid(names, not kinds or bool(kinds[-1] & QTDIR))

    def _check_stat(self, fid: int, ours: Stat, reply: Message) -> None:
        assert isinstance(reply, messages.Rstat)
        theirs = Stat.unpack(reply.stat, PLAIN_STAT)
        status = self.path(fid).stat()
        assert (ours.name, ours.mode, ours.length) == (theirs.name, theirs.mode, theirs.length)
        assert ours.mode & 0o777 == status.st_mode & 0o777
        assert ours.mtime == int(status.st_mtime)
        assert (ours.uid, ours.gid) == (self.path(fid).owner(), self.path(fid).group())

    def _check_read(self, request: Tread, ours: bytes, record: Record) -> None:
        fid = self.fids[request.fid]
        length = int.from_bytes(record.wire[7:11], "little")
        if fid.directory:
            fid.read += len(ours)
            assert bool(ours) == bool(length), "the entries end where there are no more"
            names = [entry.name for entry in unpack_directory(ours, PLAIN_STAT)]
            self.listed.setdefault(fid.names, []).extend(names)
        elif fid.names[-1] == "data":
            assert len(ours) == length
            assert ours == self.path(request.fid).read_bytes()[request.offset : request.offset + request.count]
        elif request.offset == 0:
            self.texts.append((fid.names[-1], ours.decode()))
        else:
            assert ours == b"", "the text has been read"


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


def hold(master: Master, source: Path, name: str, sockets: list[socket.socket]) -> dict[int, Client]:
    """Hold the recorded conversations; the clients by their numbers."""
    clients: dict[int, Client] = {}
    for record in recorded(name):
        if record.connection not in clients:
            sockets.append(socket.create_connection(("127.0.0.1", master.port), timeout=PATIENCE))
            clients[record.connection] = Client(sockets[-1], source)
        client = clients[record.connection]
        if record.request:
            if len(clients) > 1 and record.kind == 110 and b"redir" in record.wire:
                # Master and worker agree on who serves what a moment after that was said.
                eventually(lambda: master.status()["c_clients"], "the first client serves")
            client.say(record)
        else:
            client.check(record)
    assert not any(client.asked or client.heard for client in clients.values())
    return clients


def test_a_tree_is_downloaded(cluster: Cluster, sockets: list[socket.socket]) -> None:
    source = cluster.base / "served"
    (source / "sub").mkdir(parents=True)
    (source / "emptydir").mkdir()
    write(source / "file1", b"hello xget\n", mode=0o640, mtime=YEAR_2020 * 10**9)
    write(source / "zero", b"")
    write(source / "sub" / "file2", noise(20_000, 2))
    write(source / ".hidden", b"which the C server does not show\n")
    os.symlink("file1", source / "link")
    for directory in (source, source / "sub", source / "emptydir"):
        os.chmod(directory, 0o755)
    master = cluster.master(source)
    (client,) = hold(master, source, "tree.jsonl", sockets).values()
    assert client.listed == {
        (): ["log", ".hidden", "emptydir", "file1", "sub", "zero"],
        ("emptydir",): [],
        ("sub",): ["file2"],
    }
    checksums = [str(zlib.adler32(noise(20_000, 2))), "427754487", "1"]
    assert client.texts == [*[("redir", "me")] * 3, *(("checksum", text) for text in checksums)]
    assert master.logged("Downloading file: /sub/file2 from master")


def test_the_second_client_is_sent_to_the_first(cluster: Cluster, sockets: list[socket.socket]) -> None:
    source = cluster.base / "served"
    source.mkdir()
    write(source / "image", noise(400_000, 4))
    master = cluster.master(source, "-m", "1")
    first, second = hold(master, source, "redirect.jsonl", sockets).values()
    checksum = ("checksum", str(zlib.adler32(noise(400_000, 4))))
    assert first.texts == [("redir", "me"), checksum]
    assert second.texts == [("redir", f"127.0.0.1!{LISTENED}"), checksum]
    eventually(lambda: not master.status()["c_clients"], "both have clunked what they said")

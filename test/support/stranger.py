"""Somebody who talks to a server without proving that he belongs, or with a proof that he makes himself."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from test.support.cluster import Master
from test.support.processes import PATIENCE
from xget_lib.ninep import linux
from xget_lib.ninep.auth import LINE_LIMIT
from xget_lib.ninep.dialect import NINEP2000_L, decode, encode
from xget_lib.ninep.messages import (
    Message,
    Rauth,
    Rread,
    Rversion,
    Rwrite,
    Tattach,
    Tauth,
    Tclunk,
    TMessage,
    Topen,
    Tread,
    Tstat,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.wire import NOFID, NOTAG

AFID = 1


@dataclass(frozen=True)
class Servers:
    """A master and a child of it, which ask for the same proof, and their ports."""

    master: Master
    child: int

    def port(self, role: str) -> int:
        return self.master.port if role == "master" else self.child


class Stranger:
    """A connection that says whatever it likes, and keeps every byte that it gets."""

    def __init__(self, port: int, dialect: str) -> None:
        self.dialect = dialect
        self.heard = b""
        self._tag = 0
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        assert isinstance(self.ask(Tversion(8192, dialect)), Rversion)

    def ask(self, message: TMessage) -> Message:
        self._tag += 1
        tag = NOTAG if isinstance(message, Tversion) else self._tag
        self.sock.sendall(encode(tag, message, self.dialect))
        frame = self._take(4)
        frame += self._take(int.from_bytes(frame, "little") - 4)
        return decode(frame, self.dialect)[1]

    def challenge(self, aname: str) -> bytes:
        assert isinstance(self.ask(Tauth(AFID, "", aname)), Rauth)
        read = self.ask(Tread(AFID, 0, LINE_LIMIT))
        assert isinstance(read, Rread)
        return bytes(read.data)

    def answer(self, line: bytes) -> bool:
        return isinstance(self.ask(Twrite(AFID, 0, line)), Rwrite)

    def look_around(self, aname: str, name: str) -> None:
        """Ask for everything that a member would ask for, also for a file of this name. Nothing may be granted."""
        reads: list[TMessage] = [Tread(0, 0, 4096), Tread(AFID, 0, LINE_LIMIT), Tclunk(0)]
        walks = [Twalk(fid, 2, names) for fid in (0, AFID) for names in ((), (name,), ("status",))]
        own: list[TMessage] = [Topen(0, 0), Topen(AFID, 0), Tstat(0), Tstat(AFID)]
        if self.dialect == NINEP2000_L:
            own = [linux.Tlopen(0, 0), linux.Tgetattr(AFID, 0), linux.Treaddir(0, 0, 4096), linux.Tstatfs(AFID)]
            own += [linux.Txattrwalk(AFID, 3, ""), linux.Treadlink(0)]
        for message in (Tattach(0, NOFID, "", aname), Tattach(0, AFID, "", aname), *walks, *own, *reads):
            reply = self.ask(message)
            assert reply.is_error or reply == Rread(b""), (message, reply)

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            part = self.sock.recv(count - len(taken))
            assert part, "the server closed the connection"
            taken += part
        self.heard += taken
        return taken

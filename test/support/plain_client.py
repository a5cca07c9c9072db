"""A 9P client that knows nothing of XGet: the codec over a blocking socket, one request at a time."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import TypeVar

from test.support.directories import unpack_directory
from test.support.processes import PATIENCE
from xget_lib.errors import NinepError
from xget_lib.ninep.messages import (
    Rattach,
    Rerror,
    RMessage,
    Ropen,
    Rread,
    Rstat,
    Rversion,
    Rwalk,
    Rwrite,
    Tattach,
    Tclunk,
    TMessage,
    Topen,
    Tread,
    Tstat,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.requests import Requests
from xget_lib.ninep.stat import PLAIN_STAT, Stat
from xget_lib.ninep.wire import NOFID

_R = TypeVar("_R", bound=RMessage)
MSIZE = 65536


class PlainClient:
    """A connection, attached to one namespace; the root is fid 0. An Rerror is raised as NinepError."""

    def __init__(self, port: int, aname: str, host: str = "127.0.0.1", source: str = "") -> None:
        """`source`: the address to connect from. Each of 127.0.0.0/8 is a host of its own to a server."""
        self._sock = socket.create_connection((host, port), PATIENCE, (source, 0))
        self._requests = Requests(MSIZE)
        self._next_fid = 1
        try:
            self.call(Tversion(MSIZE, "9P2000"), Rversion)
            self.call(Tattach(0, NOFID, "glenda", aname), Rattach)
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> PlainClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sock.close()

    def send(self, message: TMessage) -> None:
        """Sends a request whose reply nobody waits for: the connection is of no use for `call` afterwards."""
        self._sock.sendall(self._requests.submit(message)[1])

    def call(self, message: TMessage, kind: type[_R]) -> _R:
        """Sends a request and waits for its reply, which must be of that kind."""
        tag, wire = self._requests.submit(message)
        self._sock.sendall(wire)
        while True:
            received = self._sock.recv_into(self._requests.buffer())
            if not received:
                raise ConnectionResetError("the server closed the connection")
            for answer in self._requests.received(received):
                assert answer.tag == tag
                if isinstance(answer.reply, Rerror):
                    raise NinepError(5, answer.reply.ename)
                assert isinstance(answer.reply, kind)
                return answer.reply

    def walk(self, *names: str) -> int:
        """A new fid for what is below the root by these names. Raises NinepError where there is no such file."""
        fid = self._next_fid
        self._next_fid += 1
        walked = self.call(Twalk(0, fid, names), Rwalk)
        if len(walked.wqid) < len(names):
            raise NinepError(2, f"{names[len(walked.wqid)]}: not found")
        return fid

    def open(self, *names: str, mode: int = 0) -> int:
        fid = self.walk(*names)
        self.call(Topen(fid, mode), Ropen)
        return fid

    def read(self, fid: int, offset: int, count: int = MSIZE - 24) -> bytes:
        return bytes(self.call(Tread(fid, offset, count), Rread).data)

    def read_all(self, *names: str) -> bytes:
        """A whole file, from its beginning to its end."""
        fid = self.open(*names)
        text = b""
        while part := self.read(fid, len(text)):
            text += part
        return text

    def write(self, fid: int, data: bytes) -> int:
        return self.call(Twrite(fid, 0, data), Rwrite).count

    def stat(self, *names: str) -> Stat:
        return Stat.unpack(self.call(Tstat(self.walk(*names)), Rstat).stat, PLAIN_STAT)

    def names(self, *names: str) -> list[str]:
        """What is in a directory."""
        return [entry.name for entry in unpack_directory(self.read_all(*names), PLAIN_STAT)]

    def clunk(self, fid: int) -> None:
        self.call(Tclunk(fid), RMessage)

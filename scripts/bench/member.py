"""A member of a cluster with a secret, over a blocking socket: it connects, proves the secret, and reads a file."""

from __future__ import annotations

import os
import socket
from types import TracebackType

from xget_lib.ninep.auth import LINE_LIMIT, NONCE_SIZE, ClientHandshake
from xget_lib.ninep.dialect import NINEP2000
from xget_lib.ninep.messages import Message, Rread, Tattach, Tauth, TMessage, Topen, Tread, Tversion, Twalk, Twrite
from xget_lib.ninep.requests import Requests

from .loopback import HOST

_MSIZE = 8192
_ROOT, _AFID, _FILE = 0, 1, 2
_ANAME = "swarm"
_PATIENCE = 30.0


class Member:
    """Connected, and attached to `swarm`. Raises OSError if it is refused, or ended."""

    def __init__(self, port: int, key: bytes) -> None:
        self._sock = socket.create_connection((HOST, port), _PATIENCE)
        self._requests = Requests(_MSIZE)
        try:
            self._ask(Tversion(_MSIZE, NINEP2000))
            self._ask(Tauth(_AFID, "", _ANAME))
            handshake = ClientHandshake(key, os.urandom(NONCE_SIZE), "", _ANAME)
            self._ask(Twrite(_AFID, 0, handshake.answer(self._read(_AFID, LINE_LIMIT))))
            if handshake.check(self._read(_AFID, LINE_LIMIT)) is None:
                raise OSError("the server does not prove the secret")
            self._ask(Tattach(_ROOT, _AFID, "", _ANAME))
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Member:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sock.close()

    def read(self, name: str) -> bytes:
        """The beginning of a file."""
        self._ask(Twalk(_ROOT, _FILE, (name,)))
        self._ask(Topen(_FILE, 0))
        return self._read(_FILE, _MSIZE - 24)

    def _read(self, fid: int, count: int) -> bytes:
        reply = self._ask(Tread(fid, 0, count))
        assert isinstance(reply, Rread)
        return bytes(reply.data)

    def _ask(self, message: TMessage) -> Message:
        self._sock.sendall(self._requests.submit(message)[1])
        while True:
            received = self._sock.recv_into(self._requests.buffer())
            if not received:
                raise ConnectionResetError("the server closed the connection")
            for answer in self._requests.received(received):
                if answer.reply.is_error:
                    raise OSError(f"{type(message).__name__} was refused")
                return answer.reply

"""A 9P client that knows nothing of XGet: the codec over a blocking socket, one request at a time."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from test.support.directories import unpack_directory
from test.support.processes import PATIENCE
from xget_lib.errors import NinepError
from xget_lib.ninep.auth import KEY_SIZE, LINE_LIMIT, MUNGE, NONCE_SIZE, ClientHandshake, offered_by
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import (
    Rattach,
    Rauth,
    Rerror,
    RMessage,
    Ropen,
    Rread,
    Rstat,
    Rversion,
    Rwalk,
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
from xget_lib.ninep.requests import Requests
from xget_lib.ninep.stat import PLAIN_STAT, Stat
from xget_lib.ninep.wire import NOFID
from xget_lib.process.certificates import binding_of
from xget_lib.process.libmunge import LibMunge

Key = bytes | LibMunge
"""Of a secret, or what makes credentials of MUNGE."""

_R = TypeVar("_R", bound=RMessage)
MSIZE = 65536


def any_server() -> ssl.SSLContext:
    """TLS with whatever certificate: the secret's proof says whose it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class PlainClient:
    """A connection, attached to one namespace; the root is fid 0. An Rerror is raised as NinepError."""

    def __init__(
        self,
        port: int,
        aname: str,
        host: str = "127.0.0.1",
        *,
        source: str = "",
        key: Key | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`source`: the address of this machine to connect from, such as 127.0.0.2. `key`: to prove to the server, of
        its secret or by MUNGE. `tls`: to speak TLS with it. A `host` with a slash is the path of a Unix socket."""
        self._binding = b""
        if "/" in host:
            self._sock = socket.socket(socket.AF_UNIX)
            self._sock.settimeout(PATIENCE)
            self._sock.connect(host)
        else:
            self._sock = socket.create_connection((host, port), timeout=PATIENCE, source_address=(source, 0))
        if tls is not None:
            self._sock = tls_sock = tls.wrap_socket(self._sock)
            self._binding = binding_of(tls_sock.getpeercert(binary_form=True) or b"")
        self._requests = Requests(MSIZE)
        self._next_fid = 1
        try:
            self.call(Tversion(MSIZE, "9P2000"), Rversion)
            afid = NOFID if key is None else self._prove(key, aname)
            self.call(Tattach(0, afid, "glenda", aname), Rattach)
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> PlainClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sock.close()

    def _prove(self, key: Key, aname: str) -> int:
        afid = 4711
        self.call(Tauth(afid, "glenda", aname), Rauth)
        challenge = bytes(self.call(Tread(afid, 0, LINE_LIMIT), Rread).data)
        own = os.urandom(KEY_SIZE) if isinstance(key, LibMunge) else key
        handshake = ClientHandshake(own, os.urandom(NONCE_SIZE), "glenda", aname, self._binding)
        if isinstance(key, LibMunge):
            server = offered_by(challenge)[MUNGE]
            assert server is not None
            answer = handshake.answer_with(key.encode(handshake.payload(challenge), server))
        else:
            answer = handshake.answer(challenge)
        self.call(Twrite(afid, 0, answer), Rwrite)
        assert handshake.check(bytes(self.call(Tread(afid, 0, LINE_LIMIT), Rread).data))
        return afid

    @property
    def sock(self) -> socket.socket:
        return self._sock

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

    def send(self, *messages: TMessage) -> None:
        """Sends requests and does not wait for their replies. Use `call` no more afterwards."""
        self._sock.sendall(b"".join(self._requests.submit(message)[1] for message in messages))

    def flood(self, messages: Sequence[TMessage]) -> None:
        """Sends requests, which have no content, at once and reads all their replies. Errors are ignored."""
        wire = b"".join(encode(tag, message, NINEP2000) for tag, message in enumerate(messages, 1))
        self._sock.sendall(wire)
        received, answered = b"", 0
        while answered < len(messages):
            part = self._sock.recv(1 << 20)
            if not part:
                raise ConnectionResetError("the server closed the connection")
            received += part
            while len(received) >= 4 and len(received) >= (size := int.from_bytes(received[:4], "little")):
                received, answered = received[size:], answered + 1

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

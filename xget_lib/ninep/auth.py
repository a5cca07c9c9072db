"""How the two sides of a connection prove to each other that they have the same secret: one object for each, no I/O.

9P leaves it to the sides what they say (attach(5)): Tauth makes `afid`, a file that both read and write, and the
Tattach that names this fid gets in if what was said is enough. Here three lines are said:

    server    xget-auth 1 SERVER_NONCE SERVER METHOD...     the first read
    client    secret CLIENT_NONCE PROOF                     a write
    server    PROOF                                         the next read

Nonces and proofs are 32 bytes in hexadecimal. A proof is the HMAC-SHA256, under a key of the secret, of: the name of
this protocol, the role of who proves, the first line, the nonce of the client, the `uname` and `aname` of Tauth, and
`binding`; the length of each stands before it. So a proof is good for one connection (the nonces), for one of the sides
(the role: nobody can be sent his own proof), for one tree, and for the methods that were offered. SERVER is `master` or
`child`: all have the same secret, and a child that has an old generation must not answer in the place of the master.
`binding` names what the connection is made of: empty for plain TCP, and with TLS the fingerprint of the server's
certificate.

The client proves first, so a stranger who asks a server gets a nonce and nothing that is made with the key. The client
must not believe what it reads on this connection before it has checked the server's proof.

Both sides also have a `session_key` then, which nobody else knows, for what is to be proved later (`swarm.seal`).
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.ninep.file import File, Handle
from xget_lib.ninep.stat import Stat
from xget_lib.ninep.wire import QTAUTH, Qid

AUTHENTICATION_REQUIRED = (errno.EACCES, "authentication required")
AUTHENTICATION_FAILED = (errno.EACCES, "authentication failed")
TLS_REQUIRED = (errno.EACCES, "TLS required")
NO_AUTHENTICATION = (errno.ENOENT, "no authentication required")
"""The errno is diod's: after any other its clients do not go on without authentication (libnpclient/mount.c)."""

MASTER, CHILD = "master", "child"
"""What a server is."""

NONCE_SIZE = 32
"""Bytes."""
LINE_LIMIT = 512
"""Bytes of a line that is said here."""

_PROTOCOL = b"xget-auth 1"
_SECRET = b"secret"
_CHALLENGE = re.compile(rb"xget-auth 1 [0-9a-f]{64} (master|child)((?: [a-z]+)+)\n")
_ANSWER = re.compile(rb"secret ([0-9a-f]{64}) ([0-9a-f]{64})\n")
_CLIENT, _SERVER, _SESSION = b"client", b"server", b"session"


class Tls(Protocol):
    """What makes the connections of a process TLS: `process.certificates`, for the sockets of `net.transport`."""

    @property
    def binding(self) -> bytes:
        """Of connections to servers of this process: see above."""

    def accepted(self, sock: Any) -> Any: ...

    def connected(self, sock: Any, address: tuple[str, int]) -> Any: ...


@dataclass(eq=False)
class Credentials:
    """What this process proves to others, and accepts from them. One in each process; all its connections share it."""

    required: bool = False
    """Whether others must prove that they belong."""
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    """Of the secret: the first is used, all are accepted. Replaced as a whole when the secret changes."""
    source: str = ""
    """Where the keys come from, for messages."""
    tls: Tls | None = None
    """All connections are TLS, if this is set. Without keys, its certificates say who belongs."""
    server: str = MASTER
    """What this process is, where it is a server."""

    @property
    def guard(self) -> bool:
        """Whether a connection must prove anything before it is served."""
        return self.required or self.tls is not None


class Gate(Protocol):
    """What a session asks about its client before anything can be seen. One for each connection."""

    @property
    def refusal(self) -> tuple[int, str]:
        """The errno and the text for a client that must do something else first."""

    def begin(self, uname: str, aname: str) -> ServerHandshake:
        """The client wants to prove that it belongs. Raises NinepError if it must do something else first."""

    def is_open(self, dialect: str, aname: str) -> bool:
        """Whether this client gets this tree without a proof."""

    def admitted(self, proof: ServerHandshake | None) -> None:
        """The client has attached to a tree, with this proof; None: it needed none."""


def digest(key: bytes, message: bytes) -> bytes:
    """The HMAC-SHA256 of a message."""
    import hmac  # loads OpenSSL, which takes 3 ms at each start: only who has a secret needs it

    return hmac.digest(key, message, "sha256")


def is_equal(one: bytes, other: bytes) -> bool:
    """Compares in a time that does not depend on what is different."""
    import hmac

    return hmac.compare_digest(one, other)


@dataclass(frozen=True)
class _Transcript:
    """What both sides must have seen alike."""

    challenge: bytes
    client_nonce: bytes
    uname: str
    aname: str
    binding: bytes

    def mac(self, key: bytes, role: bytes) -> bytes:
        names = self.uname.encode(errors="surrogateescape"), self.aname.encode(errors="surrogateescape")
        fields = _PROTOCOL, role, self.challenge, self.client_nonce, *names, self.binding
        return digest(key, b"".join(len(each).to_bytes(4, "little") + each for each in fields))


class ServerHandshake(Handle):
    """The server's side: the handle of an afid. Each is good for one proof, whether it is right or not."""

    def __init__(self, credentials: Credentials, nonce: bytes, uname: str, aname: str, binding: bytes = b"") -> None:
        """`nonce`: NONCE_SIZE random bytes, used once."""
        self._credentials = credentials
        self._names = uname, aname
        self._binding = binding
        said = _PROTOCOL, nonce.hex().encode(), credentials.server.encode(), _SECRET
        self._challenge = self._text = b" ".join(said) + b"\n"
        self._answered = False
        self._key = b""
        self.session_key: bytes | None = None
        """Set when the client has proved that it belongs."""
        self.failed = False
        """Whether the client has given a proof with a key that is none of the secret."""

    @property
    def is_valid(self) -> bool:
        """Whether the client has proved that it belongs, with a key that is still one of the secret."""
        return self.session_key is not None and self._key in self._credentials.keys

    def proves(self, uname: str, aname: str) -> bool:
        """Whether the client may attach with these names."""
        return self.is_valid and self._names == (uname, aname)

    def read(self, offset: int, count: int) -> bytes:
        """The line that is to be said now, at any offset."""
        return self._text[:count]

    def write(self, offset: int, data: bytes) -> int:
        """Take the client's line. Raises NinepError if it proves nothing."""
        answer = None if self._answered else _ANSWER.fullmatch(data)
        self._answered, self._text = True, b""
        if answer is not None:
            said = _Transcript(self._challenge, bytes.fromhex(answer[1].decode()), *self._names, self._binding)
            proof = bytes.fromhex(answer[2].decode())
            # All of them, so that the time says nothing about which one is right.
            right = [key for key in self._credentials.keys if is_equal(said.mac(key, _CLIENT), proof)]
            if right:
                self._text = said.mac(right[0], _SERVER).hex().encode() + b"\n"
                self._key, self.session_key = right[0], said.mac(right[0], _SESSION)
                return len(data)
            self.failed = True
        self.session_key = None
        raise NinepError(*AUTHENTICATION_FAILED)


class ClientHandshake:
    """The client's side: first `answer`, then `check`."""

    def __init__(self, key: bytes, nonce: bytes, uname: str, aname: str, binding: bytes = b"") -> None:
        """`nonce`: NONCE_SIZE random bytes, used once."""
        self._key = key
        self._nonce = nonce
        self._names = uname, aname
        self._binding = binding
        self._said: _Transcript | None = None
        self.server = ""
        """What the server says that it is: true if its proof is right."""

    def answer(self, challenge: bytes) -> bytes:
        """What to write to the afid after the server's first line. Raises ProtocolViolation if that is none that this
        side can answer."""
        offered = _CHALLENGE.fullmatch(challenge)
        if offered is None or _SECRET not in offered[2].split():
            raise ProtocolViolation("it asks for another kind of proof")
        self.server = offered[1].decode()
        self._said = _Transcript(challenge, self._nonce, *self._names, self._binding)
        proof = self._said.mac(self._key, _CLIENT)
        return b"%s %s %s\n" % (_SECRET, self._nonce.hex().encode(), proof.hex().encode())

    def check(self, proof: bytes) -> bytes | None:
        """The session key, if the server's last line proves that it has the secret; None otherwise."""
        assert self._said is not None
        expected = self._said.mac(self._key, _SERVER).hex().encode() + b"\n"
        return self._said.mac(self._key, _SESSION) if is_equal(expected, proof) else None


class AuthFile(File):
    """What an afid stands for. It has no name, and nothing can be asked of it but what its handle answers."""

    @property
    def qid(self) -> Qid:
        return Qid(QTAUTH, 0, 0)

    def stat(self) -> Stat:
        raise NinepError(*AUTHENTICATION_REQUIRED)

    def open(self, mode: int) -> Handle:
        raise NinepError(*AUTHENTICATION_REQUIRED)

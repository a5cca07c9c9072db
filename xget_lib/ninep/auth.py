"""How the two sides of a connection prove to each other that they belong to the same cluster: one object for each side,
no I/O.

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

With MUNGE the key is one that the client has just made. It goes to the server in a credential, with the proof:

    client    munge CLIENT_NONCE CREDENTIAL

The payload is the key and the proof of the client, 32 bytes each. The credential says which user has made it, and only
the user who runs the server can decode it; the server names him in its first line, as `munge:UID`. So the server has
proved who it is when it knows the key, and everything else is as with a secret.

Both sides also have a `session_key` then, which nobody else knows, for what is to be proved later (`swarm.seal`).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import Any, Protocol

from xget_lib.dataclass import dataclass, field
from xget_lib.errors import MungeUnavailable, NinepError, ProtocolViolation
from xget_lib.ninep.file import WAITING, File, Handle, Waiting
from xget_lib.ninep.stat import Stat
from xget_lib.ninep.wire import QTAUTH, Qid

AUTHENTICATION_REQUIRED = (errno.EACCES, "authentication required")
AUTHENTICATION_FAILED = (errno.EACCES, "authentication failed")
AUTHENTICATION_UNAVAILABLE = (errno.EAGAIN, "authentication is not available now")
TLS_REQUIRED = (errno.EACCES, "TLS required")
NO_AUTHENTICATION = (errno.ENOENT, "no authentication required")
"""The errno is diod's: after any other its clients do not go on without authentication (libnpclient/mount.c)."""

MASTER, CHILD = "master", "child"
"""What a server is."""

NONCE_SIZE = 32
"""Bytes."""
LINE_LIMIT = 512
"""Bytes of a line that is said here."""

SECRET, MUNGE = "secret", "munge"
"""The methods."""

_PROTOCOL = b"xget-auth 1"
_CHALLENGE = re.compile(rb"xget-auth 1 [0-9a-f]{64} (master|child)((?: [a-z]+(?::[0-9]{1,10})?)+)\n")
_ANSWER = re.compile(rb"secret ([0-9a-f]{64}) ([0-9a-f]{64})\n")
_MUNGE_ANSWER = re.compile(rb"munge ([0-9a-f]{64}) (MUNGE:[0-9A-Za-z+/=]+:)\n")
_CLIENT, _SERVER, _SESSION = b"client", b"server", b"session"
KEY_SIZE = 32
"""Bytes of a key that goes in a credential, and of the proof behind it."""


class Munge(Protocol):
    """What makes and decodes credentials of MUNGE: `net.munge`."""

    @property
    def uid(self) -> int:
        """Of this process: the user in whose name it makes credentials, and who can decode those for it."""

    def allows(self, uid: int) -> bool:
        """Whether processes of this user belong."""

    def encode(self, payload: bytes, for_uid: int) -> bytes:
        """A credential that this user can decode. Waits for it. Raises MungeUnavailable."""

    def decode(self, credential: bytes, on_decoded: Callable[[tuple[int, bytes] | Exception], None]) -> None:
        """Call back later: with the uid that has made it, and the payload; or with MungeRefused, MungeUnavailable."""


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
    """Where the keys come from, for messages. Empty: there is no secret."""
    tls: Tls | None = None
    """All connections are TLS, if this is set. Without a method, its certificates say who belongs."""
    methods: tuple[str, ...] = (SECRET,)
    """Accepted from others. To others it is proved by the first that they accept."""
    munge: Munge | None = None
    """There if it is one of the methods."""
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

    def proves(self, key: bytes, proof: bytes) -> bool:
        """Whether this is the client's proof."""
        return is_equal(self.mac(key, _CLIENT), proof)


def offered_by(challenge: bytes) -> dict[str, int | None]:
    """The methods that the first line of a server offers, each with the uid in it. Raises ProtocolViolation."""
    return _parsed(challenge)[1]


def _parsed(challenge: bytes) -> tuple[str, dict[str, int | None]]:
    """What the server is, and `offered_by`. Raises ProtocolViolation."""
    line = _CHALLENGE.fullmatch(challenge)
    if line is None:
        raise ProtocolViolation("it asks for another kind of proof")
    methods = [method.partition(":") for method in line[2].decode().split()]
    return line[1].decode(), {name: int(uid) if uid else None for name, _, uid in methods}


class ServerHandshake(Handle):
    """The server's side: the handle of an afid. Each is good for one proof, whether it is right or not."""

    def __init__(
        self,
        credentials: Credentials,
        nonce: bytes,
        uname: str,
        aname: str,
        binding: bytes = b"",
        on_checked: Callable[[], None] = lambda: None,
    ) -> None:
        """`nonce`: NONCE_SIZE random bytes, used once. `on_checked` is called when `checking` ends."""
        self._credentials = credentials
        self._names = uname, aname
        self._binding = binding
        self._on_checked = on_checked
        methods = [f"{MUNGE}:{credentials.munge.uid}" if credentials.munge and each == MUNGE else each
                   for each in credentials.methods]  # fmt: skip
        said = nonce.hex(), credentials.server, *methods
        self._challenge = _PROTOCOL + b" " + " ".join(said).encode() + b"\n"
        self._text: bytes | NinepError = self._challenge
        """What the client reads next."""
        self._answered = False
        self.checking = False
        """Whether the credential of the client is being decoded."""
        self.refused = ""
        """Why the client has proved nothing, and cannot any more; empty while it may. For the log."""
        self._key: bytes | None = None
        """Of the secret, that the client has proved; None with MUNGE, whose keys are of one handshake."""
        self.session_key: bytes | None = None
        """Set when the client has proved that it belongs."""

    @property
    def is_valid(self) -> bool:
        """Whether the client has proved that it belongs, and what it has proved still counts."""
        return self.session_key is not None and (self._key is None or self._key in self._credentials.keys)

    def proves(self, uname: str, aname: str) -> bool:
        """Whether the client may attach with these names."""
        return self.is_valid and self._names == (uname, aname)

    def read(self, offset: int, count: int) -> bytes | Waiting:
        """The line that is to be said now, at any offset. Raises NinepError if a credential proves nothing, or cannot
        be decoded now."""
        if self.checking:
            return WAITING
        if isinstance(self._text, NinepError):
            raise self._text.with_traceback(None)
        return self._text[:count]

    def write(self, offset: int, data: bytes) -> int:
        """Take the client's line. Raises NinepError if it proves nothing; but whether a credential does is known later,
        when `checking` has ended."""
        self.session_key, self._text, methods = None, b"", self._credentials.methods
        answered, self._answered = self._answered, True
        if answered or self.checking:
            self.refused = "it has sent another line"
        elif SECRET in methods and (answer := _ANSWER.fullmatch(data)) is not None:
            said = self._said(answer[1])
            # All of them, so that the time says nothing about which one is right.
            right = [key for key in self._credentials.keys if said.proves(key, bytes.fromhex(answer[2].decode()))]
            if right:
                self._key = right[0]
                self._accept(said, right[0])
            else:
                self.refused = "it has another secret"
        elif self._credentials.munge is not None and (answer := _MUNGE_ANSWER.fullmatch(data)) is not None:
            said, self.checking = self._said(answer[1]), True
            self._credentials.munge.decode(answer[2], lambda decoded: self._decoded(said, decoded))
            return len(data)
        else:
            self.refused = "it has sent no proof of a kind that is accepted here"
        if self.refused:
            raise NinepError(*AUTHENTICATION_FAILED)
        return len(data)

    def _said(self, nonce: bytes) -> _Transcript:
        return _Transcript(self._challenge, bytes.fromhex(nonce.decode()), *self._names, self._binding)

    def _accept(self, said: _Transcript, key: bytes) -> None:
        self._text = said.mac(key, _SERVER).hex().encode() + b"\n"
        self.session_key = said.mac(key, _SESSION)

    def _decoded(self, said: _Transcript, decoded: tuple[int, bytes] | Exception) -> None:
        self.checking = False
        if not self.refused:  # it has sent no other line meanwhile
            self.refused = self._why_refused(said, decoded)
            if self.refused:
                late = isinstance(decoded, MungeUnavailable)
                self._text = NinepError(*(AUTHENTICATION_UNAVAILABLE if late else AUTHENTICATION_FAILED))
        self._on_checked()

    def _why_refused(self, said: _Transcript, decoded: tuple[int, bytes] | Exception) -> str:
        """Let the client in if its credential proves that it belongs; if it does not, say why."""
        if isinstance(decoded, Exception):
            return f"its MUNGE credential: {decoded}"
        uid, payload = decoded
        key, proof = payload[:KEY_SIZE], payload[KEY_SIZE:]
        if not said.proves(key, proof):
            return "its MUNGE credential is for something else"
        assert self._credentials.munge is not None
        if not self._credentials.munge.allows(uid):
            return f"its MUNGE credential is of the user {uid} (--munge-users)"
        self._accept(said, key)
        return ""


class ClientHandshake:
    """The client's side: first `answer`, or for MUNGE `payload` and `answer_with`; then `check`."""

    def __init__(self, key: bytes, nonce: bytes, uname: str, aname: str, binding: bytes = b"") -> None:
        """`nonce`: NONCE_SIZE random bytes, used once. For MUNGE, so is the `key`."""
        self._key = key
        self._nonce = nonce
        self._names = uname, aname
        self._binding = binding
        self._said: _Transcript | None = None
        self.server = ""
        """What the server says that it is: true if its proof is right."""

    def answer(self, challenge: bytes) -> bytes:
        """What to write to the afid after the server's first line, to prove the secret. Raises ProtocolViolation if
        that line does not ask for it."""
        return b"secret %s %s\n" % (self._nonce.hex().encode(), self._prove(challenge, SECRET).hex().encode())

    def payload(self, challenge: bytes) -> bytes:
        """What the credential for the server must have in it. Raises ProtocolViolation if it asks for none."""
        return self._key + self._prove(challenge, MUNGE)

    def answer_with(self, credential: bytes) -> bytes:
        """What to write to the afid, with a credential that has this payload."""
        return b"munge %s %s\n" % (self._nonce.hex().encode(), credential)

    def _prove(self, challenge: bytes, method: str) -> bytes:
        self.server, methods = _parsed(challenge)
        if method not in methods:
            raise ProtocolViolation("it asks for another kind of proof")
        self._said = _Transcript(challenge, self._nonce, *self._names, self._binding)
        return self._said.mac(self._key, _CLIENT)

    def check(self, proof: bytes) -> bytes | None:
        """The session key, if the server's last line proves that it has the key; None otherwise."""
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

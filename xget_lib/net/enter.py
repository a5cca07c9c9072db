"""The first messages of a connection, from the client's side: agree on 9P2000, prove what is asked for, attach.

Without a proof this is one round trip, with one it is two. Each side refuses the other if that does not prove that it
belongs (`ninep.auth`). Which of them refuses is in the error: this is what an administrator needs to know.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Protocol, TypeAlias

from gevent.event import AsyncResult

from xget_lib.errors import LinkLost, MungeUnavailable, NinepError, NotAdmitted, ProtocolViolation, printable
from xget_lib.ninep import messages
from xget_lib.ninep.auth import (
    AUTHENTICATION_FAILED,
    AUTHENTICATION_REQUIRED,
    AUTHENTICATION_UNAVAILABLE,
    KEY_SIZE,
    LINE_LIMIT,
    MUNGE,
    NONCE_SIZE,
    SECRET,
    TLS_REQUIRED,
    ClientHandshake,
    Credentials,
    offered_by,
)
from xget_lib.ninep.dialect import NINEP2000
from xget_lib.ninep.messages import Message, TMessage
from xget_lib.ninep.wire import NOFID

ROOT, AFID = 0, 1
"""The fids of the root of the tree, and of the handshake."""
_UNAME = ""
"""Our own servers do not use it."""
_NOT_ACCEPTED = "its MUNGE credential is not accepted (the log there says why)"

Reply: TypeAlias = "AsyncResult[Message | LinkLost]"


class NewLink(Protocol):
    """A connection on which nothing has been said yet."""

    name: str
    agreed: bool
    """To be set when the server has shown that it speaks 9P."""
    key: bytes
    """To be set to the key of the secret that is proved, if one is."""

    @property
    def binding(self) -> bytes: ...

    @property
    def max_message(self) -> int: ...

    def ask(self, message: TMessage) -> tuple[int, Reply]: ...

    def start(self, message: TMessage, on_answer: Callable[[Message | LinkLost], None]) -> int: ...


def enter(link: NewLink, aname: str, credentials: Credentials, server: str = "") -> bytes | None:
    """Attach to a tree: its root is then the fid ROOT. Returns a key that only the two ends of this connection have;
    None if nothing had to be proved. `server`: what the other side must be, MASTER or CHILD, if it has to prove the
    secret; empty: any. Raises NotAdmitted where one side refuses the other, LinkLost, NinepError."""
    _, version = link.ask(messages.Tversion(link.max_message, NINEP2000))
    if credentials.required:
        return _prove_and_attach(link, aname, credentials, version, server)
    _, attached = link.ask(messages.Tattach(ROOT, NOFID, _UNAME, aname))
    _agree(link, version)
    try:
        unless_refused(attached.get())
    except NinepError as error:
        if str(error) == AUTHENTICATION_REQUIRED[1]:
            raise NotAdmitted(link.name, "it asks for a proof (--secret FILE, or --auth munge)") from None
        raise _without_tls(link, error) from None
    return None


def _prove_and_attach(link: NewLink, aname: str, credentials: Credentials, version: Reply, server: str) -> bytes:
    _, begun = link.ask(messages.Tauth(AFID, _UNAME, aname))
    _, challenge = link.ask(messages.Tread(AFID, 0, LINE_LIMIT))
    _agree(link, version)
    what = _secret_of(credentials) if SECRET in credentials.methods else "that it belongs (MUNGE)"
    try:
        unless_refused(begun.get())
        method, handshake, answer = _answer(link, _read(challenge), aname, credentials)
    except NinepError as error:
        if str(error) in (TLS_REQUIRED[1], os.strerror(errno.EMFILE)):  # the latter is one of ours that is full
            raise _without_tls(link, error) from None
        raise NotAdmitted(link.name, f"refused by this node: it does not prove {what}") from None
    except ProtocolViolation as violation:
        raise NotAdmitted(link.name, f"refused by this node: {violation}") from None
    _, written = link.ask(messages.Twrite(AFID, 0, answer))
    _, proof = link.ask(messages.Tread(AFID, 0, LINE_LIMIT))
    _, attached = link.ask(messages.Tattach(ROOT, AFID, _UNAME, aname))
    link.start(messages.Tclunk(AFID), lambda reply: None)
    try:
        unless_refused(written.get())
        session_key = handshake.check(_read(proof))
    except NinepError as error:
        if str(error) == AUTHENTICATION_FAILED[1]:
            mine = f"its secret is not that of {printable(credentials.source)}" if method == SECRET else _NOT_ACCEPTED
            raise NotAdmitted(link.name, f"it refuses this node: {mine}") from None
        if str(error) == AUTHENTICATION_UNAVAILABLE[1]:
            raise LinkLost(link.name, "it cannot decode MUNGE credentials now (does munged run there?)") from None
        raise
    if session_key is None:
        raise NotAdmitted(link.name, f"refused by this node: it does not prove {what}")
    if server and handshake.server != server:
        raise NotAdmitted(link.name, f"refused by this node: it is a {handshake.server}, and not a {server}")
    unless_refused(attached.get())
    return session_key


def _secret_of(credentials: Credentials) -> str:
    return f"the secret of {printable(credentials.source)}"


def _answer(
    link: NewLink, challenge: bytes, aname: str, credentials: Credentials
) -> tuple[str, ClientHandshake, bytes]:
    """The method that both sides have, and what to say to the server. Raises ProtocolViolation if they have none, or
    this side does not trust the user of the server; and LinkLost without MUNGE on this machine."""
    offered = offered_by(challenge)
    method = next((method for method in credentials.methods if method in offered), None)
    key = credentials.keys[0] if method == SECRET else os.urandom(KEY_SIZE)
    handshake = ClientHandshake(key, os.urandom(NONCE_SIZE), _UNAME, aname, link.binding)
    if method == SECRET:
        link.key = key
        return method, handshake, handshake.answer(challenge)
    munge, server = credentials.munge, offered.get(MUNGE)
    if method is None or munge is None or server is None:
        raise ProtocolViolation("it asks for another kind of proof")
    if not munge.allows(server):
        raise ProtocolViolation(f"it runs as the user {server} (--munge-users)")
    try:
        return method, handshake, handshake.answer_with(munge.encode(handshake.payload(challenge), server))
    except MungeUnavailable as error:
        raise LinkLost(link.name, f"this node cannot make a MUNGE credential for it: {error}") from None


def _without_tls(link: NewLink, error: NinepError) -> NinepError | NotAdmitted:
    """An error that may mean that the server serves nothing without TLS."""
    return NotAdmitted(link.name, "it wants TLS (--tls)") if str(error) == TLS_REQUIRED[1] else error


def _agree(link: NewLink, version: Reply) -> None:
    agreed = version.get()
    if isinstance(agreed, LinkLost):
        raise agreed
    if not isinstance(agreed, messages.Rversion) or agreed.version != NINEP2000:
        raise LinkLost(link.name, "does not speak 9P2000")
    link.agreed = True


def _read(answer: Reply) -> bytes:
    reply = unless_refused(answer.get())
    assert isinstance(reply, messages.Rread)  # nothing else is taken for the reply to a Tread
    return bytes(reply.data)


def unless_refused(reply: Message | LinkLost | None) -> Message:
    """The reply. Raises NinepError for an Rerror, and LinkLost where there is none."""
    assert reply is not None  # what an AsyncResult has before it is set
    if isinstance(reply, LinkLost):
        raise reply
    if isinstance(reply, messages.Rerror):
        raise NinepError(errno.EIO, reply.ename)
    return reply

"""The handshake: who has the secret gets in and knows the other side, and nobody else does, whatever he replays."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.conversation import drain, frame_of
from test.support.memory_tree import MemoryTree
from test.support.strategies import requests
from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.ninep.auth import (
    AUTHENTICATION_FAILED,
    AUTHENTICATION_REQUIRED,
    CHILD,
    LINE_LIMIT,
    NO_AUTHENTICATION,
    ClientHandshake,
    Credentials,
    ServerHandshake,
)
from xget_lib.ninep.dialect import DIALECTS, NINEP2000, NINEP2000_L, NINEP2000_U, decode, encode
from xget_lib.ninep.file import File
from xget_lib.ninep.linux import Rlerror, Tgetattr, Tlopen, Tstatfs
from xget_lib.ninep.messages import (
    ORDWR,
    Message,
    Rattach,
    Rauth,
    Rclunk,
    Rerror,
    Rflush,
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
from xget_lib.ninep.session import Session
from xget_lib.ninep.wire import NOFID, NOTAG, QTAUTH

KEY, OTHER = b"a key of the site", b"the key of nobody"
SERVER_NONCE, CLIENT_NONCE = b"s" * 32, b"c" * 32


def server(*keys: bytes, nonce: bytes = SERVER_NONCE, aname: str = "swarm", binding: bytes = b"") -> ServerHandshake:
    return ServerHandshake(Credentials(True, keys or (KEY,)), nonce, "", aname, binding)


def client(key: bytes = KEY, *, aname: str = "swarm", binding: bytes = b"") -> ClientHandshake:
    return ClientHandshake(key, CLIENT_NONCE, "", aname, binding)


def line_of(handshake: ServerHandshake) -> bytes:
    """What the server says now."""
    line = handshake.read(0, LINE_LIMIT)
    assert isinstance(line, bytes)
    return line


def proves(one: ClientHandshake, other: ServerHandshake) -> bool:
    """Whether the client proves that it belongs."""
    try:
        other.write(0, one.answer(line_of(other)))
    except NinepError as error:
        assert str(error) == AUTHENTICATION_FAILED[1] and other.refused and other.session_key is None
        return False
    return True


def test_both_sides_prove_that_they_have_the_secret_and_agree_on_a_key() -> None:
    one, other = client(), server()
    assert proves(one, other) and other.proves("", "swarm") and not other.refused
    key = one.check(line_of(other))
    assert key is not None and key == other.session_key and len(key) == 32


def test_a_proof_is_what_the_document_says() -> None:
    """docs/protocol.md, section 1.3: computed with OpenSSL for these nonces and this key."""
    answer = client().answer(line_of(server()))
    proof = "794d85bf41b845701ab9e814c96615a9236d83b2195b777784244c628f043b1f"
    assert answer == b"secret %s %s\n" % (CLIENT_NONCE.hex().encode(), proof.encode())


def test_all_keys_are_accepted_and_the_server_proves_the_one_that_the_client_used() -> None:
    one, other = client(), server(OTHER, KEY)
    assert proves(one, other)
    assert one.check(line_of(other)) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: (client(OTHER), server()),
        lambda: (client(aname="files"), server()),
        lambda: (client(binding=b"a certificate"), server()),
        lambda: (client(), server(binding=b"another certificate")),
    ],
    ids=["key", "tree", "client's binding", "server's binding"],
)
def test_nobody_gets_in_who_differs_in(wrong: Callable[[], tuple[ClientHandshake, ServerHandshake]]) -> None:
    one, other = wrong()
    assert not proves(one, other) and not other.proves("", "swarm")
    assert line_of(other) == b""


def test_a_proof_is_for_its_names() -> None:
    other = server()
    assert proves(client(), other)
    assert not other.proves("", "files") and not other.proves("root", "swarm")


def test_a_proof_that_was_heard_is_of_no_use_on_another_connection() -> None:
    heard = client().answer(line_of(server()))
    another = server(nonce=b"S" * 32)
    with pytest.raises(NinepError):
        another.write(0, heard)


def test_a_handshake_is_good_for_one_proof() -> None:
    other = server()
    with pytest.raises(NinepError):
        other.write(0, b"secret\n")
    assert not proves_again(other)
    other = server()
    assert proves(client(), other)
    assert not proves_again(other) and not other.proves("", "swarm")


def proves_again(other: ServerHandshake) -> bool:
    right = client().answer(line_of(server()))
    try:
        other.write(0, right)
    except NinepError:
        return False
    return True


def test_what_is_no_proof_at_all_is_not_taken_for_another_secret() -> None:
    other = server()
    with pytest.raises(NinepError):
        other.write(0, b"secret\n")
    assert other.refused == "it has sent no proof of a kind that is accepted here"


def test_a_proof_that_is_sent_back_proves_nothing() -> None:
    """Neither to who made it, nor as that of the other role."""
    one, other = client(), server()
    answer = one.answer(line_of(other))
    assert one.check(answer.split()[-1] + b"\n") is None
    other.write(0, answer)
    of_server = line_of(other).strip()
    with pytest.raises(NinepError):
        server().write(0, b"secret %s %s\n" % (CLIENT_NONCE.hex().encode(), of_server))


@pytest.mark.parametrize("proof", [b"", b"\n", b"0" * 64 + b"\n", b"\xff" * 65])
def test_a_client_believes_no_server_without_a_proof(proof: bytes) -> None:
    one = client()
    one.answer(line_of(server()))
    assert one.check(proof) is None


def test_a_child_cannot_prove_that_it_is_a_master() -> None:
    """Who is in the middle can lead a node from the master to a child, but not change what the child says it is."""
    credentials = Credentials(True, (KEY,), server=CHILD)
    one, child = client(), ServerHandshake(credentials, SERVER_NONCE, "", "swarm")
    assert proves(one, child) and one.check(line_of(child)) and one.server == CHILD
    one, child = client(), ServerHandshake(credentials, SERVER_NONCE, "", "swarm")
    altered = line_of(child).replace(b"child", b"master")
    with pytest.raises(NinepError):
        child.write(0, one.answer(altered))


def test_a_client_notices_that_the_methods_on_offer_were_changed() -> None:
    one, other = client(), server()
    altered = line_of(other).replace(b" secret\n", b" munge secret\n")
    with pytest.raises(NinepError):
        other.write(0, one.answer(altered))


@pytest.mark.parametrize(
    "challenge",
    [b"", b"xget-auth 2 " + b"0" * 64 + b" master secret\n", b"xget-auth 1 " + b"0" * 64 + b" master munge\n"],
)
def test_a_client_answers_nothing_that_it_does_not_understand(challenge: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="it asks for another kind of proof"):
        client().answer(challenge)


@given(st.binary(max_size=300))
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(NinepError):
        server().write(0, data)


def test_keys_are_not_shown() -> None:
    assert KEY.decode() not in repr(Credentials(True, (KEY,), "/etc/xget/secret"))


# In a session.


class Gate:
    """Lets in who proves KEY, and everybody to the tree `open`."""

    refusal = AUTHENTICATION_REQUIRED

    def __init__(self) -> None:
        self.let_in: list[ServerHandshake | None] = []

    def begin(self, uname: str, aname: str) -> ServerHandshake:
        return ServerHandshake(Credentials(True, (KEY,)), SERVER_NONCE, uname, aname)

    def is_open(self, dialect: str, aname: str) -> bool:
        return aname == "open"

    def admitted(self, proof: ServerHandshake | None) -> None:
        self.let_in.append(proof)


class Talk:
    """A session behind a gate."""

    def __init__(self, dialect: str = NINEP2000) -> None:
        self.gate = Gate()
        self.attached: list[str] = []
        self.session = Session(self._attach, gate=self.gate)
        self.dialect = dialect
        assert self.say(Tversion(8192, dialect)) == [Rversion(8192, dialect)]

    def _attach(self, dialect: str, uname: str, aname: str) -> File:
        self.attached.append(aname)
        return MemoryTree().root

    def say(self, *messages: TMessage) -> list[Message]:
        for tag, message in enumerate(messages):
            self.session.receive(encode(NOTAG if isinstance(message, Tversion) else tag, message, self.dialect))
        return [decode(frame_of(reply), self.session.dialect)[1] for reply in drain(self.session)]

    def begin(self, key: bytes = KEY, aname: str = "swarm") -> list[Message]:
        begun, challenge = self.say(Tauth(9, "", aname), Tread(9, 0, LINE_LIMIT))
        assert isinstance(begun, Rauth) and begun.aqid.type == QTAUTH and isinstance(challenge, Rread)
        answer = client(key, aname=aname).answer(bytes(challenge.data))
        return self.say(Twrite(9, 0, answer), Tread(9, 0, LINE_LIMIT), Tattach(0, 9, "", aname))


def refused(reply: Message) -> bool:
    if isinstance(reply, Rlerror):
        return reply.ecode == AUTHENTICATION_REQUIRED[0]
    return isinstance(reply, Rerror) and reply.ename in (AUTHENTICATION_REQUIRED[1], AUTHENTICATION_FAILED[1])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_proves_it_gets_in_with_three_requests_in_a_row(dialect: str) -> None:
    talk = Talk(dialect)
    written, proof, attached = talk.begin()
    assert isinstance(written, Rwrite) and isinstance(proof, Rread) and isinstance(attached, Rattach)
    assert len(talk.gate.let_in) == 1
    assert talk.say(Tclunk(9), Twalk(0, 1, ()))[0] == Rclunk()
    talk.session.close()
    assert talk.session.limits.open_files.used == talk.session.limits.memory.used == 0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_does_not_prove_it_gets_errors_alone(dialect: str) -> None:
    talk = Talk(dialect)
    written, proof, attached = talk.begin(OTHER)
    assert refused(written) and refused(attached)
    assert proof == Rread(b"")
    own: list[TMessage] = [Topen(9, ORDWR), Tstat(9)] if dialect != NINEP2000_L else []
    if dialect == NINEP2000_L:
        own = [Tlopen(9, 0), Tgetattr(9, 0), Tstatfs(9)]
    asked = [Tattach(0, NOFID, "", "swarm"), Twalk(9, 1, ()), Twalk(9, 1, ("a",)), *own]
    assert all(map(refused, talk.say(*asked)))
    assert talk.gate.let_in == []
    assert (talk.session.fid_count, talk.attached) == (1, [])


def test_an_afid_is_no_way_into_a_tree_for_who_has_got_in() -> None:
    talk = Talk(NINEP2000_L)
    talk.begin()
    assert all(isinstance(reply, Rlerror) for reply in talk.say(Twalk(9, 1, ("a",)), Tlopen(9, 0), Tgetattr(9, 0)))


class TalkOfNothing(Talk):
    def _attach(self, dialect: str, uname: str, aname: str) -> File:
        raise NinepError(errno.ENOENT)


def test_who_asks_for_a_tree_that_is_none_has_not_attached() -> None:
    talk = TalkOfNothing()
    assert isinstance(talk.begin()[2], Rerror)
    assert talk.gate.let_in == []


def test_an_open_tree_needs_no_proof_and_opens_no_other() -> None:
    talk = Talk()
    opened, closed = talk.say(Tattach(0, NOFID, "", "open"), Tattach(1, NOFID, "", "swarm"))
    assert isinstance(opened, Rattach) and refused(closed)
    assert talk.gate.let_in == [None]


def test_a_session_knows_that_its_next_request_gets_in() -> None:
    talk = Talk()
    for message, gets_in in [(Tattach(0, NOFID, "", "swarm"), False), (Tattach(0, NOFID, "", "open"), True)]:
        talk.session.receive(encode(1, message, NINEP2000))
        assert talk.session.gets_in == gets_in and talk.session.is_asked
        talk.session.next_reply()


def test_a_client_has_one_handshake_at_a_time() -> None:
    talk = Talk()
    first, second = talk.say(Tauth(9, "", "swarm"), Tauth(10, "", "swarm"))
    assert isinstance(first, Rauth) and isinstance(second, Rerror)
    assert isinstance(talk.say(Tclunk(9), Tauth(10, "", "swarm"))[1], Rauth)


HARMLESS = (Rversion, Rauth, Rclunk, Rflush)


@given(st.lists(requests, max_size=20))
def test_nothing_that_a_stranger_says_gets_him_anything(said: list[TMessage]) -> None:
    talk = Talk()
    for message in said:
        if isinstance(message, Tversion) or getattr(message, "aname", "") == "open":
            continue
        for reply in talk.say(message):
            challenge = isinstance(reply, Rread) and re.fullmatch(rb"(xget-auth 1 .*\n?)?", reply.data)
            assert reply.is_error or isinstance(reply, HARMLESS) or challenge, (message, reply)
    assert not talk.gate.let_in and not talk.attached


@pytest.mark.parametrize("dialect", [NINEP2000, NINEP2000_U])
def test_a_server_without_a_secret_says_so(dialect: str) -> None:
    session = Session(MemoryTree().attach)
    session.receive(encode(NOTAG, Tversion(8192, dialect), NINEP2000))
    list(drain(session))
    session.receive(encode(1, Tauth(9, "", "swarm"), dialect))
    reply = session.next_reply()
    assert reply is not None
    refusal = decode(frame_of(reply), dialect)[1]
    assert isinstance(refusal, Rerror) and refusal.ename == NO_AUTHENTICATION[1]

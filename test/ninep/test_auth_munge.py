"""The handshake with MUNGE: who can make and decode the right credential gets in and knows the other side."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from test.support.conversation import drain, frame_of
from test.support.fake_munge import FakeMunge, Site
from test.support.memory_tree import MemoryTree
from xget_lib.errors import MungeUnavailable, NinepError, ProtocolViolation
from xget_lib.ninep.auth import (
    AUTHENTICATION_FAILED,
    AUTHENTICATION_REQUIRED,
    AUTHENTICATION_UNAVAILABLE,
    LINE_LIMIT,
    ClientHandshake,
    Credentials,
    ServerHandshake,
    offered_by,
)
from xget_lib.ninep.dialect import NINEP2000, decode, encode
from xget_lib.ninep.file import WAITING, File
from xget_lib.ninep.messages import (
    Message,
    Rattach,
    Rerror,
    Rread,
    Rwalk,
    Rwrite,
    Tattach,
    Tauth,
    Tclunk,
    TMessage,
    Tread,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.session import Session
from xget_lib.ninep.wire import NOTAG

FRESH, SERVER_NONCE, CLIENT_NONCE = b"k" * 32, b"s" * 32, b"c" * 32
SECRET_KEY = b"a key of the site"


def server(
    munge: FakeMunge, methods: tuple[str, ...] = ("munge",), nonce: bytes = SERVER_NONCE, binding: bytes = b""
) -> ServerHandshake:
    keys = (SECRET_KEY,) if "secret" in methods else ()
    credentials = Credentials(True, keys, methods=methods, munge=munge if "munge" in methods else None)
    return ServerHandshake(credentials, nonce, "", "swarm", binding)


def client(aname: str = "swarm", key: bytes = FRESH, binding: bytes = b"") -> ClientHandshake:
    return ClientHandshake(key, CLIENT_NONCE, "", aname, binding)


def said_by(handshake: ServerHandshake) -> bytes:
    line = handshake.read(0, LINE_LIMIT)
    assert isinstance(line, bytes)
    return line


def answer(one: ClientHandshake, other: ServerHandshake, munge: FakeMunge, for_uid: int = 1000) -> bytes:
    return one.answer_with(munge.encode(one.payload(said_by(other)), for_uid))


def refusal(other: ServerHandshake) -> str:
    assert other.session_key is None and not other.proves("", "swarm") and other.refused
    with pytest.raises(NinepError) as error:
        other.read(0, LINE_LIMIT)
    return str(error.value)


def test_both_sides_prove_themselves_with_one_credential_and_agree_on_a_key() -> None:
    site = Site()
    mine, theirs = FakeMunge(site, uid=0), FakeMunge(site)
    one, other = client(), server(theirs)
    assert said_by(other) == b"xget-auth 1 %s munge:1000\n" % SERVER_NONCE.hex().encode()
    line = answer(one, other, mine)
    assert other.write(0, line) == len(line)
    key = one.check(said_by(other))
    assert key is not None and key == other.session_key and other.proves("", "swarm") and not other.refused


def test_a_server_names_the_methods_in_the_order_of_its_choice() -> None:
    other = server(FakeMunge(Site(), uid=7), ("munge", "secret"))
    assert list(offered_by(said_by(other)).items()) == [("munge", 7), ("secret", None)]


@pytest.mark.parametrize("method", ["secret", "munge"])
def test_a_server_that_accepts_both_accepts_each(method: str) -> None:
    munge = FakeMunge(Site())
    other = server(munge, ("secret", "munge"))
    one = client(key=SECRET_KEY if method == "secret" else FRESH)
    other.write(0, one.answer(said_by(other)) if method == "secret" else answer(one, other, munge))
    assert one.check(said_by(other)) == other.session_key is not None


def test_a_method_that_is_not_accepted_is_refused() -> None:
    munge = FakeMunge(Site())
    offered = said_by(server(munge, ("secret", "munge")))
    for methods, line in (
        (("secret",), (one := client()).answer_with(munge.encode(one.payload(offered), 1000))),
        (("munge",), client(key=SECRET_KEY).answer(offered)),
    ):
        other = server(munge, methods)
        with pytest.raises(NinepError, match=AUTHENTICATION_FAILED[1]):
            other.write(0, line)
        assert other.refused == "it has sent no proof of a kind that is accepted here"


@pytest.mark.parametrize("line", [b"", b"secret\n", b"xget-auth 1 " + b"0" * 64 + b" secret:\n"])
def test_a_client_makes_no_payload_for_who_asks_for_none(line: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        client().payload(line)


Wrong = tuple[ClientHandshake, ServerHandshake]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda munge: (client("files"), server(munge)),
        lambda munge: (client(binding=b"a certificate"), server(munge)),
        lambda munge: (client(), server(munge, binding=b"another certificate")),
    ],
    ids=["tree", "client's binding", "server's binding"],
)
def test_nobody_gets_in_who_differs_in(wrong: Callable[[FakeMunge], Wrong]) -> None:
    munge = FakeMunge(Site())
    one, other = wrong(munge)
    other.write(0, answer(one, other, munge))
    assert refusal(other) == AUTHENTICATION_FAILED[1]
    assert other.refused == "its MUNGE credential is for something else"


def test_a_credential_for_one_connection_is_of_no_use_on_another() -> None:
    """Also if it was not decoded there, so that MUNGE itself does not know it."""
    munge = FakeMunge(Site())
    line = answer(client(), server(munge), munge)
    another = server(munge, nonce=b"S" * 32)
    another.write(0, line)
    assert refusal(another) == AUTHENTICATION_FAILED[1]


def test_the_nonce_of_the_client_is_the_one_that_the_credential_was_made_for() -> None:
    munge = FakeMunge(Site())
    other = server(munge)
    other.write(0, answer(client(), other, munge).replace(CLIENT_NONCE.hex().encode(), b"0" * 64))
    assert refusal(other) == AUTHENTICATION_FAILED[1]


@pytest.mark.parametrize("offer", [b"secret munge:1000", b"munge:0"])
def test_nobody_in_the_middle_can_change_what_a_server_offers(offer: bytes) -> None:
    munge = FakeMunge(Site())
    one, other = client(), server(munge)
    changed = said_by(other).replace(b"munge:1000", offer)
    other.write(0, one.answer_with(munge.encode(one.payload(changed), 1000)))
    assert refusal(other) == AUTHENTICATION_FAILED[1]


@pytest.mark.parametrize("payload", [b"", bytes(63), bytes(64), bytes(65), b"x" * 1000])
def test_a_credential_with_another_payload_proves_nothing(payload: bytes) -> None:
    munge = FakeMunge(Site())
    other = server(munge)
    other.write(0, client().answer_with(munge.encode(payload, 1000)))
    assert refusal(other) == AUTHENTICATION_FAILED[1]


def test_a_user_who_does_not_belong_is_refused_and_the_log_says_who() -> None:
    site = Site()
    other = server(FakeMunge(site))
    other.write(0, answer(client(), other, FakeMunge(site, uid=1001)))
    assert refusal(other) == AUTHENTICATION_FAILED[1]
    assert other.refused == "its MUNGE credential is of the user 1001 (--munge-users)"


def test_what_munge_refuses_is_refused_and_the_log_says_why() -> None:
    munge = FakeMunge(Site())
    other = server(munge)
    other.write(0, answer(client(), other, munge, for_uid=1))
    assert refusal(other) == AUTHENTICATION_FAILED[1]
    assert other.refused == "its MUNGE credential: Unauthorized credential"


def test_a_daemon_that_does_not_answer_refuses_nobody() -> None:
    """The client may come again: it gets another error."""

    class Dead(FakeMunge):
        def decode(self, credential: bytes, on_decoded: Callable[[tuple[int, bytes] | Exception], None]) -> None:
            on_decoded(MungeUnavailable("munged does not answer"))

    munge = Dead(Site())
    other = server(munge)
    other.write(0, answer(client(), other, munge))
    assert refusal(other) == AUTHENTICATION_UNAVAILABLE[1]
    assert other.refused == "its MUNGE credential: munged does not answer"


def test_a_server_that_cannot_decode_the_credential_proves_nothing() -> None:
    """It can make a credential of its own, as everybody on the site can; this does not help it."""
    munge = FakeMunge(Site())
    one, other = client(), server(munge)
    answer(one, other, munge)
    impostor = client(key=b"K" * 32)
    impostor.payload(said_by(other))
    for proof in (b"", b"0" * 64 + b"\n", impostor.payload(said_by(other))[32:].hex().encode() + b"\n"):
        assert one.check(proof) is None


def test_another_line_while_the_first_is_decoded_ends_the_handshake() -> None:
    munge = FakeMunge(Site(), waits=True)
    other = server(munge)
    line = answer(client(), other, munge)
    other.write(0, line)
    assert other.checking and other.read(0, LINE_LIMIT) is WAITING
    with pytest.raises(NinepError):
        other.write(0, line)
    munge.waiting.pop()()
    assert not other.checking and other.session_key is None and not other.proves("", "swarm")


# In a session.


class Gate:
    """Lets in who has a credential of the site."""

    def __init__(self, munge: FakeMunge) -> None:
        self.munge = munge
        self.let_in: list[ServerHandshake | None] = []
        self.checked = 0

    refusal = AUTHENTICATION_REQUIRED

    def begin(self, uname: str, aname: str) -> ServerHandshake:
        credentials = Credentials(True, methods=("munge",), munge=self.munge)
        return ServerHandshake(credentials, SERVER_NONCE, uname, aname, on_checked=self._checked)

    def _checked(self) -> None:
        self.checked += 1

    def is_open(self, dialect: str, aname: str) -> bool:
        return False

    def admitted(self, proof: ServerHandshake | None) -> None:
        self.let_in.append(proof)


class Talk:
    """A session behind a gate, whose MUNGE answers when the test says so."""

    def __init__(self) -> None:
        self.munge = FakeMunge(Site(), waits=True)
        self.gate = Gate(self.munge)
        self.session = Session(self._attach, gate=self.gate)
        self.say(Tversion(8192, NINEP2000))

    def _attach(self, dialect: str, uname: str, aname: str) -> File:
        return MemoryTree().root

    def say(self, *messages: TMessage, first_tag: int = 0) -> list[Message]:
        for tag, message in enumerate(messages, first_tag):
            self.session.receive(encode(NOTAG if isinstance(message, Tversion) else tag, message, NINEP2000))
        return self.hear()

    def hear(self) -> list[Message]:
        return [decode(frame_of(reply), NINEP2000)[1] for reply in drain(self.session)]

    def line(self, afid: int, uid: int = 1000) -> bytes:
        begun, challenge = self.say(Tauth(afid, "", "swarm"), Tread(afid, 0, LINE_LIMIT))
        assert not begun.is_error and isinstance(challenge, Rread)
        one = client()
        return one.answer_with(self.munge.encode(one.payload(bytes(challenge.data)), uid))

    def decoded(self) -> list[Message]:
        self.munge.waiting.pop()()
        self.session.retry()
        return self.hear()


def test_the_requests_of_who_is_not_in_yet_wait_until_his_credential_is_decoded() -> None:
    talk = Talk()
    requests = Twrite(9, 0, talk.line(9)), Tread(9, 0, LINE_LIMIT), Tattach(0, 9, "", "swarm"), Twalk(0, 1, ())
    assert [type(reply) for reply in talk.say(*requests)] == [Rwrite]
    assert talk.session.is_checking and not talk.session.gets_in
    assert [type(reply) for reply in talk.decoded()] == [Rread, Rattach, Rwalk]
    assert len(talk.gate.let_in) == talk.gate.checked == 1


def test_who_is_refused_later_gets_the_error_as_the_reply_to_his_read() -> None:
    talk = Talk()
    requests = Twrite(9, 0, talk.line(9, uid=1)), Tread(9, 0, LINE_LIMIT), Tattach(0, 9, "", "swarm")
    assert [type(reply) for reply in talk.say(*requests)] == [Rwrite]
    read, attached = talk.decoded()
    assert isinstance(read, Rerror) and isinstance(attached, Rerror)
    assert read.ename == attached.ename == AUTHENTICATION_FAILED[1]


def test_who_is_in_and_proves_it_again_waits_with_his_read_alone() -> None:
    """Whose requests are held back could fill the queue of a connection, and nobody would be there to empty it."""
    talk = Talk()
    talk.say(Twrite(9, 0, talk.line(9)), Tread(9, 0, LINE_LIMIT), Tattach(0, 9, "", "swarm"))
    talk.decoded()
    talk.say(Tclunk(9))
    replies = talk.say(Twrite(9, 0, talk.line(9)), Tread(9, 0, LINE_LIMIT), Twalk(0, 6, ()))
    assert [type(reply) for reply in replies] == [Rwrite, Rwalk] and not talk.session.is_checking
    assert [type(reply) for reply in talk.decoded()] == [Rread]
    assert isinstance(talk.say(Tattach(7, 9, "", "swarm"))[0], Rattach)


def test_a_session_that_ends_while_a_credential_is_decoded_is_not_asked_again() -> None:
    talk = Talk()
    talk.say(Twrite(9, 0, talk.line(9)), Tattach(0, 9, "", "swarm"))
    talk.session.close()
    talk.munge.waiting.pop()()
    assert not talk.session.retry() and talk.hear() == [] and talk.gate.let_in == []

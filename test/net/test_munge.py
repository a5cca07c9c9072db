"""MUNGE in an event loop: a library that blocks holds up nobody else, and those in the lobby get in when it answers."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator

import gevent
import pytest

from test.support.fake_munge import FakeMunge, Site
from test.support.memory_tree import MemoryTree
from test.support.network import Peer, quiet_hub, until
from test.support.processes import PATIENCE
from xget_lib.errors import LinkLost, MungeRefused, MungeUnavailable, NotAdmitted
from xget_lib.net import munge
from xget_lib.net.link import Link
from xget_lib.net.listen import listen
from xget_lib.net.munge import AT_ONCE, MungeService
from xget_lib.net.server import Client, Server
from xget_lib.ninep.auth import LINE_LIMIT, ClientHandshake, Credentials
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import Rattach, Rerror, Rread, Rwrite, Tattach, Tauth, Tread, Tversion, Twrite
from xget_lib.serve.access import Access

SECONDS = 15.0
ME = os.geteuid()


class Library:
    """A libmunge whose daemon can be stopped. Called in threads."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self._site = FakeMunge(Site(), uid=ME)
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def encode(self, payload: bytes, for_uid: int) -> bytes:
        assert self.answers.wait(PATIENCE)
        return self._site.encode(payload, for_uid)

    def decode(self, credential: bytes) -> tuple[int, bytes]:
        with self._lock:
            self.calls += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.answers.wait(PATIENCE)
        with self._lock:
            self.at_once -= 1
        uid, _, payload = self._site.site.made.pop(credential, (0, 0, None))
        if payload is None:
            raise MungeRefused("Replayed credential")
        return uid, payload


@pytest.fixture
def library() -> Iterator[Library]:
    with quiet_hub():
        made = Library()
        yield made
        made.answers.set()


Decoded = tuple[int, bytes] | Exception


def test_credentials_are_decoded_while_the_loop_goes_on_and_a_few_at_once(library: Library) -> None:
    service, decoded = MungeService(library), list[Decoded]()
    library.answers.clear()
    credentials = [library._site.encode(b"%d" % number, ME) for number in range(5 * AT_ONCE)]
    for credential in credentials:
        service.decode(credential, decoded.append)
    until(lambda: library.calls == AT_ONCE)
    assert decoded == [] and service._decoding == AT_ONCE, "the others take no greenlet while they wait"
    library.answers.set()
    until(lambda: len(decoded) == len(credentials))
    assert {payload for _, payload in decoded if isinstance(payload, bytes)} == {b"%d" % n for n in range(20)}  # type: ignore[misc]
    assert library.most_at_once == AT_ONCE
    service.decode(credentials[0], decoded.append)
    until(lambda: len(decoded) == len(credentials) + 1)
    assert isinstance(decoded[-1], MungeRefused)


def test_a_daemon_that_hangs_costs_each_its_time_and_no_more_threads(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(munge, "DECODE_WITHIN", 0.01)
    service, decoded = MungeService(library), list[Decoded]()
    library.answers.clear()
    for _ in range(10 * AT_ONCE):
        service.decode(b"MUNGE:x:", decoded.append)
    until(lambda: len(decoded) == 10 * AT_ONCE)
    assert all(isinstance(each, MungeUnavailable) for each in decoded)
    assert library.calls <= AT_ONCE
    assert caplog.messages == ["cannot decode a MUNGE credential: munged does not answer"]
    library.answers.set()
    monkeypatch.setattr(munge, "DECODE_WITHIN", SECONDS)
    credential = library._site.encode(b"it answers again", ME)
    service.decode(credential, decoded.append)
    until(lambda: decoded[-1] == (ME, b"it answers again"))


def test_the_time_in_the_queue_counts(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has waited too long is answered without munged, also if it answers again now."""
    monkeypatch.setattr(munge, "DECODE_WITHIN", 0.01)
    service, decoded = MungeService(library), list[Decoded]()
    credential = library._site.encode(b"", ME)
    library.answers.clear()

    def first(answer: Decoded) -> None:
        monkeypatch.setattr(munge, "DECODE_WITHIN", SECONDS)
        library.answers.set()

    for _ in range(AT_ONCE):
        service.decode(b"MUNGE:x:", first)
    service.decode(credential, decoded.append)
    until(lambda: decoded)
    assert isinstance(decoded[0], MungeUnavailable)


def test_a_credential_that_is_not_made_in_time_is_an_error(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(munge, "ENCODE_WITHIN", 0.01)
    library.answers.clear()
    with pytest.raises(MungeUnavailable, match="munged does not answer"):
        MungeService(library).encode(b"", 0)


def test_root_and_the_own_user_belong_if_nobody_is_named(library: Library) -> None:
    service = MungeService(library)
    assert service.uid == ME and service.allows(0) and service.allows(ME) and not service.allows(ME + 1)
    named = MungeService(library, frozenset([5]))
    assert named.allows(5) and not named.allows(0) and not named.allows(ME)


# Servers.


class Guarded:
    """A server that accepts MUNGE, of one namespace, `tree`."""

    def __init__(self, library: Library, users: frozenset[int] = frozenset()) -> None:
        self.tree = MemoryTree()
        self.library = library
        access = Access(credentials(library, users))
        self.server = Server({"tree": lambda client: lambda: self.tree.root}, logging.INFO, access)
        self.listening = listen("127.0.0.1", 0)
        self.port: int = self.listening.getsockname()[1]
        self.server.accept(self.listening)

    def link(self, proof: Credentials | None = None) -> Link:
        return Link.connect("127.0.0.1", self.port, "tree", SECONDS, proof or credentials(self.library))

    def close(self) -> None:
        self.server.stop_accepting()
        self.listening.close()


def credentials(library: Library, users: frozenset[int] = frozenset()) -> Credentials:
    return Credentials(True, methods=("munge",), munge=MungeService(library, users))


@pytest.fixture
def guarded(library: Library) -> Iterator[Guarded]:
    made = Guarded(library)
    yield made
    made.close()


def test_who_has_a_credential_gets_in_and_both_sides_have_a_key(guarded: Guarded) -> None:
    link = guarded.link()
    (client,) = guarded.server.clients.values()
    assert link.session_key is not None and client.seal is not None
    assert link.open("news", SECONDS)
    link.close()


def test_others_get_in_while_one_credential_is_decoded(guarded: Guarded) -> None:
    """And nothing of what he has sent meanwhile is answered before, or lost."""
    peer = Peer(guarded.port)
    peer.say(Tversion(8192, "9P2000"), Tauth(1, "", "tree"), Tread(1, 0, LINE_LIMIT))
    challenge = [peer.hear()[1] for _ in range(3)][-1]
    assert isinstance(challenge, Rread)
    handshake = ClientHandshake(os.urandom(32), os.urandom(32), "", "tree")
    credential = guarded.library._site.encode(handshake.payload(bytes(challenge.data)), ME)
    guarded.library.answers.clear()
    line = handshake.answer_with(credential)
    peer.say(Twrite(1, 0, line), Tread(1, 0, LINE_LIMIT), Tattach(0, 1, "", "tree"))
    assert isinstance(peer.hear()[1], Rwrite)
    until(lambda: guarded.library.calls == 1)
    other = Peer(guarded.port)
    other.say(Tversion(8192, "9P2000"), Tattach(0, 0xFFFFFFFF, "", "tree"))
    assert isinstance([other.hear()[1] for _ in range(2)][-1], Rerror)
    guarded.library.answers.set()
    proof, attached = (peer.hear()[1] for _ in range(2))
    assert isinstance(proof, Rread) and handshake.check(bytes(proof.data)) and isinstance(attached, Rattach)
    peer.close()
    other.close()


def test_a_connection_that_ends_while_its_credential_is_decoded_is_forgotten(guarded: Guarded) -> None:
    gone: list[Client] = []
    made = guarded.server.lobby(lambda *_: None, gone.append)
    assert made is not None
    guarded.library.answers.clear()
    ours, theirs = socket.socketpair()
    client = Client(1, "10.0.0.1", 1)
    made.enter(client, theirs)
    line = b"munge " + b"0" * 64 + b" MUNGE:x:\n"
    said = Tversion(8192, "9P2000"), Tauth(1, "", "tree"), Twrite(1, 0, line)
    ours.sendall(b"".join(encode(tag, message, NINEP2000) for tag, message in enumerate(said)))
    until(lambda: guarded.library.calls == 1)
    assert client.handshake is not None and client.handshake.checking
    client.end("connections: all are in use")
    assert (len(made), gone) == (0, [client])
    guarded.library.answers.set()
    until(lambda: client.handshake is not None and not client.handshake.checking)
    gevent.sleep(0)
    assert (len(made), gone) == (0, [client])
    ours.close()


def test_each_side_refuses_the_other_and_says_why(
    library: Library, guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "xget")
    others = Guarded(library, frozenset([ME + 1]))
    with pytest.raises(NotAdmitted, match=r": it refuses this node: its MUNGE credential is not accepted \(the log "):
        others.link()
    until(lambda: caplog.messages)
    assert caplog.messages == [f"127.0.0.1: not let in: its MUNGE credential is of the user {ME} (--munge-users)"]
    with pytest.raises(NotAdmitted, match=rf": refused by this node: it runs as the user {ME} \(--munge-users\)$"):
        guarded.link(credentials(library, frozenset([ME + 1])))
    with pytest.raises(NotAdmitted, match=r": it asks for a proof \(--secret FILE, or --auth munge\)$"):
        guarded.link(Credentials())
    with pytest.raises(NotAdmitted, match=r": refused by this node: it asks for another kind of proof$"):
        guarded.link(Credentials(True, (b"a key of the site",), "mine"))
    others.close()
    with listen("127.0.0.1", 0) as listening:
        server = Server({"tree": lambda client: lambda: guarded.tree.root}, logging.INFO)
        server.accept(listening)
        with pytest.raises(NotAdmitted, match=r": refused by this node: it does not prove that it belongs \(MUNGE\)$"):
            Link.connect("127.0.0.1", listening.getsockname()[1], "tree", SECONDS, credentials(library))
        server.stop_accepting()


def test_without_munged_a_connection_is_lost_and_nobody_refused(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks again later may get in."""
    own = Library()
    guarded.library.answers.clear()
    monkeypatch.setattr(munge, "DECODE_WITHIN", 0.01)
    with pytest.raises(
        LinkLost, match=r": it cannot decode MUNGE credentials now \(does munged run there\?\)$"
    ) as lost:
        guarded.link(credentials(own))
    assert not isinstance(lost.value, NotAdmitted)
    own.answers.clear()
    monkeypatch.setattr(munge, "ENCODE_WITHIN", 0.01)
    with pytest.raises(LinkLost, match=r": this node cannot make a MUNGE credential for it: munged does not") as lost:
        guarded.link(credentials(own))
    assert not isinstance(lost.value, NotAdmitted)
    own.answers.set()

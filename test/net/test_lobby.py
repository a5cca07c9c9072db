"""Connections of which nothing is known yet: how they get in, and how little they may do until then."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import gevent
import pytest
from gevent import socket as gsocket

from test.support.memory_tree import MemoryTree
from test.support.network import Peer, quiet_hub, until
from xget_lib.errors import LinkLost, NinepError, NotAdmitted
from xget_lib.net import accept, lobby
from xget_lib.net.link import Link
from xget_lib.net.listen import listen
from xget_lib.net.lobby import RECEIVED_LIMIT
from xget_lib.net.server import Client, Server
from xget_lib.ninep import fids
from xget_lib.ninep.auth import (
    AUTHENTICATION_REQUIRED,
    CHILD,
    LINE_LIMIT,
    MASTER,
    NONCE_SIZE,
    ClientHandshake,
    Credentials,
    ServerHandshake,
)
from xget_lib.ninep.file import File
from xget_lib.ninep.messages import (
    Message,
    Rattach,
    Rclunk,
    Rerror,
    Rread,
    Rwalk,
    Rwrite,
    Tattach,
    Tauth,
    Tclunk,
    Tread,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.wire import NOFID
from xget_lib.serve.access import Access

KEY = b"a key of the site"
SECONDS = 15.0


class Guarded:
    """A server with a secret, of one namespace, `tree`; and of `open`, for this machine without a proof."""

    def __init__(self) -> None:
        self.tree = MemoryTree()
        self.connected: list[Client] = []
        self.credentials = Credentials(True, (KEY,), "/etc/xget/secret")
        access = Access(self.credentials, frozenset(["open"]), (ip_network("127.0.0.0/8"),))
        trees = {"tree": self._connect, "open": lambda client: lambda: self.tree.root}
        self.server = Server(trees, logging.INFO, access)
        self.listening = listen("127.0.0.1", 0)
        self.port: int = self.listening.getsockname()[1]
        self.server.accept(self.listening)

    def _connect(self, client: Client) -> Callable[[], File]:
        self.connected.append(client)
        return lambda: self.tree.root

    def link(self, key: bytes = KEY) -> Link:
        return Link.connect("127.0.0.1", self.port, "tree", SECONDS, Credentials(True, (key,), "mine"))


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with quiet_hub():
        made = Guarded()
        yield made
        made.server.stop_accepting()
        made.listening.close()


def hear(peer: Peer, count: int) -> list[Message]:
    return [peer.hear()[1] for _ in range(count)]


def test_who_proves_it_gets_in_and_the_rest_of_what_he_has_sent_is_answered(guarded: Guarded) -> None:
    peer = Peer(guarded.port)
    peer.say(Tversion(8192, "9P2000"), Tauth(1, "", "tree"), Tread(1, 0, LINE_LIMIT))
    _, _, challenge = hear(peer, 3)
    assert isinstance(challenge, Rread) and guarded.connected == []
    answer = ClientHandshake(KEY, os.urandom(NONCE_SIZE), "", "tree").answer(bytes(challenge.data))
    peer.say(Twrite(1, 0, answer), Tread(1, 0, LINE_LIMIT), Tattach(0, 1, "", "tree"), Twalk(0, 2, ()))
    assert [type(reply) for reply in hear(peer, 4)][2:] == [Rattach, Rwalk]
    peer.say(Twalk(0, 3, ()))
    assert isinstance(peer.hear()[1], Rwalk)
    (client,) = guarded.connected
    assert guarded.server.clients == {client.number: client}
    peer.close()
    until(lambda: not guarded.server.clients)


def proved(peer: Peer, attach: int = 0) -> Message:
    """The reply to the Tattach of a client that proves the secret with the afid 1, and keeps this."""
    peer.say(Tversion(8192, "9P2000"), Tauth(1, "", "tree"), Tread(1, 0, LINE_LIMIT))
    *_, challenge = hear(peer, 3)
    assert isinstance(challenge, Rread)
    answer = ClientHandshake(KEY, os.urandom(NONCE_SIZE), "", "tree").answer(bytes(challenge.data))
    peer.say(Twrite(1, 0, answer), Tattach(attach, 1, "", "tree"))
    return hear(peer, 2)[1]


def test_no_number_of_a_seal_is_used_twice_although_a_client_attaches_again(guarded: Guarded) -> None:
    """Else who is in the middle, and needs no key for a Tattach, could repeat earlier news."""
    peer = Peer(guarded.port)
    assert isinstance(proved(peer), Rattach)
    (client,) = guarded.connected
    lines = [client.sealed(b'{"a":1}\n')]
    peer.say(Tattach(2, 1, "", "tree"), Tclunk(0), Tattach(0, 1, "", "tree"))
    assert [type(reply) for reply in hear(peer, 3)] == [Rattach, Rclunk, Rattach]
    lines.append(client.sealed(b'{"a":1}\n'))
    assert [b'"number":%d' % number in line for number, line in enumerate(lines, 1)] == [True, True]
    peer.close()


def test_a_proof_costs_one_round_trip(guarded: Guarded) -> None:
    """A round trip is what a client sends after it has heard something: without a secret it is one."""
    assert round_trips(guarded, "open", Credentials()) == 1
    assert round_trips(guarded, "tree", guarded.credentials) == 2


def round_trips(guarded: Guarded, aname: str, credentials: Credentials) -> int:
    said: list[str] = []

    def pass_on(source: gsocket.socket, sink: gsocket.socket, who: str) -> None:
        while data := source.recv(1 << 16):
            if said[-1:] != [who]:
                said.append(who)
            sink.sendall(data)

    def relay() -> None:
        client, _ = accepting.accept()
        with client, gsocket.create_connection(("127.0.0.1", guarded.port)) as server:
            back = gevent.spawn(pass_on, server, client, "server")
            pass_on(client, server, "client")
            back.kill()

    with gsocket.socket() as accepting:
        accepting.bind(("127.0.0.1", 0))
        accepting.listen()
        relaying = gevent.spawn(relay)
        link = Link.connect("127.0.0.1", accepting.getsockname()[1], aname, SECONDS, credentials)
        link.close()
        relaying.join()
    # The fid of the handshake is closed while its answer is not waited for.
    return said.count("client")


def test_each_side_refuses_the_other_and_says_which_of_them_does(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "xget")
    with pytest.raises(NotAdmitted, match=r": it refuses this node: its secret is not that of mine$"):
        guarded.link(b"the key of nobody")
    with pytest.raises(NotAdmitted, match=r": it asks for a proof \(--secret FILE, or --auth munge\)$"):
        Link.connect("127.0.0.1", guarded.port, "tree", SECONDS)
    until(lambda: caplog.messages)
    assert caplog.messages == ["127.0.0.1: not let in: it has another secret"]
    with listen("127.0.0.1", 0) as listening:
        server = Server({"tree": lambda client: lambda: guarded.tree.root}, logging.INFO)
        server.accept(listening)
        with pytest.raises(NotAdmitted, match=r": refused by this node: it does not prove the secret of mine$"):
            Link.connect("127.0.0.1", listening.getsockname()[1], "tree", SECONDS, Credentials(True, (KEY,), "mine"))
        server.stop_accepting()
    assert guarded.connected == []


def test_whatever_a_server_says_to_tauth_it_does_not_prove_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 9P server of another kind. One of ours that has no room for the handshake is tried again."""
    with quiet_hub(), listen("127.0.0.1", 0) as listening:
        server = Server({"tree": lambda client: lambda: MemoryTree().root}, logging.INFO)
        server.accept(listening)
        for text, refused in (("u9fs: no authentication", True), (os.strerror(errno.EMFILE), False)):
            monkeypatch.setattr(fids, "NO_AUTHENTICATION", (errno.EPERM, text))
            with pytest.raises(NotAdmitted if refused else NinepError) as raised:
                Link.connect("127.0.0.1", listening.getsockname()[1], "tree", SECONDS, Credentials(True, (KEY,), "s"))
            assert str(raised.value).endswith("it does not prove the secret of s") == refused
        server.stop_accepting()


def test_another_secret_is_in_the_log_although_its_address_has_had_a_line(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "xget")
    Peer(guarded.port).close()
    until(lambda: caplog.messages == ["127.0.0.1: not let in: the client has closed the connection"])
    with pytest.raises(NotAdmitted):
        guarded.link(b"the key of nobody")
    until(lambda: caplog.messages[1:] == ["127.0.0.1: not let in: it has another secret"])


def test_a_server_that_only_pretends_to_accept_a_proof_is_refused(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accept_anything(handshake: ServerHandshake, offset: int, data: bytes) -> int:
        handshake._key, handshake.session_key, handshake._text = KEY, bytes(32), b"0" * 64 + b"\n"
        return len(data)

    monkeypatch.setattr(ServerHandshake, "write", accept_anything)
    with pytest.raises(NotAdmitted, match=r": refused by this node: it does not prove the secret of mine$"):
        guarded.link()
    assert len(guarded.connected) == 1, "it has let the client in"


def test_a_child_is_refused_in_the_place_of_a_master(guarded: Guarded) -> None:
    guarded.link().close()
    guarded.credentials.server = CHILD
    guarded.link().close()
    mine = Credentials(True, (KEY,), "mine")
    with pytest.raises(NotAdmitted, match=r": refused by this node: it is a child, and not a master$"):
        Link.connect("127.0.0.1", guarded.port, "tree", SECONDS, mine, MASTER)
    guarded.credentials.server = MASTER
    Link.connect("127.0.0.1", guarded.port, "tree", SECONDS, mine, MASTER).close()


def test_when_a_key_goes_the_connections_that_were_proved_with_it_end_and_no_other(guarded: Guarded) -> None:
    tomorrow = b"the key of tomorrow"
    guarded.credentials.keys = (tomorrow, KEY)
    former, late, new = guarded.link(), Peer(guarded.port), guarded.link(tomorrow)
    program = Link.connect("127.0.0.1", guarded.port, "open", SECONDS)
    late.say(Tversion(8192, "9P2000"), Tauth(1, "", "tree"), Tread(1, 0, LINE_LIMIT))
    *_, challenge = hear(late, 3)
    assert isinstance(challenge, Rread)
    late.say(Twrite(1, 0, ClientHandshake(KEY, os.urandom(32), "", "tree").answer(bytes(challenge.data))))
    assert isinstance(late.hear()[1], Rwrite)
    guarded.credentials.keys = (tomorrow,)
    guarded.server.secret_changed()
    with pytest.raises(LinkLost):
        former.open("news", SECONDS)
    late.say(Tattach(0, 1, "", "tree"))
    assert isinstance(late.hear()[1], Rerror)
    with pytest.raises(NotAdmitted):
        guarded.link()
    for link in (new, program):
        link.open("news", SECONDS)
        link.close()
    late.close()


def test_an_open_tree_is_served_without_a_proof_and_no_other(guarded: Guarded) -> None:
    peer = Peer(guarded.port)
    peer.say(Tversion(8192, "9P2000"), Tattach(0, NOFID, "", "tree"), Tattach(0, NOFID, "", "open"), Twalk(0, 1, ()))
    _, refused, attached, walked = hear(peer, 4)
    assert isinstance(refused, Rerror) and refused.ename == AUTHENTICATION_REQUIRED[1]
    assert (type(attached), type(walked)) == (Rattach, Rwalk)
    peer.say(Tattach(2, NOFID, "", "tree"))
    assert isinstance(peer.hear()[1], Rerror)
    peer.close()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * (RECEIVED_LIMIT + 1)])
def test_who_proves_nothing_is_gone_after_some_seconds_or_bytes(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(lobby, "PROVE_WITHIN", 0.01)
    peers = [Peer(guarded.port) for _ in range(5)]
    for peer in peers:
        peer.sock.sendall(said)
    assert all(peer.rest() == b"" for peer in peers)
    assert not guarded.server.clients and not guarded.connected


def test_an_endless_talk_before_a_proof_is_ended(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "xget")
    peer = Peer(guarded.port)
    peer.say(Tversion(8192, "9P2000"))
    peer.hear()
    with pytest.raises((EOFError, OSError)):
        for tag in range(RECEIVED_LIMIT):
            peer.say(Twalk(0, 1, ()), first_tag=tag)
            peer.hear()
    peer.close()
    assert "127.0.0.1: not let in: it sent too much before it proved anything" in caplog.messages


def test_a_long_request_before_a_proof_is_not_kept(guarded: Guarded) -> None:
    peer = Peer(guarded.port)
    peer.say(Tversion(8192, "9P2000"), Tauth(1, "", "tree"), Twrite(1, 0, bytes(1000)))
    *_, refused = hear(peer, 3)
    assert isinstance(refused, Rerror) and refused.ename == "a request may have 512 bytes"
    peer.close()


def test_the_log_has_one_line_for_many_that_are_not_let_in(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "xget")
    peers = [Peer(guarded.port) for _ in range(20)]
    for peer in peers:
        peer.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert all(peer.rest() == b"" for peer in peers)
    lines = [line for line in caplog.messages if "a message of" in line]
    assert len(lines) == 1 and lines[0].startswith("127.0.0.1: not let in: ")


def test_connections_without_a_proof_take_no_place_of_others(monkeypatch: pytest.MonkeyPatch, guarded: Guarded) -> None:
    """Strangers of this host have all its places among these: the oldest of them is closed, and no member refused."""
    monkeypatch.setattr("xget_lib.process.rlimit.part", lambda: 40)
    full = Guarded()
    assert accept.UNPROVED > 10
    strangers = [Peer(full.port) for _ in range(10)]  # there is room for 5 in the lobby
    assert all(peer.rest() == b"" for peer in strangers[:5])
    links = [full.link() for _ in range(12)]
    assert len(full.server.clients) == 12
    assert all(peer.rest() == b"" for peer in strangers[5:])
    for link in links:
        link.close()
    full.server.stop_accepting()
    full.listening.close()


def test_a_connection_that_is_ended_for_another_host_leaves_the_lobby(guarded: Guarded) -> None:
    gone: list[Client] = []
    made = guarded.server.lobby(lambda *_: None, gone.append)
    assert made is not None
    ours, theirs = socket.socketpair()
    client = Client(1, "10.0.0.1", 1)
    made.enter(client, theirs)
    assert len(made) == 1
    client.end("connections: all are in use")
    assert (len(made), gone) == (0, [client])
    assert ours.recv(1) == b""
    ours.close()

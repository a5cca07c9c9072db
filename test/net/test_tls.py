"""TLS on loopback: content is exact in any pieces; who is in the middle, or has no right certificate, gets nowhere; and
a handshake costs next to nothing, however it goes."""

from __future__ import annotations

import gc
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Self, cast

import gevent
import pytest
from gevent import socket as gsocket
from gevent import ssl as gssl

from test.support.certificates import Authority, Certificate
from test.support.key_updates import send_key_updates
from test.support.memory_tree import MemoryFile, MemoryTree
from test.support.network import Parts, Peer, Sent, file_parts, quiet_hub, until
from test.support.nodes import configured
from xget_lib.errors import LinkLost, NotAdmitted
from xget_lib.net import lobby, tls
from xget_lib.net.link import Link
from xget_lib.net.listen import listen
from xget_lib.net.server import Client, Server
from xget_lib.net.transport import TlsError
from xget_lib.ninep.auth import Credentials
from xget_lib.ninep.dialect import DIALECTS, encode
from xget_lib.ninep.messages import Rattach, Rversion, Rwalk, Tattach, Tauth, TMessage, Tversion, Twalk
from xget_lib.ninep.wire import NOFID, NOTAG
from xget_lib.process.certificates import Tls, load_tls
from xget_lib.serve.access import Access

KEY = b"a key of the site"
SECONDS = 15.0
SIZE = 3_000_017
"""Bytes: many records, and not a whole number of them."""
SMALL = 4096
"""Bytes: the kernel has no room for one record."""


def self_made(key: bytes | None = KEY) -> Credentials:
    """Of a process without certificates of its site."""
    made = load_tls(configured(1, tls=True))
    return Credentials(key is not None, (key,) if key else (), "mine", made)


def of_site(authority: Authority, certificate: Certificate, *, host: str = "127.0.0.1", port: int = 1) -> Credentials:
    """Of a process with certificates of its site, without a secret; its master is at an address."""
    files = {"tls_cert": str(certificate.cert), "tls_key": str(certificate.key), "tls_ca": str(authority.cert)}
    return Credentials(tls=load_tls(configured(port, tls=True, **files, host=host)))


class Served:
    """A server of one namespace, `tree`, and of another that is open to strangers, `open`."""

    def __init__(self, credentials: Credentials, *, send_buffer: int | None = None, parts: Parts | None = None) -> None:
        self.tree = MemoryTree()
        root = self.tree.root
        content = Sent(self.tree, 20, "content", size=SIZE, parts=parts or (lambda offset, length: [bytes(length)]))
        self.tree.root = MemoryFile(self.tree, 1, "/", children=(*(root.children or ()), content))
        self.connected: list[Client] = []
        access = Access(credentials, frozenset(["open"]))
        trees = {"tree": self._connect, "open": lambda client: lambda: self.tree.root}
        self.server = Server(trees, logging.INFO, access)
        self.listening = listen("127.0.0.1", 0)
        if send_buffer:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.port: int = self.listening.getsockname()[1]
        self.server.accept(self.listening)

    def _connect(self, client: Client) -> Callable[[], MemoryFile]:
        self.connected.append(client)
        return lambda: self.tree.root

    def link(self, credentials: Credentials, port: int | None = None) -> Link:
        return Link.connect("127.0.0.1", port or self.port, "tree", SECONDS, credentials)

    def close(self) -> None:
        self.server.stop_accepting()
        self.listening.close()
        for client in list(self.server.clients.values()):
            client.end("the test is over")


Make = Callable[..., Served]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Served] = []

    def served(credentials: Credentials, **options: object) -> Served:
        made.append(Served(credentials, **options))  # type: ignore[arg-type]  # those of Served
        return made[-1]

    with quiet_hub():
        yield served
        for each in made:
            each.close()
        gevent.sleep(0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tcp_server() -> gsocket.socket:
    made = gsocket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(64)
    return made


class Middle:
    """Passes bytes on between a client and a server, through these functions. `port` is where it listens."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listening = tcp_server()
        self.port: int = self._listening.getsockname()[1]
        self._greenlets: list[gevent.Greenlet[..., None]] = [gevent.spawn(self._accept)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        gevent.killall(self._greenlets)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            client: Any = self._listening.accept()[0]
            self._greenlets.append(gevent.spawn(self._serve, client))

    def _serve(self, client: gsocket.socket) -> None:
        with suppress(OSError), self.to_client(client) as one, self.to_server() as other:
            back = gevent.spawn(self._pass_on, other, one, self.from_server)
            self._pass_on(one, other, lambda data: [data])
            back.kill()

    def _pass_on(self, source: gsocket.socket, sink: gsocket.socket, change: Callable[[bytes], list[bytes]]) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                for part in change(data):
                    sink.sendall(part)
                    gevent.sleep(0)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def to_client(self, sock: gsocket.socket) -> gsocket.socket:
        return sock

    def to_server(self) -> gsocket.socket:
        return gsocket.create_connection(("127.0.0.1", self._server_port))

    def from_server(self, data: bytes) -> list[bytes]:
        """What the client gets of it, in such pieces."""
        return [data]


# What is sent arrives.


def read_all(link: Link) -> bytes:
    content, text = link.open("content", SECONDS), b""
    while part := content.read(len(text), link.max_read, SECONDS):
        text += part
    return text


@pytest.mark.parametrize("send_buffer", [None, SMALL])
def test_content_of_files_is_exact(make: Make, tmp_path: Path, send_buffer: int | None) -> None:
    """With a small buffer, each record has to be tried several times."""
    path, expected = tmp_path / "file", os.urandom(SIZE)
    path.write_bytes(expected)
    served = make(self_made(), send_buffer=send_buffer, parts=file_parts(path))
    link = served.link(self_made())
    assert read_all(link) == expected
    link.close()


def test_many_small_parts_from_files_and_from_memory_are_exact(make: Make, tmp_path: Path) -> None:
    path, expected = tmp_path / "file", os.urandom(SIZE)
    path.write_bytes(expected)
    of_file = file_parts(path)

    def parts(offset: int, length: int) -> list[object]:
        made: list[object] = []
        for at in range(offset, offset + length, 7001):
            size = min(7001, offset + length - at)
            made += of_file(at, size) if at % 2 else [expected[at : at + size]]
        return made

    served = make(self_made(), send_buffer=SMALL, parts=parts)
    link = served.link(self_made())
    assert read_all(link) == expected
    link.close()


def test_replies_to_many_requests_at_once_are_right(make: Make) -> None:
    served = make(self_made(), send_buffer=SMALL)
    link = served.link(self_made())
    asked = [link.ask(Twalk(0, 1000 + number, ()))[1] for number in range(3000)]
    assert all(type(result.get()).__name__ == "Rwalk" for result in asked)
    link.close()


def test_a_record_that_comes_in_pieces_is_waited_for_and_no_longer(make: Make, tmp_path: Path) -> None:
    """A part of a record that has arrived is in OpenSSL, not in the socket: the link must not wait for as many bytes as
    the message lacks."""

    class InPieces(Middle):
        def from_server(self, data: bytes) -> list[bytes]:
            return [data[at : at + 9000] for at in range(0, len(data), 9000)]

    path, expected = tmp_path / "file", os.urandom(SIZE)
    path.write_bytes(expected)
    served = make(self_made(), parts=file_parts(path))
    with InPieces(served.port) as middle:
        link = served.link(self_made(), middle.port)
        assert read_all(link) == expected
        link.close()


def test_what_could_not_be_sent_is_sent_whole_also_when_less_is_wanted_next(tmp_path: Path) -> None:
    """OpenSSL must get the same bytes again. How many may be sent changes, when other connections wait."""
    path, expected = tmp_path / "file", os.urandom(100_000)
    path.write_bytes(expected)
    ours, theirs = pair()
    ours.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    received, sent, wanted, buffer = b"", 0, len(expected), bytearray(1 << 20)
    with path.open("rb") as file:
        while len(received) < len(expected):
            with suppress(BlockingIOError):
                sent += ours.send_file(file.fileno(), sent, wanted)
            wanted = 10
            with suppress(BlockingIOError):
                received += buffer[: theirs.recv_into(buffer)]
    assert received == expected
    ours.close()
    theirs.close()


def pair() -> tuple[tls.TlsTransport, tls.TlsTransport]:
    """A server's end of a connection, and the client's, after the handshake."""
    made = load_tls(configured(1, tls=True))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    for sock in (server, client):
        sock.setblocking(False)
    ends = tls.TlsTransport(made.accepted(server)), tls.TlsTransport(made.connected(client, ("127.0.0.1", 1)))
    while [end.handshake() for end in ends] != [None, None]:
        pass
    return ends


def test_requests_before_an_end_without_good_bye_are_answered(make: Make) -> None:
    served = make(Credentials(tls=self_made().tls))
    link = made_link(served.port)
    said: list[TMessage] = [Tattach(0, NOFID, "", "tree"), Twalk(0, 1, ())]
    link.sendall(encode(NOTAG, Tversion(8192, "9P2000"), "9P2000"))
    link.sendall(b"".join(encode(tag, message, "9P2000") for tag, message in enumerate(said)))
    cast(Any, link)._sock.shutdown(socket.SHUT_WR)  # without TLS
    heard = b""
    while part := link.recv(1 << 16):
        heard += part
    expected = Rversion(8192, "9P2000"), Rattach(served.tree.root.qid), Rwalk(())
    tagged = zip((NOTAG, 0, 1), expected, strict=True)
    assert heard == b"".join(encode(tag, message, "9P2000") for tag, message in tagged)
    link.close()


def made_link(port: int) -> gssl.SSLSocket:
    made = load_tls(configured(1, tls=True))
    return gssl.SSLSocket(gsocket.create_connection(("127.0.0.1", port)), _context=made.client)


def test_a_file_that_was_truncated_ends_the_connection(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(SIZE // 2))
    served = make(self_made(), parts=file_parts(path))
    link = served.link(self_made())
    with pytest.raises(LinkLost):
        read_all(link)
    until(lambda: not served.server.clients)


def test_the_log_says_once_where_content_is_encrypted(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "xget")
    served = make(self_made())
    for _ in range(3):
        served.link(self_made()).close()
    assert caplog.messages.count(f"TLS: content is encrypted in {served.server.encrypts}") == 1


def test_what_the_kernel_encrypts_comes_after_what_was_held_back(tmp_path: Path) -> None:
    """The header of a reply is held back; the content is sent by the kernel from the file."""
    path, said = tmp_path / "file", b""
    path.write_bytes(b"content")
    ours, theirs = socket.socketpair()

    class Kernel(socket.socket):
        def write(self, data: bytes) -> int:
            return self.send(data)

    transport = tls.TlsTransport(Kernel(fileno=ours.detach()))  # type: ignore[arg-type]  # as far as it is used
    transport.in_kernel = True
    assert transport.send(b"header ", socket.MSG_MORE) == 7
    with path.open("rb") as file:
        assert transport.send_file(file.fileno(), 0, 7) == 7
    transport.close()
    while part := theirs.recv(100):
        said += part
    assert said == b"header content"
    theirs.close()


# Who is in the middle.


class Decrypting(Middle):
    """Has a certificate of its own, of the same site or self-made."""

    def __init__(self, server_port: int, credentials: Credentials) -> None:
        assert isinstance(credentials.tls, Tls)
        self._tls = credentials.tls
        self.heard = b""
        super().__init__(server_port)

    def to_client(self, sock: gsocket.socket) -> gsocket.socket:
        return gssl.SSLSocket(sock, server_side=True, _context=self._tls.server)

    def to_server(self) -> gsocket.socket:
        return gssl.SSLSocket(super().to_server(), _context=self._tls.client)

    def from_server(self, data: bytes) -> list[bytes]:
        self.heard += data
        return [data]


def test_who_relays_everything_with_another_certificate_gets_nothing(make: Make) -> None:
    served = make(self_made())
    with Decrypting(served.port, self_made(None)) as middle:
        with pytest.raises(NotAdmitted, match="it refuses this node: its secret is not that of mine"):
            served.link(self_made(), middle.port)
        assert b"authentication failed" in middle.heard
    assert served.connected == []


def test_a_handshake_goes_on_with_the_certificate_with_which_it_began(make: Make) -> None:
    """The proof names that one, although there is another one when the handshake is over."""
    credentials, later = self_made(), self_made().tls
    former = credentials.tls
    assert isinstance(former, Tls)

    class Replaced(Tls):
        def accepted(self, sock: socket.socket) -> ssl.SSLSocket:
            credentials.tls = later
            return super().accepted(sock)

    credentials.tls = Replaced(*(getattr(former, each.name) for each in fields(former)))
    served = make(credentials)
    for _ in range(2):
        served.link(self_made()).close()
        assert credentials.tls is later


def test_who_answers_in_the_place_of_the_server_is_refused(make: Make) -> None:
    impostor = make(self_made(b"another key of nobody"))
    with pytest.raises(NotAdmitted, match="it refuses this node"):
        impostor.link(self_made())
    impostor = make(Credentials(tls=self_made().tls))
    with pytest.raises(NotAdmitted, match="refused by this node: it does not prove the secret"):
        impostor.link(self_made())


def test_a_proof_on_a_plain_connection_is_none_with_tls(make: Make) -> None:
    """Who takes off the encryption on one side: the server has none, and the client has, or the other way round."""

    class OnlyClient(Decrypting):
        def to_server(self) -> gsocket.socket:
            return Middle.to_server(self)

    class OnlyServer(Decrypting):
        def to_client(self, sock: gsocket.socket) -> gsocket.socket:
            return sock

    plain = make(Credentials(True, (KEY,), "mine"))
    with OnlyClient(plain.port, self_made()) as middle, pytest.raises(NotAdmitted):
        plain.link(self_made(), middle.port)
    served = make(self_made())
    with OnlyServer(served.port, self_made()) as other, pytest.raises(NotAdmitted):
        served.link(Credentials(True, (KEY,), "mine"), other.port)
    assert plain.connected == served.connected == []


@pytest.mark.parametrize("after", [0, 1500, 100_000])
def test_bytes_that_are_changed_end_the_connection(make: Make, tmp_path: Path, after: int) -> None:
    class Altering(Middle):
        passed = 0

        def from_server(self, data: bytes) -> list[bytes]:
            before, self.passed = self.passed, self.passed + len(data)
            at = after - before + 20
            return [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]] if 0 <= at < len(data) else [data]

    path, expected = tmp_path / "file", os.urandom(SIZE)
    path.write_bytes(expected)
    served = make(self_made(), parts=file_parts(path))
    with Altering(served.port) as middle, pytest.raises(LinkLost):
        link = served.link(self_made(), middle.port)
        read_all(link)


@pytest.mark.parametrize(
    ("alert", "refused"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", True),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", True),
        ("SSLV3_ALERT_BAD_RECORD_MAC", False),
        ("TLSV1_ALERT_INTERNAL_ERROR", False),
    ],
)
def test_only_an_alert_about_a_certificate_is_a_refusal(alert: str, refused: bool) -> None:
    """Who changes a byte of what a client sends makes the server say another one."""
    assert isinstance(TlsError(alert).for_client("head:20004"), NotAdmitted) == refused


def test_a_connection_that_is_cut_in_a_message_is_lost(make: Make, tmp_path: Path) -> None:
    class Cutting(Middle):
        passed = 0

        def from_server(self, data: bytes) -> list[bytes]:
            self.passed += len(data)
            if self.passed > 200_000:
                raise ConnectionResetError
            return [data]

    path = tmp_path / "file"
    path.write_bytes(bytes(SIZE))
    served = make(self_made(), parts=file_parts(path))
    with Cutting(served.port) as middle:
        link = served.link(self_made(), middle.port)
        with pytest.raises(LinkLost, match="connection closed by the server"):
            read_all(link)
    until(lambda: not served.server.clients)


# Certificates of a site.


def test_both_sides_have_a_certificate_of_the_site(make: Make, authority: Authority) -> None:
    served = make(of_site(authority, authority.sign("head")))
    link = served.link(of_site(authority, authority.sign("node"), port=served.port))
    assert link.open("content", SECONDS)
    link.close()


def refused_by_client(served: Served, credentials: Credentials, why: str) -> None:
    with pytest.raises(NotAdmitted, match=f"refused by this node: its certificate is not accepted: {why}"):
        served.link(credentials)
    assert served.connected == []


def refused_by_server(served: Served, credentials: Credentials, why: str) -> None:
    with pytest.raises(NotAdmitted, match=rf"it refuses the certificate of this node \({why}\)"):
        served.link(credentials).open("content", SECONDS)
    assert served.connected == []


def test_a_certificate_of_another_authority_is_refused(make: Make, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    node = of_site(authority, authority.sign("node"))
    refused_by_client(make(of_site(authority, other.sign("head"))), node, "unable to get local issuer certificate")
    refused_by_server(make(of_site(other, authority.sign("master"))), node, "unknown ca")


def test_an_expired_certificate_is_refused(make: Make, authority: Authority) -> None:
    head, node = authority.sign("head"), authority.sign("node")
    old = make(of_site(authority, authority.sign("old", days=-1)))
    refused_by_client(old, of_site(authority, node), "certificate has expired")
    served = make(of_site(authority, head))
    refused_by_server(served, of_site(authority, authority.sign("late", days=-1)), "certificate expired")


def test_a_client_without_a_certificate_is_refused(make: Make, authority: Authority) -> None:
    served = make(of_site(authority, authority.sign("head")))
    bare = load_tls(configured(1, tls=True))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    nobody = Tls(bare.server, context, context, None, b"")
    refused_by_server(served, Credentials(tls=nobody), "certificate required")


def test_the_master_must_have_the_name_that_was_asked_for_and_peers_need_none(make: Make, authority: Authority) -> None:
    served = make(of_site(authority, authority.sign("head", names="DNS:head,IP:127.0.0.9")))
    node = authority.sign("node")
    refused_by_client(served, of_site(authority, node, port=served.port), "IP address mismatch")
    served.link(of_site(authority, node, host="127.0.0.9", port=served.port)).close()


def test_the_secret_is_asked_for_besides_a_certificate(make: Make, authority: Authority) -> None:
    with_secret = of_site(authority, authority.sign("head"))
    with_secret.required, with_secret.keys = True, (KEY,)
    served, node = make(with_secret), of_site(authority, authority.sign("node"))
    with pytest.raises(NotAdmitted, match="it asks for a proof"):
        served.link(node)
    node.required, node.keys = True, (KEY,)
    served.link(node).close()


# Who speaks another version, or no TLS.


def test_tls_1_2_is_refused_by_both_sides(make: Make) -> None:
    served = make(self_made())
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode, old.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
    with gsocket.create_connection(("127.0.0.1", served.port)) as sock, pytest.raises(ssl.SSLError, match="PROTOCOL"):
        gssl.SSLSocket(sock, _context=old)
    ours = self_made()
    assert isinstance(ours.tls, Tls)
    ours.tls.server.minimum_version = ours.tls.server.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(NotAdmitted, match="it speaks no TLS"):
        make(ours).link(self_made())


@pytest.mark.parametrize("credentials", [Credentials(), Credentials(True, (KEY,), "mine")], ids=["open", "secret"])
def test_a_client_with_tls_never_speaks_to_a_server_without(make: Make, credentials: Credentials) -> None:
    served = make(credentials)
    with pytest.raises(NotAdmitted, match="it speaks no TLS"):
        served.link(self_made())
    assert served.connected == []


def test_a_server_of_something_else_speaks_no_tls(make: Make) -> None:
    with tcp_server() as other:

        def answer() -> None:
            sock, _ = other.accept()
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        gevent.spawn(answer)
        with pytest.raises(NotAdmitted, match="it speaks no TLS"):
            Link.connect("127.0.0.1", other.getsockname()[1], "tree", SECONDS, self_made())


@pytest.mark.parametrize("key", [None, KEY])
def test_a_client_without_tls_is_told_what_it_lacks(make: Make, key: bytes | None) -> None:
    served = make(self_made())
    credentials = Credentials(True, (key,), "mine") if key else Credentials()
    with pytest.raises(NotAdmitted, match=r"it wants TLS \(--tls\)"):
        served.link(credentials)
    assert served.connected == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_without_tls_hears_the_same_from_every_server(make: Make, dialect: str) -> None:
    """Nothing in it depends on what is served, on the secret, or on what is asked for, but for names that are open."""

    def heard(served: Served, aname: str) -> bytes:
        peer = Peer(served.port)
        said = [Tattach(0, NOFID, "", aname), Tauth(1, "", aname), Twalk(0, 1, ("content",)), Twalk(1, 2, ())]
        peer.sock.sendall(encode(NOTAG, Tversion(8192, dialect), dialect))
        peer.sock.sendall(b"".join(encode(tag, message, dialect) for tag, message in enumerate(said)))
        peer.sock.shutdown(socket.SHUT_WR)
        return peer.rest()

    answers = {heard(make(self_made(key)), aname) for key in (KEY, None) for aname in ("tree", "other", "")}
    assert len(answers) == 1 and len(answers.pop()) < 200


def test_a_member_without_tls_proves_the_secret_where_a_tree_is_open(make: Make) -> None:
    """It takes nothing from a server that does not prove it, so without this it would be refused while TLS is
    introduced."""
    served = make(self_made())
    link = Link.connect("127.0.0.1", served.port, "open", SECONDS, Credentials(True, (KEY,), "mine"))
    assert link.session_key is not None
    link.close()
    with pytest.raises(NotAdmitted, match="it refuses this node"):
        Link.connect("127.0.0.1", served.port, "open", SECONDS, Credentials(True, (KEY + b"x",), "mine"))
    by_certificates = make(Credentials(tls=self_made().tls))
    with pytest.raises(NotAdmitted, match="it wants TLS"):
        Link.connect("127.0.0.1", by_certificates.port, "open", SECONDS, Credentials(True, (KEY,), "mine"))


def test_a_tree_that_is_open_is_served_without_tls(make: Make) -> None:
    served = make(self_made())
    Link.connect("127.0.0.1", served.port, "open", SECONDS).close()
    Link.connect("127.0.0.1", served.port, "open", SECONDS, Credentials(tls=self_made().tls)).close()


# Handshakes that do not come to an end.


def test_a_slow_handshake_ends_in_time_and_costs_no_thread(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sends a byte of a handshake now and then: no byte counts as progress."""
    monkeypatch.setattr(lobby, "PROVE_WITHIN", 0.3)
    served = make(self_made())
    gc.collect()
    threads, greenlets = threading.active_count(), greenlets_now()
    hello = client_hello()
    peers = [Peer(served.port) for _ in range(50)]
    sent = 0
    with suppress(OSError):
        while True:
            for peer in peers:
                peer.sock.sendall(hello[sent % len(hello) : sent % len(hello) + 1])
            sent += 1
            if sent == 5:
                assert threading.active_count() == threads
                assert greenlets_now() <= greenlets + 1  # that of the lobby
            gevent.sleep(0.01)
    assert all(peer.rest() in (b"", ALERT) for peer in peers)
    until(lambda: greenlets_now() <= greenlets)
    assert served.connected == []
    for peer in peers:
        peer.close()


ALERT = bytes.fromhex("15030300020232")


def greenlets_now() -> int:
    return sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def test_a_handshake_without_end_is_ended(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A chain of certificates that goes on and on would be kept in memory."""
    caplog.set_level(logging.INFO, "xget")
    served = make(self_made())
    peer = Peer(served.port)
    long = b"\x01\x01\xff\x00" + bytes(130_000)  # a ClientHello of 130 kB, in records of 16 KiB
    records = [long[at : at + 16384] for at in range(0, len(long), 16384)]
    with suppress(OSError):
        for record in records[:-1]:
            peer.sock.sendall(b"\x16\x03\x01" + len(record).to_bytes(2, "big") + record)
    peer.rest()
    assert "127.0.0.1: not let in: TLS: the handshake is too long" in caplog.messages
    peer.close()


def test_records_without_content_after_the_handshake_are_few_before_a_proof(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """One connection with 200,000 of them stopped a worker for 5 seconds: OpenSSL went on as long as they came."""
    caplog.set_level(logging.INFO, "xget")
    served = make(self_made())
    tls = self_made().tls
    assert isinstance(tls, Tls)
    with gssl.SSLSocket(gsocket.create_connection(("127.0.0.1", served.port)), _context=tls.client) as sock:
        with suppress(AssertionError):  # the connection is ended meanwhile
            for _ in range(40):
                send_key_updates(sock, 100)
                gevent.sleep(0)
        until(lambda: "127.0.0.1: not let in: it sent too much before it proved anything" in caplog.messages)


def test_handshakes_have_few_places_and_who_gets_in_leaves_his(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is silent in one keeps nobody out, from the same host neither."""
    monkeypatch.setattr(lobby, "HANDSHAKES", 2)
    served = make(self_made())
    links = [served.link(self_made()) for _ in range(4)]
    strangers = [Peer(served.port) for _ in range(3)]
    for peer in strangers:
        peer.sock.sendall(client_hello()[:100])
    assert strangers[0].rest() == b""
    links.append(served.link(self_made()))
    assert strangers[1].rest() == b"" and not any(link.lost for link in links)
    for peer in strangers:
        peer.close()
    for link in links:
        link.close()


@pytest.mark.parametrize("said", [1, 100])
def test_a_client_that_is_killed_in_the_handshake_is_gone(
    make: Make, caplog: pytest.LogCaptureFixture, said: int
) -> None:
    caplog.set_level(logging.INFO, "xget")
    served = make(self_made())
    peer = Peer(served.port)
    peer.sock.sendall(client_hello()[:said])
    gevent.sleep(0)
    peer.vanish()
    until(lambda: any("127.0.0.1: not let in: " in line for line in caplog.messages))


def test_a_server_that_is_killed_in_the_handshake_is_lost_and_not_refused() -> None:
    """A client goes on trying then."""
    with quiet_hub(), tcp_server() as other:

        def answer() -> None:
            sock, _ = other.accept()
            sock.recv(1)
            sock.close()

        gevent.spawn(answer)
        with pytest.raises(LinkLost) as lost:
            Link.connect("127.0.0.1", other.getsockname()[1], "tree", SECONDS, self_made())
        assert not isinstance(lost.value, NotAdmitted)


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    why = "it accepts connections, but does not answer"
    with quiet_hub(), tcp_server() as other, pytest.raises(LinkLost, match=why):
        Link.connect("127.0.0.1", other.getsockname()[1], "tree", 0.05, self_made())

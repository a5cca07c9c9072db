"""A client's side of a connection, over loopback: answers to their callbacks, data into its buffers, and the end."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket as gsocket

from test.support.network import Sent, Server, quiet_hub, until
from xget_lib.errors import LinkLost, NinepError
from xget_lib.net import link as module
from xget_lib.net.enter import enter
from xget_lib.net.link import MAX_READ, Link
from xget_lib.net.listen import listen
from xget_lib.net.threads import in_thread
from xget_lib.net.transport import Transport
from xget_lib.ninep.auth import Credentials
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import Message, Rerror, Tclunk, Tread, Tstat, rread_header
from xget_lib.ninep.requests import ReadInto
from xget_lib.ninep.wire import NOFID

SECONDS = 15.0


@pytest.fixture(autouse=True)
def printed() -> Iterator[io.StringIO]:
    with quiet_hub() as printed:
        yield printed


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(max_msize=MAX_READ + 24)
    yield server
    server.close()


@pytest.fixture
def link(server: Server) -> Iterator[Link]:
    link = Link.connect("127.0.0.1", server.port, "", SECONDS)
    yield link
    link.close()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that never answers: the kernel accepts for it."""
    listening = listen("127.0.0.1", 0)
    yield listening.getsockname()[1]
    listening.close()


class Answers:
    """Collects answers in the order in which they arrive."""

    def __init__(self) -> None:
        self.heard: list[Message | LinkLost] = []

    def __call__(self, answer: Message | LinkLost) -> None:
        self.heard.append(answer)


def test_a_file_is_opened_read_written_and_closed(server: Server, link: Link) -> None:
    hello = link.open("hello", SECONDS)
    assert [hello.read(offset, 6, SECONDS) for offset in (0, 6, 10)] == [b"hello,", b" 9P\n", b""]
    log = link.open("log", SECONDS, 1)
    log.write(0, b"a line", SECONDS)
    assert server.tree.log == [b"a line"]
    hello.close(SECONDS)
    log.close(SECONDS)
    assert [handle.clunks for handle in server.tree.handles] == [1, 1]


def test_a_file_in_a_directory_is_opened(link: Link) -> None:
    assert link.open("deep/er/leaf", SECONDS).read(0, 10, SECONDS) == b"leaf"


@pytest.mark.parametrize("name", ["nothing", "deep/nothing", "hello/deeper", "secret"])
def test_what_is_refused_is_an_error_and_leaves_no_fid(server: Server, link: Link, name: str) -> None:
    with pytest.raises(NinepError):
        link.open(name, SECONDS)
    link.call(Tstat(0), SECONDS)
    assert server.sessions[0].fid_count == 1


def test_a_namespace_that_is_not_there_is_an_error(server: Server) -> None:
    with pytest.raises(NinepError, match="no tree elsewhere"):
        Link.connect("127.0.0.1", server.port, "elsewhere", SECONDS)
    assert server.wait_ended() is None


def test_data_goes_straight_into_its_buffers(server: Server, link: Link) -> None:
    data = bytes(at * 7 % 251 for at in range(MAX_READ))
    server.add(Sent(server.tree, 50, "large", size=len(data), parts=lambda at, count: [data[at : at + count]]))
    link = Link.connect("127.0.0.1", server.port, "", SECONDS)
    fid = link.open("large", SECONDS).fid
    buffer, answers = bytearray(3 * MAX_READ), Answers()
    for at in range(3):
        link.start(Tread(fid, 0, MAX_READ), answers, memoryview(buffer)[at * MAX_READ :][:MAX_READ])
    until(lambda: len(answers.heard) == 3)
    assert answers.heard == [ReadInto(MAX_READ)] * 3
    assert buffer == data * 3
    link.close()


def test_an_error_is_passed_to_the_callback_of_its_request(link: Link) -> None:
    answers = Answers()
    link.start(Tread(77, 0, 10), answers, memoryview(bytearray(10)))
    until(lambda: answers.heard)
    assert answers.heard == [Rerror("fid unknown or out of range")]


def test_requests_go_out_through_small_buffers(server: Server) -> None:
    link = Link.connect("127.0.0.1", server.port, "", SECONDS)
    link._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    log = link.open("log", SECONDS, 1)
    lines = [bytes([at]) * 60_000 for at in range(25)]
    for line in lines:
        log.write(0, line, SECONDS)
    assert server.tree.log == lines
    link.close()


def test_a_read_that_waits_lets_others_pass(server: Server, link: Link) -> None:
    news = link.open("news", SECONDS)
    assert news.read(0, 100, SECONDS) == b"nothing yet"
    waiting = gevent.spawn(news.read, 0, 100, SECONDS)
    link.call(Tstat(0), SECONDS)
    assert not waiting.dead
    server.tree.tell(b"news!")
    server.connections[0].retry()
    assert waiting.get() == b"news!"


def test_a_request_without_an_answer_in_time_is_flushed(server: Server, link: Link) -> None:
    news = link.open("news", SECONDS)
    news.read(0, 100, SECONDS)
    with pytest.raises(LinkLost, match=r"no answer within 0\.01 s"):
        news.read(0, 100, 0.01)
    link.call(Tstat(0), SECONDS)
    assert server.sessions[0].waiting == 0
    assert not link.lost


def test_a_timeout_of_zero_is_a_timeout(silent: int) -> None:
    link = Link(Transport(socket.create_connection(("127.0.0.1", silent))), "silent")
    with pytest.raises(LinkLost, match="no answer within 0 s"):
        link.call(Tstat(0), 0)
    link.close()


def test_a_flushed_read_leaves_its_buffer_alone(server: Server, link: Link) -> None:
    hello = link.open("hello", SECONDS)
    buffer, answers = bytearray(10), Answers()
    link.flush(link.start(Tread(hello.fid, 0, 10), answers, memoryview(buffer)))
    link.call(Tstat(0), SECONDS)
    assert answers.heard == []
    assert buffer == bytes(10)


# The end


def test_an_answer_may_take_back_a_request_whose_reply_arrived_with_it() -> None:
    near, far = socket.socketpair()
    link, answers = Link(Transport(near), "peer:1"), Answers()
    tags: list[int] = []
    tags.append(link.start(Tstat(0), lambda answer: link.flush(tags[1])))
    tags += [link.start(Tclunk(1), answers), link.start(Tclunk(2), answers)]
    far.sendall(b"".join(encode(tag, Rerror("no"), NINEP2000) for tag in tags))
    until(lambda: answers.heard)
    assert answers.heard == [Rerror("no")] and not link.lost
    link.close()
    far.close()


def test_the_end_of_a_link_is_reported_to_all_pending_requests(server: Server, link: Link) -> None:
    news = link.open("news", SECONDS)
    news.read(0, 100, SECONDS)
    answers = Answers()
    for _ in range(3):
        link.start(Tread(news.fid, 0, 100), answers)
    until(lambda: server.sessions[0].waiting == 3)
    server.close()
    until(lambda: answers.heard)
    assert len(answers.heard) == 3
    assert all(isinstance(each, LinkLost) for each in answers.heard)
    assert link.lost
    with pytest.raises(LinkLost, match="connection closed by the server"):
        link.start(Tclunk(0), answers)


def test_closing_a_link_is_reported_to_all_pending_requests(link: Link) -> None:
    news = link.open("news", SECONDS)
    news.read(0, 100, SECONDS)
    waiting = gevent.spawn(_outcome, lambda: news.read(0, 100, SECONDS))
    gevent.sleep(0)
    link.close()
    assert isinstance(waiting.get(), LinkLost)
    link.close()


def _outcome(call: object) -> object:
    assert callable(call)
    try:
        return call()
    except LinkLost as lost:
        return lost


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a message of"),
        (bytes.fromhex("07000000 79 0500"), "tag 5"),
        (bytes.fromhex("0b000000 7d 0000 00000000"), "Rstat|malformed|answers|message"),
        (bytes.fromhex("ffffffff 75 0000 f0ffffff"), "a message of"),
    ],
)
def test_a_server_that_does_not_speak_9p_is_a_lost_link(silent: int, data: bytes, why: str) -> None:
    ours, theirs = gsocket.socketpair()
    link = Link(Transport(socket.socket(fileno=ours.detach())), "liar")
    link.agreed = True
    answers = Answers()
    link.start(Tstat(0), answers)
    theirs.sendall(data)
    until(lambda: answers.heard)
    (lost,) = answers.heard
    assert isinstance(lost, LinkLost) and lost.peer == "liar"
    with pytest.raises(LinkLost, match=why):
        raise lost
    theirs.close()


def test_a_server_that_does_not_read_requests_is_a_lost_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEND_TIMEOUT", 0.05)
    ours, theirs = gsocket.socketpair()
    link = Link(Transport(socket.socket(fileno=ours.detach())), "full")
    answers = Answers()
    while link._writer is None:
        link.start(Tread(NOFID, 0, 0), answers)
        gevent.sleep(0)

    until(lambda: answers.heard)
    assert str(answers.heard[0]) == "full: timed out"
    # No greenlet waits on the descriptor any more: its number will soon be another file.
    until(lambda: link._reader.dead)
    theirs.close()


def test_an_exception_in_a_callback_ends_the_link(link: Link, printed: io.StringIO) -> None:
    def wrong(answer: Message | LinkLost) -> None:
        raise ZeroDivisionError

    answers = Answers()
    link.start(Tstat(0), wrong)
    link.start(Tstat(0), answers)
    until(lambda: link.lost)
    assert [type(each) for each in answers.heard] == [LinkLost]
    assert "ZeroDivisionError" in printed.getvalue()
    printed.truncate(0)


def test_a_fast_server_does_not_keep_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other greenlets run from time to time even if there is always something to read."""
    monkeypatch.setattr(module, "_YIELD_AFTER", 1)
    ours, theirs = gsocket.socketpair()
    link = Link(Transport(socket.socket(fileno=ours.detach())), "fast")
    turns = 0
    seen: list[int] = []

    def note(answer: Message | LinkLost) -> None:
        seen.append(turns)

    def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0)

    buffers = [memoryview(bytearray(70_000)) for _ in range(3)]
    for buffer in buffers:
        link.start(Tread(1, 0, 70_000), note, buffer)
    for tag in range(3):
        gevent.spawn(theirs.sendall, rread_header(tag, 70_000) + bytes(70_000))
    other = gevent.spawn(count_turns)
    until(lambda: len(seen) == 3)
    other.kill()
    link.close()
    theirs.close()
    assert len(set(seen)) == 3


# Connecting


def test_a_refused_connection_is_a_lost_link() -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    listening.close()
    with pytest.raises(LinkLost) as caught:
        Link.connect("127.0.0.1", port, "", SECONDS)
    assert str(caught.value) == f"127.0.0.1:{port}: Connection refused"


def test_a_server_that_does_not_answer_is_a_lost_link(silent: int) -> None:
    with pytest.raises(LinkLost) as caught:
        Link.connect("127.0.0.1", silent, "", 0.05)
    assert str(caught.value) == f"127.0.0.1:{silent}: it accepts connections, but does not answer"


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", bytes(100)],
    ids=["http", "ssh", "zeros"],
)
def test_a_server_of_another_protocol_is_named(data: bytes) -> None:
    with listen("127.0.0.1", 0) as listening:

        def serve() -> None:
            gsocket.wait_read(listening.fileno())
            with listening.accept()[0] as sock:
                sock.sendall(data)

        gevent.spawn(serve)
        port = listening.getsockname()[1]
        with pytest.raises(LinkLost) as caught:
            Link.connect("127.0.0.1", port, "", SECONDS)
    assert caught.value.why == "something that is not XGet answers there"


def test_a_silent_server_of_another_protocol_is_found_out() -> None:
    """A server of HTTP waits for the end of a line, and there is none in 9P."""
    with listen("127.0.0.1", 0) as listening:

        def serve() -> None:
            gsocket.wait_read(listening.fileno())
            sock = gsocket.socket(fileno=listening.accept()[0].detach())
            while not sock.recv(100).endswith(b"\r\n\r\n"):
                pass
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        gevent.spawn(serve)
        port = listening.getsockname()[1]
        with pytest.raises(LinkLost) as caught:
            Link.connect("127.0.0.1", port, "", 0.05)
    assert caught.value.why == "something that is not XGet answers there"


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "." * 300])
def test_an_invalid_host_name_is_a_lost_link(host: str) -> None:
    with pytest.raises(LinkLost) as caught:
        Link.connect(host, 20004, "", SECONDS)
    assert str(caught.value) == f"{host}:20004: invalid host name"


def test_an_unknown_host_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, flags: int, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(LinkLost) as caught:
        Link.connect("nowhere", 1, "", SECONDS)
    assert str(caught.value) == "nowhere:1: host name nowhere is not known"


def test_a_name_server_that_does_not_answer_is_bounded_and_takes_no_thread_of_the_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def hang(*_: object, flags: int, **__: object) -> None:
        if not flags:
            answered.wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        for _ in range(6):
            with pytest.raises(LinkLost) as caught:
                Link.connect("nowhere", 1, "", 0.05)
            assert caught.value.why == "host name nowhere is not known: no name server answers"
        assert in_thread(lambda: 1) == 1
    finally:
        answered.set()


def test_an_ipv6_address_is_written_in_brackets() -> None:
    with pytest.raises(LinkLost, match=r"^\[::1\]:1: "):
        Link.connect("::1", 1, "", SECONDS)


@pytest.mark.parametrize("version", ["unknown", "9P2000.u", "9P1776"])
def test_a_server_of_another_version_is_a_lost_link(version: str) -> None:
    ours, theirs = gsocket.socketpair()
    link = Link(Transport(socket.socket(fileno=ours.detach())), "other")
    body = bytes.fromhex("65 ffff 00200000") + len(version).to_bytes(2, "little") + version.encode()
    theirs.sendall((len(body) + 4).to_bytes(4, "little") + body)
    with pytest.raises(LinkLost):
        enter(link, "", Credentials())
    link.close()
    theirs.close()


def test_the_smaller_msize_holds() -> None:
    server = Server(max_msize=8192)
    link = Link.connect("127.0.0.1", server.port, "", SECONDS)
    assert link.max_read == 8192 - 24
    link.close()
    server.close()


def test_an_open_that_is_not_answered_leaves_neither_requests_nor_a_fid(server: Server, link: Link) -> None:
    link.call(Tstat(0), SECONDS)
    with pytest.raises(LinkLost, match="no answer within 0 s"):
        link.open("hello", 0)
    link.call(Tstat(0), SECONDS)
    until(lambda: not link._requests.flushed and not link._callbacks)
    assert server.sessions[0].fid_count == 1


def test_a_server_that_confirms_no_flush_loses_the_connection(monkeypatch: pytest.MonkeyPatch, silent: int) -> None:
    monkeypatch.setattr(module, "FLUSHES_LIMIT", 5)
    with socket.create_connection(("127.0.0.1", silent)) as sock:
        link = Link(Transport(sock), "stranger:1")
        for _ in range(6):
            link.flush(link.start(Tstat(0), lambda answer: None))
        assert link.lost
        with pytest.raises(LinkLost, match="requests are not answered"):
            link.start(Tstat(0), lambda answer: None)


def test_requests_that_are_never_answered_end_the_link_when_the_tags_are_used_up(silent: int) -> None:
    with socket.create_connection(("127.0.0.1", silent)) as sock:
        link, answers = Link(Transport(sock), "stranger:1"), Answers()
        with pytest.raises(LinkLost, match="requests are not answered"):
            for _ in range(1 << 16):
                link.start(Tstat(0), answers)
        assert len(answers.heard) == 65535 and link.lost

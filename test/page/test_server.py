"""The server of the page: bounded in connections, bytes and time, whoever connects."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from gevent import socket as gsocket

from test.page.nodes import distribution_of, master_status, node
from test.support.network import until
from test.support.nodes import configured
from xget_lib.config import Config, Network, _network
from xget_lib.net.listen import listen
from xget_lib.page import server as module
from xget_lib.page.feed import Feed
from xget_lib.page.server import PageServer, open_to
from xget_lib.report.recent_lines import RecentLines

KNOWN = distribution_of(node(1))
CONFIG = configured(1, http=("127.0.0.1", 0))
ELSEWHERE: tuple[Network, ...] = (_network("192.0.2.0/24"),)


class Page:
    def __init__(self, config: Config = CONFIG) -> None:
        listening = listen("127.0.0.1", 0)
        self.address = listening.getsockname()
        self.server = PageServer(listening, Feed(lambda: (master_status(KNOWN), KNOWN), RecentLines()), config)

    def connect(self) -> socket.socket:
        sock: Any = gsocket.create_connection(self.address)
        sock.settimeout(10)
        return sock  # type: ignore[no-any-return]

    def ask(self, request: bytes) -> bytes:
        """All that is answered until the server closes."""
        with self.connect() as sock:
            sock.sendall(request)
            return everything(sock)


def everything(sock: socket.socket) -> bytes:
    answer = b""
    try:
        while data := sock.recv(65536):
            answer += data
    except ConnectionResetError:
        pass
    return answer


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.server.close()


def test_one_request_is_answered_and_the_connection_closed(page: Page) -> None:
    answer = page.ask(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nserving\n")


def test_the_stream_goes_on(page: Page) -> None:
    with page.connect() as sock:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = b""
        while b"event: change" not in seen:
            data = sock.recv(65536)
            assert data, seen
            seen += data
    assert b"event: all" in seen
    until(lambda: not page.server._feed._watchers)  # it notices that the page is gone


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["nonsense", "body", "chunked", "negative", "no number", "long"],
)
def test_what_is_no_plain_request_is_refused(page: Page, request_: bytes) -> None:
    assert page.ask(request_).startswith(b"HTTP/1.1 4")


def test_a_request_that_is_too_long_is_refused_at_its_limit(page: Page) -> None:
    for header in (b"a" * module.REQUEST, b"a" * 100 + b"\r\nX: " * (module.REQUEST // 100)):
        assert page.ask(b"GET / HTTP/1.1\r\nX: " + header + b"\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert page.ask(b"GET / HTTP/1.1\r\nX: " + b"a" * 8000 + b"\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_who_sends_nothing_is_left(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ", 0.2)
    with page.connect() as sock:
        sock.sendall(b"GET / HT")
        assert everything(sock) == b""
    assert page.ask(b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_host_that_holds_connections_keeps_no_more_than_half(page: Page) -> None:
    held = [page.connect() for _ in range(module.CONNECTIONS)]
    try:
        until(lambda: len(page.server._running) >= module.CONNECTIONS // 2)
        assert everything(held[-1]) == b""
        assert len(page.server._running) <= module.CONNECTIONS // 2
    finally:
        for sock in held:
            sock.close()


def test_only_allowed_addresses_are_answered() -> None:
    for config in (
        replace(CONFIG, allow=ELSEWHERE),
        replace(CONFIG, open=("page",), open_to=ELSEWHERE),
    ):
        page = Page(config)
        try:
            assert page.ask(b"GET /healthz HTTP/1.0\r\n\r\n") == b""
        finally:
            page.server.close()


def test_what_open_to_says_of_other_trees_is_not_about_the_page() -> None:
    assert open_to(replace(CONFIG, open=("files",), open_to=ELSEWHERE)) == ()


def test_nothing_is_left_after_close(page: Page) -> None:
    with page.connect() as sock:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(100)
        page.server.close()
        everything(sock)
    until(lambda: not page.server._running)
    with pytest.raises(ConnectionRefusedError):
        page.connect()

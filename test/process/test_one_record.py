"""A record of TLS without content ends a call that receives: others get their turn, whoever sends how many."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from test.support.key_updates import send_key_updates
from test.support.nodes import configured
from xget_lib.process.certificates import load_tls
from xget_lib.process.one_record import return_after_each_record

UPDATES = 20


@pytest.fixture
def ends() -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """A client and a server, after the handshake."""
    tls = load_tls(configured(1, tls=True))
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        client, server = tls.connected(one, ("127.0.0.1", 1)), tls.accepted(other)
        with client, server:
            left = [client, server]
            while left:
                for each in list(left):
                    try:
                        each.do_handshake()
                        left.remove(each)
                    except ssl.SSLWantReadError:
                        pass
            yield client, server


def calls_until_content(server: ssl.SSLSocket) -> int:
    for calls in range(1, UPDATES + 10):
        try:
            assert server.read(10) == b"content"
            return calls
        except ssl.SSLWantReadError:
            pass
    raise AssertionError("the content does not arrive")


def test_each_call_handles_one_record_and_nothing_is_lost(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    client, server = ends
    assert return_after_each_record(server)
    send_key_updates(client, UPDATES)
    client.write(b"content")
    assert calls_until_content(server) == UPDATES + 1
    server.write(b"answer")
    assert client.read(10) == b"answer"


def test_without_it_one_call_goes_on_as_long_as_records_come(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    """If this fails, Python or OpenSSL has changed, and it is not needed any more."""
    client, server = ends
    send_key_updates(client, UPDATES)
    client.write(b"content")
    assert calls_until_content(server) == 1


def test_a_socket_in_which_the_connection_is_elsewhere_is_left_alone(
    ends: tuple[ssl.SSLSocket, ssl.SSLSocket],
) -> None:
    class Strange(ssl.SSLSocket):
        context = None  # type: ignore[assignment]

    client, server = ends
    server.__class__ = Strange
    assert not return_after_each_record(server)
    server.__class__ = ssl.SSLSocket
    client.write(b"content")
    assert calls_until_content(server) == 1

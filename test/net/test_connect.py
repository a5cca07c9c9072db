"""Connecting to a host with several addresses: one that works is used, whatever the others do."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import pytest

from test.support.network import quiet_hub
from test.support.swarm_server import unused_address
from xget_lib.net.connect import Endpoint, _alternating, connect, resolve

SECONDS = 10.0


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def good() -> Iterator[Endpoint]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Endpoint(socket.AF_INET, listening.getsockname())


@pytest.fixture
def dead() -> Iterator[Endpoint]:
    """An address that does not answer: the backlog is full, and the kernel drops what comes."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield Endpoint(socket.AF_INET, address)


def refused() -> Endpoint:
    return Endpoint(socket.AF_INET, unused_address())


def test_the_first_address_is_dead_and_the_second_good(dead: Endpoint, good: Endpoint) -> None:
    begun = time.monotonic()
    with connect([dead, good]) as sock:
        assert sock.getpeername() == good.address
    assert time.monotonic() - begun < SECONDS / 2


def test_the_first_address_refuses_and_the_second_is_good(dead: Endpoint, good: Endpoint) -> None:
    with connect([refused(), dead, refused(), good]) as sock:
        assert sock.getpeername() == good.address


def test_the_first_that_accepts_is_used(dead: Endpoint, good: Endpoint) -> None:
    with connect([good, dead]) as sock:
        assert sock.getpeername() == good.address


def test_where_all_refuse_the_error_is_that(good: Endpoint) -> None:
    unreachable = Endpoint(socket.AF_INET, ("255.255.255.255", 1))
    with pytest.raises(OSError, match="Connection refused"):
        connect([unreachable, refused(), unreachable])


def test_the_caller_limits_the_time(dead: Endpoint) -> None:
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        connect([dead, dead])


def test_the_families_alternate() -> None:
    six, four = Endpoint(socket.AF_INET6, (1,)), Endpoint(socket.AF_INET, (2,))
    assert _alternating([six, six, six, four, four]) == [six, four, six, four, six]
    assert _alternating([four, six, six]) == [four, six, six]
    assert _alternating([four, four]) == [four, four]
    assert _alternating([]) == []


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", ("127.0.0.1", 7)), ("::1", ("::1", 7, 0, 0)), ("localhost", None)]
)
def test_addresses_and_names_are_resolved(host: str, address: tuple[object, ...] | None) -> None:
    found = [endpoint.address for endpoint in resolve(host, 7)]
    assert found == [address] if address else ("127.0.0.1", 7) in found

"""The 9P messages of connections in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from test.support.network import Server, quiet_hub
from xget_lib.config import TRACE
from xget_lib.net.link import Link
from xget_lib.net.tracing import tracer
from xget_lib.report.log import LOGGER


@pytest.fixture(autouse=True)
def printed() -> Iterator[object]:
    with quiet_hub() as printed:
        yield printed


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines that are logged at the level TRACE."""
    logged: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())

    handler, level = Handler(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(TRACE)
    yield logged
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(level)


def test_both_sides_log_each_message_with_the_address_of_their_peer(lines: list[str]) -> None:
    server = Server()
    link = Link.connect("127.0.0.1", server.port, "", 15.0)
    port = link._transport.sock.getsockname()[1]
    hello = link.open("hello", 15.0)
    assert hello.read(0, 100, 15.0) == b"hello, 9P\n"
    link.close()
    server.close()
    tread = f"Tread tag 3 fid {hello.fid} offset 0 count 100"
    assert [line for line in lines if "read" in line] == [
        f"127.0.0.1:{server.port}: -> {tread}",
        f"127.0.0.1:{port}: <- {tread}",
        f"127.0.0.1:{port}: -> Rread tag 3 count 10",
        f"127.0.0.1:{server.port}: <- Rread tag 3 count 10",
    ]
    sent = [line.partition("-> ")[2] for line in lines if "->" in line]
    received = [line.partition("<- ")[2] for line in lines if "<-" in line]
    assert sorted(sent) == sorted(received)


def test_without_the_level_nothing_is_traced() -> None:
    assert tracer("10.0.0.1:20004") is None

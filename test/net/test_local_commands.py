"""Commands from the same machine: each is answered by who takes it, and nonsense ends the conversation."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event

from test.support.processes import PATIENCE
from xget_lib.net import local_commands

ADDRESS = "\0xget-test-local-commands"


@pytest.fixture
def stopped() -> Event:
    return Event()


@pytest.fixture
def address(stopped: Event) -> Iterator[str]:
    """Where a process takes commands."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(ADDRESS)
    listening.listen()

    def perform(command: Any) -> Iterator[dict[str, Any]]:
        match command:
            case {"command": "count"}:
                yield {"working": "counting"}
                yield {"count": 7}
            case {"command": "stop"}:
                yield from local_commands.stopping(stopped.set)
            case _:
                yield local_commands.UNKNOWN

    serving = gevent.spawn(local_commands.serve, listening, perform)
    yield ADDRESS
    serving.kill()


def connected(address: str, command: bytes) -> gsocket.socket:
    sock = gsocket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.connect(address)
    sock.sendall(command)
    return sock


def answer(address: str, command: bytes) -> bytes:
    """Everything until the connection ends."""
    received = b""
    with connected(address, command) as sock:
        while part := sock.recv(1000):
            received += part
    return received


def test_each_line_of_an_answer_is_sent(address: str) -> None:
    assert answer(address, b'{"command": "count"}\n') == b'{"working": "counting"}\n{"count": 7}\n'


def test_who_is_told_to_stop_keeps_the_connection(address: str, stopped: Event) -> None:
    with connected(address, b'{"command": "stop"}\n') as sock:
        assert sock.recv(1000) == b'{"stopping": true}\n'
        assert stopped.wait(PATIENCE)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


def test_commands_are_taken_again_when_there_are_descriptors_again(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_commands, "_ACCEPT_PAUSE", 0.0)
    accept = gsocket.socket.accept
    failed: list[int] = []

    def fails_once(sock: gsocket.socket) -> Any:
        if failed:
            return accept(sock)
        failed.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(gsocket.socket, "accept", fails_once)
    assert answer(address, b"[]\n").startswith(b'{"problem"')
    assert failed


def test_a_line_that_is_no_command_ends_the_conversation(address: str) -> None:
    assert answer(address, b"nonsense\n") == b""


def test_who_sends_nothing_is_not_waited_for(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_commands, "_READ_TIMEOUT", 0.01)
    waiting: list[Any] = [answer(address, b'{"command"')]
    assert waiting == [b""]

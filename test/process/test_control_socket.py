"""The socket for commands to a master: one for each port, for the same user, and one answer to each command."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from test.support.cluster import free_port
from test.support.processes import PATIENCE
from xget_lib.errors import Failed, MasterUnreachable
from xget_lib.process import control_socket, runtime_directory
from xget_lib.process.control_socket import name_of_master
from xget_lib.process.runtime_directory import is_trusted, listen


@contextmanager
def answering(port: int, answer: bytes) -> Iterator[list[dict[str, Any]]]:
    """A master that takes one command, and gives this answer."""
    listening = listen(name_of_master(port))
    assert listening is not None
    taken: list[dict[str, Any]] = []

    def take() -> None:
        sock, _ = listening.sock.accept()
        with sock:
            assert is_trusted(sock)
            taken.append(json.loads(sock.makefile("rb").readline()))
            sock.sendall(answer)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield taken
    finally:
        thread.join(PATIENCE)
        listening.close()


def test_a_command_arrives_and_so_does_its_answer() -> None:
    port = free_port()
    with answering(port, b'{"done": true}\n') as taken:
        assert control_socket.request(port, {"command": "x"}, PATIENCE) == {"done": True}
    assert taken == [{"command": "x"}]


def test_a_command_can_go_to_another_than_the_first_master_of_its_port() -> None:
    port = free_port()
    with answering(port, b'{"done": 1}\n'):

        def connect(seconds: float) -> socket.socket:
            return runtime_directory.connect(name_of_master(port), seconds)

        assert control_socket.request(port + 1, {}, PATIENCE, connect=connect) == {"done": 1}


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"[1]\n", b'{"half": '])
def test_a_master_that_ends_meanwhile_is_a_failure(answer: bytes) -> None:
    port = free_port()
    with answering(port, answer), pytest.raises(Failed, match="ended before it answered"):
        control_socket.request(port, {}, PATIENCE)


def test_a_master_that_does_not_answer_is_a_failure() -> None:
    port = free_port()
    with closing(listen(name_of_master(port)) or pytest.fail("cannot listen")):
        with pytest.raises(MasterUnreachable, match=rf"localhost port {port}: no answer, tried once"):
            control_socket.request(port, {}, 0.01)
        assert listen(name_of_master(port)) is None, "it is taken"
    with pytest.raises(Failed, match="not running on this machine"):
        control_socket.request(port, {}, PATIENCE)


def test_a_master_that_says_that_it_works_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "_LOOK_EVERY", 0.01)
    port, waited = free_port(), threading.Event()
    working: list[str] = []

    def on_wait(what: str) -> None:
        working.append(what)
        if what:
            waited.set()

    listening = listen(name_of_master(port))
    assert listening is not None

    def take() -> None:
        sock, _ = listening.sock.accept()
        with sock:
            for line in (b'{"working": "scan', b'ning"}\n{"working": "still\\u001b"}\n'):
                sock.sendall(line)
            assert waited.wait(PATIENCE)
            sock.sendall(b'{"working": "nearly"}\n{"done": 1}\n')

    thread = threading.Thread(target=take)
    thread.start()
    assert control_socket.request(port, {}, PATIENCE, on_wait) == {"done": 1}
    thread.join(PATIENCE)
    listening.close()
    assert set(working) <= {"", "scanning", "still\\x1b"} and working[-1] == "still\\x1b"

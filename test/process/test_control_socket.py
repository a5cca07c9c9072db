"""The socket for commands to a master: one for each port, for the same user, and one answer to each command."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from test.support.cluster import free_port
from test.support.processes import PATIENCE
from xget_lib.errors import Failed
from xget_lib.process import control_socket
from xget_lib.process.runtime_directory import is_trusted


@contextmanager
def answering(port: int, answer: bytes) -> Iterator[list[dict[str, Any]]]:
    """A master that takes one command, and gives this answer."""
    listening = control_socket.listen(port)
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


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"[1]\n", b'{"half": '])
def test_a_master_that_ends_meanwhile_is_a_failure(answer: bytes) -> None:
    port = free_port()
    with answering(port, answer), pytest.raises(Failed, match="ended before it answered"):
        control_socket.request(port, {}, PATIENCE)


def test_a_master_that_does_not_answer_is_a_failure() -> None:
    port = free_port()
    with closing(control_socket.listen(port) or pytest.fail("cannot listen")):
        with pytest.raises(Failed, match=r"no answer within 0\.01 s"):
            control_socket.request(port, {}, 0.01)
        assert control_socket.listen(port) is None, "it is taken"
    with pytest.raises(Failed, match="not running on this machine"):
        control_socket.request(port, {}, PATIENCE)

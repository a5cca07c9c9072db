"""Commands from the same machine: each is answered when the master has the answer, and nonsense at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial

import gevent
import pytest
from gevent import socket as gsocket

from test.support.processes import PATIENCE
from xget_lib.master import commands
from xget_lib.master.commands import Reload
from xget_lib.net import local_commands

STOPPED: list[bool] = []


@pytest.fixture
def address() -> Iterator[str]:
    """Where a master takes commands. A reload with `force` is answered, another one is not."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind("\0xget-test-commands")
    listening.listen()

    def act(reload: Reload) -> None:
        if reload.force:
            reload.answer.set({"generation": "00"})

    STOPPED.clear()
    perform = partial(commands.perform, act=act, status=lambda: {"role": "master"}, stop=lambda: STOPPED.append(True))
    serving = gevent.spawn(local_commands.serve, listening, perform)
    yield "\0xget-test-commands"
    serving.kill()


def answer(address: str, command: bytes) -> bytes:
    with gsocket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(address)
        sock.sendall(command)
        line: bytes = sock.recv(1000)
        return line


def test_until_there_is_an_answer_the_master_says_that_it_works(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_SIGN_EVERY", 0.01)
    with gsocket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(address)
        sock.sendall(b'{"command": "reload", "force": false}\n')
        received = b""
        while received.count(b"\n") < 3:
            received += sock.recv(1000)
        assert set(received.splitlines()) == {b'{"working": "the master is scanning"}'}


def test_a_reload_is_answered(address: str) -> None:
    assert answer(address, b'{"command": "reload", "force": true}\n') == b'{"generation": "00"}\n'


@pytest.mark.parametrize("command", [b'{"command": "dance"}\n', b'{"command": "reload", "force": 1}\n', b"[]\n"])
def test_an_unknown_command_is_answered_with_a_problem(address: str, command: bytes) -> None:
    assert answer(address, command).startswith(b'{"problem": "unknown command')


def test_the_status_is_asked_for_anew(address: str) -> None:
    assert answer(address, b'{"command": "status"}\n') == b'{"role": "master"}\n'


def test_a_master_is_told_to_stop(address: str) -> None:
    assert answer(address, b'{"command": "stop"}\n') == b'{"stopping": true}\n'
    assert STOPPED == [True]

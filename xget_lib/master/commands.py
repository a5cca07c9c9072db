"""Commands to a master from its own machine: each becomes an event, and its answer is sent when the master has it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent import Timeout
from gevent import socket as gsocket
from gevent.event import AsyncResult

from xget_lib.process import control_socket
from xget_lib.process.runtime_directory import is_trusted
from xget_lib.report.log import LOGGER

_SIGN_EVERY = 2.0
"""Seconds between two lines for a client that waits for its answer."""
_READ_TIMEOUT = 5.0
"""Seconds that a client has to send its command."""
_ACCEPT_PAUSE = 0.1
"""Seconds to wait before the next try, when a connection cannot be accepted."""


@dataclass(eq=False)
class Reload:
    """`xget.py reload`: scan now. `force`: publish whatever is there."""

    force: bool
    former: bytes = b""
    """The generation that was served when it came."""
    credentials_problem: str = ""
    """Why the secret or the certificates stay as they were, if their files cannot be used."""
    answer: AsyncResult[dict[str, Any]] = field(default_factory=AsyncResult)


def serve(listening: socket.socket, act: Callable[[Reload], None]) -> None:
    """Take commands for ever. `act` is called with each, and must set its answer some time."""
    with gsocket.socket(fileno=listening.detach()) as accepting:
        while True:
            try:
                accepted, _ = accepting.accept()
            except OSError as error:  # this machine has no descriptor left, or the other process is gone
                LOGGER.debug("command: %s", error)
                gevent.sleep(_ACCEPT_PAUSE)
                continue
            gevent.spawn(_converse, accepted, act)


def _converse(sock: gsocket.socket, act: Callable[[Reload], None]) -> None:
    with sock:
        try:
            if not is_trusted(sock):
                return
            with Timeout(_READ_TIMEOUT):
                command = _read(sock)
            for line in _perform(command, act):
                sock.sendall(json.dumps(line).encode() + b"\n")
        except (OSError, ValueError, Timeout) as error:
            LOGGER.debug("command: %s", error)


def _read(sock: gsocket.socket) -> Any:
    line = b""
    while not line.endswith(b"\n"):
        part = sock.recv(control_socket.LINE_LIMIT)
        line += part
        if not part or len(line) > control_socket.LINE_LIMIT:
            raise ValueError("no command")
    return json.loads(line)


def _perform(command: Any, act: Callable[[Reload], None]) -> Iterator[dict[str, Any]]:
    """The lines that answer a command: signs of work, then the answer."""
    match command:
        case {"command": "reload", "force": bool(force)}:
            reload = Reload(force)
            act(reload)
            while not reload.answer.ready():
                yield {"working": "the master is scanning"}
                reload.answer.wait(_SIGN_EVERY)
            answer = reload.answer.get()
            assert answer is not None
            yield answer
        case _:
            yield {"problem": "unknown command (is this another version of XGet?)"}

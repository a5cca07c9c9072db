"""How commands, such as `xget.py reload`, reach a master or a client on this machine: over a socket of its own.

That of a master is named after its port (`runtime_directory`). Each side checks that the other is the same user, or
root.

A conversation: one side sends one line of JSON, an object with `command`; the other answers with one, and closes. Until
it has the answer, it sends a line with `working` every two seconds: a command may take hours, and a process that is
silent is stopped, or hangs. Who is told to stop keeps the connection until it has ended.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from xget_lib.errors import Failed, MasterUnreachable, printable
from xget_lib.process import runtime_directory

LINE_LIMIT = 64 * 1024
"""Bytes of a command, at most,"""
ANSWER_LIMIT = 1024 * 1024
"""and of an answer: the status of a master."""
_LOOK_EVERY = 1.0
"""Seconds between two calls of `on_wait`."""
CONNECT_TIMEOUT = 10.0
"""Seconds to connect and to send the command, in each case."""


def request(
    port: int,
    command: dict[str, Any],
    seconds: float,
    on_wait: Callable[[str], None] = lambda working: None,
    connect: Callable[[float], socket.socket] | None = None,
) -> dict[str, Any]:
    """Send a command to the master of this port on this machine. Returns its answer.

    `on_wait`: as for `ask`. `connect`: to another one than the first master of this port. Raises Failed if there is no
    master, and MasterUnreachable if nothing comes from it for so many seconds.
    """
    what = f"master of port {port}"
    begun = time.monotonic()
    try:
        connect = connect or partial(runtime_directory.connect, name_of_master(port))
        with connect(min(seconds, CONNECT_TIMEOUT)) as sock:
            answer = ask(sock, command, seconds, on_wait)
    except FileNotFoundError:
        raise Failed(what, "not running on this machine (choose another port with -p)") from None
    except PermissionError:
        raise Failed(what, "runs as another user (run this command as that user, or as root)") from None
    except TimeoutError:
        raise MasterUnreachable("localhost", port, time.monotonic() - begun, "no answer") from None
    except OSError as error:
        raise Failed(what, error.strerror or str(error)) from None
    if answer is None:
        raise Failed(what, "ended before it answered")
    return answer


def ask(
    sock: socket.socket,
    command: dict[str, Any],
    seconds: float,
    on_wait: Callable[[str], None] = lambda working: None,
) -> dict[str, Any] | None:
    """Send a command. Returns the answer; None if the connection ends before, or it is none.

    `on_wait` is called every second until then, with what the other process says that it does; "" if it says nothing.
    Raises OSError; TimeoutError if nothing comes for so many seconds.
    """
    heard = time.monotonic()
    received, working = b"", ""
    sock.sendall(json.dumps(command).encode() + b"\n")
    while len(received) <= ANSWER_LIMIT:
        sock.settimeout(min(_LOOK_EVERY, max(heard + seconds - time.monotonic(), 0.001)))
        try:
            part = sock.recv(LINE_LIMIT)
        except TimeoutError:
            if time.monotonic() >= heard + seconds:
                raise
            on_wait(working)
            continue
        if not part:
            break
        heard, received = time.monotonic(), received + part
        while b"\n" in part:
            line, _, received = received.partition(b"\n")
            answer = _decode(line)
            if answer is not None and "working" not in answer:
                return answer
            if answer is not None:
                working = printable(str(answer["working"]))
            part = received
    return None


def _decode(line: bytes) -> dict[str, Any] | None:
    """The object in a line; None if there is none."""
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def name_of_master(port: int) -> str:
    """Where the master of a port takes commands."""
    return f"master-{port}"

"""The socket on which the master of a port takes commands from this machine, such as `xget.py reload`.

It is named after the port (`runtime_directory`). Each side checks that the other is the same user, or root.

A conversation: the client sends one line of JSON, an object with `command`; the master answers with one, and closes.
Until it has the answer, it sends a line with `working` every two seconds: a command may take hours, and a master that
is silent is stopped, or hangs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from xget_lib.errors import Failed, MasterUnreachable, printable
from xget_lib.process import runtime_directory
from xget_lib.process.runtime_directory import Listening

LINE_LIMIT = 64 * 1024
"""Bytes."""
_LOOK_EVERY = 1.0
"""Seconds between two calls of `on_wait`."""
_CONNECT_TIMEOUT = 10.0
"""Seconds to connect and to send the command, in each case."""


def listen(port: int) -> Listening | None:
    """The listening socket of the master of this port; None if another master has it (on another address).

    Raises Failed if there is no directory for it.
    """
    return runtime_directory.listen(_name(port))


def request(
    port: int, command: dict[str, Any], seconds: float, on_wait: Callable[[str], None] = lambda working: None
) -> dict[str, Any]:
    """Send a command to the master of this port on this machine. Returns its answer.

    `on_wait` is called every second until then, with what the master says that it does; "" if it says nothing. Raises
    Failed if there is no master, and MasterUnreachable if nothing comes from it for so many seconds.
    """
    what = f"master of port {port}"
    heard = time.monotonic()
    received, answer, working = b"", None, ""
    try:
        with runtime_directory.connect(_name(port), min(seconds, _CONNECT_TIMEOUT)) as sock:
            sock.sendall(json.dumps(command).encode() + b"\n")
            while answer is None and len(received) <= LINE_LIMIT:
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
                while answer is None and b"\n" in received:
                    line, _, received = received.partition(b"\n")
                    answer = _decode(line)
                    if answer is not None and "working" in answer:
                        working, answer = printable(str(answer["working"])), None
    except FileNotFoundError:
        raise Failed(what, "not running on this machine (choose another port with -p)") from None
    except PermissionError:
        raise Failed(what, "runs as another user (run this command as that user, or as root)") from None
    except TimeoutError:
        raise MasterUnreachable("localhost", port, time.monotonic() - heard, "no answer") from None
    except OSError as error:
        raise Failed(what, error.strerror or str(error)) from None
    if answer is None:
        raise Failed(what, "ended before it answered")
    return answer


def _decode(line: bytes) -> dict[str, Any] | None:
    """The object in a line; None if there is none."""
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _name(port: int) -> str:
    return f"master-{port}"

"""The socket on which the master of a port takes commands from this machine, such as `xget.py reload`.

It is named after the port (`runtime_directory`). Each side checks that the other is the same user, or root.

A conversation: the client sends one line of JSON, an object with `command`; the master answers with one, and closes.
"""

from __future__ import annotations

import json
import time
from typing import Any

from xget_lib.errors import Failed
from xget_lib.process import runtime_directory
from xget_lib.process.runtime_directory import Listening

LINE_LIMIT = 64 * 1024
"""Bytes."""
_CONNECT_TIMEOUT = 10.0
"""Seconds to connect and to send the command, in each case."""


def listen(port: int) -> Listening | None:
    """The listening socket of the master of this port; None if another master has it (on another address).

    Raises Failed if there is no directory for it.
    """
    return runtime_directory.listen(_name(port))


def request(port: int, command: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Send a command to the master of this port on this machine. Returns its answer.

    Raises Failed if there is none, or it does not answer within so many seconds.
    """
    what = f"master of port {port}"
    deadline = time.monotonic() + seconds
    line, waited = b"", min(seconds, _CONNECT_TIMEOUT)
    try:
        with runtime_directory.connect(_name(port), waited) as sock:
            sock.sendall(json.dumps(command).encode() + b"\n")
            waited = seconds
            while not line.endswith(b"\n") and len(line) <= LINE_LIMIT:
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
                part = sock.recv(LINE_LIMIT)
                if not part:
                    break
                line += part
    except FileNotFoundError:
        raise Failed(what, "not running on this machine (choose another port with -p)") from None
    except PermissionError:
        raise Failed(what, "runs as another user (run this command as that user, or as root)") from None
    except TimeoutError:
        raise Failed(what, f"no answer within {waited:g} s") from None
    except OSError as error:
        raise Failed(what, error.strerror or str(error)) from None
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Failed(what, "ended before it answered")
    return answer


def _name(port: int) -> str:
    return f"master-{port}"

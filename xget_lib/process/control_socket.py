"""The socket on which the master of a port takes commands from this machine, such as `xget.py reload`.

An abstract UNIX socket, named after the port, so nothing has to be cleaned up (unix(7)). It is one of a network
namespace, as the port is. Each side checks with SO_PEERCRED that the other is the same user, or root.

A conversation: the client sends one line of JSON, an object with `command`; the master answers with one, and closes.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from xget_lib.errors import Failed

LINE_LIMIT = 64 * 1024
"""Bytes."""
_CREDENTIALS = struct.Struct("3i")


def listen(port: int) -> socket.socket | None:
    """The listening socket of the master of this port; None if another master has it (on another address)."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.bind(_name(port))
        listening.listen()
    except OSError:
        listening.close()
        return None
    return listening


def is_trusted(sock: socket.socket) -> bool:
    """Whether the process at the other end runs as the same user, or as root."""
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return uid in (0, os.geteuid())


def request(port: int, command: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Send a command to the master of this port on this machine. Returns its answer.

    Raises Failed if there is none, or it does not answer within so many seconds.
    """
    what = f"master of port {port}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect(_name(port))
            if not is_trusted(sock):
                raise Failed(what, "runs as another user (run this command as that user, or as root)")
            sock.sendall(json.dumps(command).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n") and len(line) <= LINE_LIMIT:
                part = sock.recv(LINE_LIMIT)
                if not part:
                    break
                line += part
        except (ConnectionRefusedError, FileNotFoundError):
            raise Failed(what, "not running on this machine (choose another port with -p)") from None
        except TimeoutError:
            raise Failed(what, f"no answer within {seconds:g} s") from None
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
    return f"\0xget-master-{port}"

"""Reads a file of the namespace `swarm` of a server: its status, the list of its nodes, its manifest."""

from __future__ import annotations

import json
import time
from typing import Any

import gevent

from xget_lib.errors import printable
from xget_lib.net.link import Link
from xget_lib.ninep.auth import Credentials
from xget_lib.report.output import print_error
from xget_lib.report.waiting import Wait, WaitLines
from xget_lib.serve.attach import SWARM

TIMEOUT = 10.0
"""Seconds for an answer; --timeout if that is shorter."""
_LONGEST = 60.0
"""Seconds for a whole file, at most, after the first answer."""
_LOOK_EVERY = 0.5
_MAX_SIZE = 64 * 1024 * 1024
"""Bytes of a file. The list of 200,000 nodes is smaller."""


def read_status(host: str, port: int, seconds: float, credentials: Credentials) -> dict[str, Any]:
    """What a server says of itself. Raises LinkLost, NinepError, ValueError."""
    text = read_file(host, port, "status", "its status", seconds, credentials)
    try:
        status = json.loads(text)
    except RecursionError:
        raise ValueError("the status is nested too deeply") from None
    if not isinstance(status, dict):
        raise ValueError("the status is not a JSON object")
    return status


def read_file(
    host: str, port: int, name: str, what: str, seconds: float, credentials: Credentials, limit: int | None = None
) -> bytes:
    """The content of a file. If it takes long, a line says so on stderr: `what` is waited for. Raises LinkLost,
    NinepError, ValueError."""
    wait = Wait(what, f"{printable(host)} port {port}", f"giving up after {seconds:g} s")
    telling = gevent.spawn(_tell, wait)
    try:
        return _read(host, port, name, seconds, credentials, _MAX_SIZE if limit is None else limit)
    finally:
        telling.kill()


def _read(host: str, port: int, name: str, seconds: float, credentials: Credentials, limit: int) -> bytes:
    """Within so many seconds, each further part of it too, and all within a minute. Raises LinkLost, NinepError,
    ValueError."""
    deadline = time.monotonic() + seconds
    latest = deadline + _LONGEST
    link = Link.connect(host, port, SWARM, seconds, credentials)
    try:
        file = link.open(name, max(deadline - time.monotonic(), 0.1))
        text = bytearray()
        while part := file.read(len(text), link.max_read, max(deadline - time.monotonic(), 0.1)):
            deadline = min(time.monotonic() + seconds, latest)
            text += part
            if len(text) > limit:
                raise ValueError(f"the {name} is too long")
            if time.monotonic() > latest:
                raise ValueError(f"the {name} comes too slowly")
    finally:
        link.close()
    return bytes(text)


def _tell(wait: Wait) -> None:
    """Say what is waited for, if it takes long."""
    lines = WaitLines(lambda line: print_error(f"xget: {line}"))
    while True:
        gevent.sleep(_LOOK_EVERY)
        lines.look(wait)

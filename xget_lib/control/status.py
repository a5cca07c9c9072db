"""`xget.py status`: prints the status of a master or of the servers on this node, from their `status` files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import gevent

from xget_lib.config import Config
from xget_lib.errors import Exit, LinkLost, MasterUnreachable, NinepError, NotAdmitted, printable
from xget_lib.net.credentials import credentials_of
from xget_lib.net.link import Link
from xget_lib.ninep.auth import Credentials
from xget_lib.process.single_server import local_ports
from xget_lib.report.output import print_error, print_line
from xget_lib.report.status import table
from xget_lib.report.waiting import Wait, WaitLines
from xget_lib.serve.attach import SWARM

_TIMEOUT = 10.0
"""Seconds per server; --timeout if that is shorter."""
_LONGEST = 60.0
"""Seconds for a whole status, at most."""
_LOOK_EVERY = 0.5
_MAX_SIZE = 64 * 1024 * 1024
"""Bytes of a status. One of 400,000 nodes is smaller."""


def run(config: Config) -> int:
    """Print the status of the server at -n, or of the master and child servers on this node; return the exit status.

    Raises MasterUnreachable if no server answers, NotAdmitted if none of those that do lets this process in, and Failed
    where the child servers cannot be found.
    """
    host = config.host or "localhost"
    seconds = min(config.timeout, _TIMEOUT)
    found = 0
    failure: tuple[float, str] | None = None
    refusal: NotAdmitted | None = None
    credentials = credentials_of(config)
    for port in _ports(config):
        begun = time.monotonic()
        try:
            status = _read(host, port, seconds, credentials)
        except NotAdmitted as error:
            refusal = refusal or error
            continue
        except (LinkLost, NinepError, ValueError) as error:
            why = error.why if isinstance(error, LinkLost) else str(error)
            failure = failure or (time.monotonic() - begun, why)
            continue
        found += 1
        for line in [json.dumps(status)] if config.json else table(status).splitlines():
            print_line(line)
    if refusal is not None and not found:
        raise refusal
    if not found:
        assert failure is not None
        raise MasterUnreachable(host, config.port, *failure)
    return Exit.OK


def _ports(config: Config) -> Iterator[int]:
    """The master first: it can be asked also where the child servers cannot be found. Raises Failed."""
    yield config.port
    if not config.host:
        yield from (port for port in local_ports() if port != config.port)


def _read(host: str, port: int, seconds: float, credentials: Credentials) -> dict[str, Any]:
    """Raises LinkLost, NinepError, ValueError."""
    wait = Wait("its status", f"{printable(host)} port {port}", f"giving up after {seconds:g} s")
    telling = gevent.spawn(_tell, wait)
    try:
        text = _read_text(host, port, seconds, credentials)
    finally:
        telling.kill()
    try:
        status = json.loads(text)
    except RecursionError:
        raise ValueError("the status is nested too deeply") from None
    if not isinstance(status, dict):
        raise ValueError("the status is not a JSON object")
    return status


def _read_text(host: str, port: int, seconds: float, credentials: Credentials) -> bytes:
    """Read it within so many seconds, each further part of it too, and all within a minute. Raises LinkLost,
    NinepError, ValueError."""
    deadline = time.monotonic() + seconds
    latest = deadline + _LONGEST
    link = Link.connect(host, port, SWARM, seconds, credentials)
    try:
        file = link.open("status", max(deadline - time.monotonic(), 0.1))
        text = b""
        while part := file.read(len(text), link.max_read, max(deadline - time.monotonic(), 0.1)):
            deadline = min(time.monotonic() + seconds, latest)
            text += part
            if len(text) > _MAX_SIZE:
                raise ValueError("the status is too long")
            if time.monotonic() > latest:
                raise ValueError("the status comes too slowly")
    finally:
        link.close()
    return text


def _tell(wait: Wait) -> None:
    """Say what is waited for, if it takes long."""
    lines = WaitLines(lambda line: print_error(f"xget: {line}"))
    while True:
        gevent.sleep(_LOOK_EVERY)
        lines.look(wait)

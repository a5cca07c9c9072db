"""`xget.py status`: prints the status of a master or of the servers on this node, from their `status` files.

All are asked at once, each with deadlines of its own. One that is stopped or hangs does not take the time of others,
and is named.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gevent
from gevent.pool import Pool

from xget_lib.config import Config
from xget_lib.errors import Exit, LinkLost, MasterUnreachable, NinepError, NotAdmitted, printable
from xget_lib.net.credentials import credentials_of
from xget_lib.net.link import Link
from xget_lib.ninep.auth import Credentials
from xget_lib.process.single_server import local_children
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
_NOBODY = os.strerror(errno.ECONNREFUSED)
_AT_ONCE = 128
"""Servers that are asked at once, at most: each costs a descriptor."""


@dataclass(frozen=True)
class _Server:
    """A server to ask."""

    host: str
    port: int
    child: int | None = None
    """The process of a child server of this machine; None for any other server."""


@dataclass(frozen=True)
class _Failure:
    """Why a server gave no status, and after how many seconds."""

    seconds: float
    why: str
    refusal: NotAdmitted | None = None
    """If it did not let this process in."""


def run(config: Config) -> int:
    """Print the status of the server at -n, or of the master and child servers on this node; return the exit status.

    A server on this node that does not answer, or does not let this process in, is named. Raises NotAdmitted or
    MasterUnreachable if none gives its status.
    """
    servers = list(_servers(config))
    seconds = min(config.timeout, _TIMEOUT)
    found = 0
    # A child is asked too: its certificate need not contain the name by which it is asked for.
    credentials = credentials_of(replace(config, host=None))
    failures = []
    ask = partial(_ask, seconds=seconds, credentials=credentials)
    for server, status in zip(servers, Pool(_AT_ONCE).imap(ask, servers), strict=True):
        if not isinstance(status, _Failure):
            found += 1
            for line in [json.dumps(status)] if config.json else table(status).splitlines():
                print_line(line)
            continue
        failures.append(status)
        if not config.host and status.why != _NOBODY:
            print_line(_silent(server, status.why, as_json=config.json))
    refusals = [failure.refusal for failure in failures if failure.refusal is not None]
    if refusals and not found:
        raise refusals[0]
    if not found:
        raise MasterUnreachable(servers[0].host, config.port, failures[0].seconds, failures[0].why)
    return Exit.OK


def _servers(config: Config) -> Iterator[_Server]:
    if config.host:
        yield _Server(config.host, config.port)
        return
    yield _Server("localhost", config.port)
    for child in local_children():
        if child.port != config.port:
            yield _Server("localhost", child.port, child.pid)


def _ask(server: _Server, seconds: float, credentials: Credentials) -> dict[str, Any] | _Failure:
    begun = time.monotonic()
    try:
        status = _read(server.host, server.port, seconds, credentials)
    except NotAdmitted as error:
        return _Failure(time.monotonic() - begun, error.why, error)
    except (LinkLost, NinepError, ValueError) as error:
        return _Failure(time.monotonic() - begun, error.why if isinstance(error, LinkLost) else str(error))
    if server.child not in (None, status.get("pid")):
        return _Failure(time.monotonic() - begun, _NOBODY)  # the child was killed, and another server has its port
    return status


def _silent(server: _Server, why: str, *, as_json: bool) -> str:
    """The line for a server on this node that gives no status."""
    if as_json:
        role = {"role": "child", "pid": server.child} if server.child is not None else {}
        return json.dumps({**role, "port": server.port, "problem": why})
    who = f"child server, process {server.child}, " if server.child is not None else ""
    return f"{who}port {server.port}: {printable(why)}"


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

"""A master and its nodes: whether they let this machine in, their versions, clocks, what they say, and their rates."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from xget_lib import __version__
from xget_lib.config import Config
from xget_lib.control.remote import TIMEOUT
from xget_lib.dataclass import replace
from xget_lib.doctor import packets, rate
from xget_lib.doctor.destination import Content
from xget_lib.doctor.findings import PROBLEM, Finding, note, ok, problem
from xget_lib.doctor.reach import examine_port
from xget_lib.doctor.timing import clock
from xget_lib.errors import Exit, LinkLost, NinepError, NotAdmitted, printable
from xget_lib.fs.places import MARK_SIZE, MARKS_LIMIT
from xget_lib.manifest.entry import SIZE_LIMIT
from xget_lib.manifest.index import HEAD_SIZE, VERSION, format_of
from xget_lib.net.connect import resolve
from xget_lib.net.credentials import credentials_of
from xget_lib.net.link import Link
from xget_lib.net.receive_limit import ReceiveLimit
from xget_lib.net.route import Route
from xget_lib.ninep.auth import MASTER, Credentials
from xget_lib.report.events import counted
from xget_lib.serve.attach import SWARM
from xget_lib.swarm.addresses import usable

_PEERS = 2
_FILE_LIMIT = 4 << 20
"""Bytes of a status. That of 100,000 nodes is smaller."""
_FILE_WITHIN = 20.0
"""Seconds for a whole one."""

Status = Mapping[str, Any]


class Master:
    """The examination of one master. `examine` yields what it finds, and leaves what others need to know."""

    def __init__(self, config: Config, host: str, route: Route | None) -> None:
        self.content: Content | None = None
        """What it serves, if it said so."""
        self._config = config
        self._host, self._port = host, config.port
        self._route = route
        self._limit = ReceiveLimit(config.rate) if config.rate is not None else None
        self._seconds = min(config.timeout, TIMEOUT)

    def examine(self, credentials: Credentials) -> Iterator[Finding]:
        try:
            link = self._connect(credentials)
        except (LinkLost, NinepError) as error:
            yield _not_connected(error, "the master")
            return
        try:
            yield _admitted(link, credentials)
            for finding in packets.examine(link, self._route):
                if finding.result == PROBLEM:
                    yield self._unless_busy(finding, credentials)
                    return  # everything else that is large would only wait too
                yield finding
            status, asked, answered = _read_status(link)
            yield from _of_master(status, self._config)
            yield _version("the master", status)
            yield from _manifest(link)
            yield clock(asked, answered, status.get("time"), strict=credentials.munge is not None or self._config.tls)
            self.content = _content(link, status)
            if status.get("generation"):
                trip = packets.round_trip(link)
                length, busy = _number(status, "bytes"), _is_busy(status)
                yield rate.examine(link, "the master", length, self._route, self._config.rate, trip, busy=busy)
            own, seen = link.hosts
        except (LinkLost, NinepError, ValueError) as error:
            why = error.why if isinstance(error, LinkLost) else printable(str(error))
            yield problem("master", f"the master: {why}", "look at its log: does it hang?", Exit.UNREACHABLE)
            return
        finally:
            link.close()
        yield from self._examine_peers(status, own, seen)

    def _unless_busy(self, finding: Finding, credentials: Credentials) -> Finding:
        """What it means that something large did not come, if the master sends to nodes: it may be limited."""
        try:
            with closing(self._connect(credentials)) as link:
                status, _, _ = _read_status(link)
        except (LinkLost, NinepError, ValueError):
            return finding
        if not _is_busy(status):
            return finding
        what = f"{finding.what}; or they wait, because the master sends to nodes now, with --rate-up"
        return note("packets", what, "run this command again when it is idle")

    def _connect(self, credentials: Credentials) -> Link:
        """Raises LinkLost, NotAdmitted, NinepError."""
        where = self._host, self._port
        return Link.connect(*where, SWARM, self._seconds, credentials, server=MASTER, limit=self._limit)

    def _examine_peers(self, status: Status, own: str, master: str) -> Iterator[Finding]:
        """Two of the nodes that have everything."""
        whole = _whole_peers(status)
        peers = usable(whole, (own, 0), master, self._config.allow)
        if not peers:
            why = "none that this node may connect to has everything" if whole else "no other node has everything now"
            yield ok("peers", f"not examined: {why}")
            return
        others = [peer for peer in peers if peer[0] != own] or list(peers)
        credentials = credentials_of(replace(self._config, host=None))
        for address, port in random.sample(others, min(_PEERS, len(others))):
            yield from self._examine_peer(address, port, credentials, status)

    def _examine_peer(self, address: str, port: int, credentials: Credentials, master: Status) -> Iterator[Finding]:
        whom = f"node {address}"
        advice = "it may have ended just now; if it runs, allow these connections in its firewall (see --ports)"
        reached = examine_port(resolve(address, port), whom, advice)
        if reached.result == PROBLEM:
            yield replace(reached, check="peers", exit=Exit.FAILED)
            return
        try:
            link = Link.connect(address, port, SWARM, self._seconds, credentials, limit=self._limit)
        except (LinkLost, NinepError) as error:
            yield replace(_not_connected(error, whom), check="peers", exit=Exit.FAILED)
            return
        try:
            status, _, _ = _read_status(link)
            yield replace(_version(f"{whom} port {port}", status), check="peers")
            if status.get("generation") == master.get("generation"):
                trip = packets.round_trip(link)
                length = _number(status, "bytes")
                yield rate.examine(link, whom, length, None, self._config.rate, trip, busy=_is_busy(master))
        except (LinkLost, NinepError, ValueError) as error:
            why = error.why if isinstance(error, LinkLost) else printable(str(error))
            yield problem("peers", f"{whom} port {port}: {why}", "look at the log of that node")
        finally:
            link.close()


def _not_connected(error: LinkLost | NinepError, whom: str) -> Finding:
    why = error.why if isinstance(error, LinkLost) else str(error)
    if isinstance(error, NotAdmitted):
        advice = "give both sides the same --secret, --auth and --tls; see docs/operations.md, section 6"
        return problem("admission", f"{whom}: {why}", advice, Exit.NOT_ADMITTED)
    if why == "connection closed by the server":
        advice = "does its --allow leave this machine out? is it at a limit, or ending? see its log"
        return problem("admission", f"{whom} closes the connection at once", advice, Exit.UNREACHABLE)
    advice = "is it the right port? does the process there hang? see its log"
    return problem("admission", f"{whom}: {why}", advice, Exit.UNREACHABLE)


def _admitted(link: Link, credentials: Credentials) -> Finding:
    """How the two have proved to each other that they belong."""
    method = "the secret" if link.key else "MUNGE"
    ends = f", valid until {printable(link.certificate_ends)}" if link.certificate_ends else ""
    tls = f" over TLS (certificate of the server accepted{ends})" if ends else " over TLS" if credentials.tls else ""
    if link.session_key is not None:
        return ok("admission", f"both sides have proved that they belong with {method}{tls}")
    if credentials.tls is not None:
        return ok("admission", f"accepted{tls}")
    return ok("admission", "accepted; neither side asks for a proof, and nothing is encrypted")


def _read_status(link: Link) -> tuple[Status, float, float]:
    """The status, and when it was asked for and had been answered, in seconds since 1970. Raises LinkLost, NinepError,
    ValueError."""
    file = link.open("status", TIMEOUT)
    asked, deadline = time.time(), time.monotonic() + _FILE_WITHIN
    text = bytearray(file.read(0, link.max_read, TIMEOUT))
    answered = time.time()
    while text and (part := file.read(len(text), link.max_read, TIMEOUT)):
        text += part
        if len(text) > _FILE_LIMIT or time.monotonic() > deadline:
            raise ValueError("its status is too long, or comes too slowly")
    try:
        status = json.loads(text)
    except RecursionError:
        raise ValueError("its status is nested too deeply") from None
    if not isinstance(status, dict):
        raise ValueError("its status is not a JSON object")
    return status, asked, answered


def _of_master(status: Status, config: Config) -> Iterator[Finding]:
    """What it says of itself."""
    role = status.get("role")
    if role != "master":
        whose = f", of the master {printable(str(status['master']))}" if status.get("master") else ""
        what = f"{config.host} port {config.port} is a {printable(str(role))}{whose}, and not a master"
        yield problem("master", what, "name the master with -n and -p", Exit.UNREACHABLE)
        return
    for field in ("problem", "nursery_problem"):
        if status.get(field):
            yield problem("master", f"it says: {printable(str(status[field]))}", "see its log")
    if not status.get("generation"):
        yield note("master", "it has no snapshot yet: it is scanning its directory", "its log says how far it is")
        return
    omitted = status.get("omitted")
    if isinstance(omitted, list) and omitted:
        what = f"it leaves out {counted(len(omitted), 'path')}, such as {printable(str(omitted[0]))}"
        yield note("master", what, "see xget status -n")
    what = f"serves generation {printable(str(status['generation']))[:16]}, {counted(_number(status, 'files'), 'file')}"
    yield ok("master", what)


def _version(whom: str, status: Status) -> Finding:
    """The versions of both sides. That they fit together is said by the manifest (`_manifest`)."""
    other = printable(str(status.get("version", "unknown")))
    if other == __version__:
        return ok("version", f"{whom} has {other} too")
    return note("version", f"{whom} has {other}, this is {__version__}", "upgrade nodes first, the master last")


def _manifest(link: Link) -> Iterator[Finding]:
    """Whether the format of the manifest is one that this version reads."""
    try:
        begin = link.open("manifest", TIMEOUT).read(0, HEAD_SIZE, TIMEOUT)
    except NinepError:
        return  # there is none yet
    number = format_of(begin)
    if number != VERSION:
        has = f"the format {number}" if number is not None else "an unknown format"
        what = f"the master's manifest has {has}, this version reads {VERSION}"
        yield problem("version", what, "use the same version of XGet on both sides", Exit.UNVERIFIED)


def _content(link: Link, status: Status) -> Content | None:
    """Raises LinkLost."""
    if not status.get("generation"):
        return None
    text = b""
    try:
        file = link.open("places", TIMEOUT)
        while part := file.read(len(text), 64 * 1024, TIMEOUT):
            text += part
            if len(text) > MARKS_LIMIT * (2 * MARK_SIZE + 1):
                raise ValueError("its list of places is too long")
    except NinepError:
        text = b""  # a master of an older version
    marks = frozenset(bytes.fromhex(line.decode("ascii")) for line in text.split())
    return Content(_number(status, "bytes"), _number(status, "files"), marks)


def _number(status: Status, name: str) -> int:
    """A number of bytes or files. Raises ValueError for anything else."""
    value = status.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < SIZE_LIMIT:
        raise ValueError(f"its status has no valid {name}")
    return value


def _is_busy(status: Status) -> bool:
    """Whether the master sends content to nodes now."""
    distribution = status.get("distribution")
    states = distribution.get("states") if isinstance(distribution, dict) else None
    return isinstance(states, dict) and bool(states.get("downloading"))


def _whole_peers(status: Status) -> tuple[tuple[str, int], ...]:
    """Addresses of the nodes that have all of what the master serves. Raises nothing."""
    children = status.get("children")
    found = []
    for child in children if isinstance(children, list) else ():
        match child:
            case {"address": str(address), "port": int(port), "held": held, "generation": generation}:
                if generation == status.get("generation") and held == status.get("chunks") and 1024 <= port < 65536:
                    found.append((address, port))
    return tuple(found)

"""The way to a server: its name, the route, and whether its port answers, refuses, or is silent."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import gevent
from gevent import socket as gsocket

from xget_lib.doctor.findings import Finding, note, ok, problem
from xget_lib.errors import Exit, printable
from xget_lib.net.connect import Endpoint, connect, resolve
from xget_lib.net.route import Route, route_to

_SLOW_LOOKUP = 1.0
"""Seconds."""
_CONNECT_WITHIN = 5.0
"""Seconds for each address: a lost first packet is sent again after one second, and after three."""
_SIGN_WITHIN = 1.0
_MOST = 4
"""Addresses that are tried."""
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES)


def look_up(host: str, port: int, seconds: float) -> tuple[Sequence[Endpoint], Finding]:
    """The addresses of a host; none if that is what is wrong."""
    begun = time.monotonic()
    name = printable(host)
    try:
        with gevent.Timeout(seconds, TimeoutError()):
            endpoints = resolve(host, port)
    except TimeoutError:
        what = f"{name} is not known: no name server answers in {seconds:g} s"
        return (), problem("name", what, "see /etc/resolv.conf, or use the address", Exit.UNREACHABLE)
    except OSError as error:
        advice = "check the name, /etc/hosts and the name server, or use the address"
        return (), problem("name", str(error.strerror or error), advice, Exit.UNREACHABLE)
    took = time.monotonic() - begun
    addresses = ", ".join(dict.fromkeys(str(endpoint.address[0]) for endpoint in endpoints))
    what = f"{name} is {addresses}" if addresses != name else f"{name} is an address"
    if took > _SLOW_LOOKUP:
        return endpoints, note("name", f"{what}; looking it up took {took:.1f} s", "see /etc/resolv.conf")
    return endpoints, ok("name", what)


def examine(host: str, port: int, seconds: float) -> Iterator[Finding | Route]:
    """The way to a master: its name within so many seconds, routes, the port. Ends after the first problem. Also the
    first route."""
    endpoints, finding = look_up(host, port, seconds)
    yield finding
    if endpoints:
        yield from examine_routes(endpoints[:_MOST])
        yield examine_port(endpoints, "the master", "start the master there, or name its port with -p")


def examine_routes(endpoints: Sequence[Endpoint]) -> Iterator[Finding | Route]:
    """How packets get there: a finding for each address, and the first route. It is a problem only if there is none."""
    missing, found = 0, False
    for endpoint in endpoints:
        address = endpoint.address[0]
        try:
            route = route_to(endpoint)
        except OSError as error:
            if error.errno not in _NO_ROUTE:
                yield note("route", f"unknown: the kernel cannot be asked ({error.strerror})")
                continue
            missing += 1
            what, advice = f"none to {address}: {error.strerror}", f"see `ip route get {address}`"
            is_only = missing == len(endpoints)
            yield problem("route", what, advice, Exit.UNREACHABLE) if is_only else note("route", what, advice)
            continue
        by = f" by {route.gateway}" if route.gateway else ""
        speed = f", {route.speed / 1e9:g} Gbit/s" if route.speed else ""
        yield ok("route", f"to {address}{by}, {route.interface} (MTU {route.mtu}{speed}), from {route.source}")
        if not found:
            yield route
        found = True


def examine_port(endpoints: Sequence[Endpoint], whom: str, advice: str) -> Finding:
    """Whether one of the addresses of `whom` accepts connections. `advice`: where it refuses them."""
    silent: list[Endpoint] = []
    failures: list[str] = []
    refused = ""
    for endpoint in endpoints[:_MOST]:
        where = f"{endpoint.address[0]} port {endpoint.address[1]}"
        begun = time.monotonic()
        try:
            with gevent.Timeout(_CONNECT_WITHIN, TimeoutError()):
                connect([endpoint]).close()
        except ConnectionRefusedError:
            refused = where
        except TimeoutError as error:  # ours, or that of the kernel
            silent.append(endpoint)
            failures.append(f"{where}: {error.strerror or 'no answer'}")
        except OSError as error:
            failures.append(f"{where}: {error.strerror or error}")
        else:
            took = 1000 * (time.monotonic() - begun)
            if failures or refused:
                others = "; ".join(filter(None, [*failures, refused and f"{refused} refuses"]))
                return note(
                    "port", f"{whom}: {where} accepts connections, but {others}", "remove the address that fails"
                )
            return ok("port", f"{whom}: {where} accepts connections, after {took:.1f} ms")
    if refused:
        what = f"{whom}: {refused} refuses connections: nothing listens there, or a firewall rejects them"
        return problem("port", what, advice, Exit.UNREACHABLE)
    if silent:
        return _dropped(silent[0], whom)
    what = f"{whom}: {'; '.join(failures)}"
    return problem("port", what, "is the machine up? see `ip neigh` and the routes", Exit.UNREACHABLE)


def _dropped(endpoint: Endpoint, whom: str) -> Finding:
    where = f"{whom}: {endpoint.address[0]} port {endpoint.address[1]} does not answer in {_CONNECT_WITHIN:g} s"
    if _answers_otherwise(endpoint):
        what = f"{where}, but the machine answers other packets: a firewall drops those to this port"
        return problem(
            "port", what, "allow this TCP port in the firewall of that machine, or on the way", Exit.UNREACHABLE
        )
    advice = "ping it; look at the firewalls on both sides"
    return problem("port", f"{where}: the machine is down, or a firewall drops all packets", advice, Exit.UNREACHABLE)


def _answers_otherwise(endpoint: Endpoint) -> bool:
    """Whether the machine refuses a packet of UDP (ICMP port unreachable) or a connection to the port discard, which
    nobody uses."""
    probes = [gevent.spawn(_refuses, endpoint, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
    gevent.joinall(probes, timeout=_SIGN_WITHIN + 0.5)
    found = any(probe.value for probe in probes)
    gevent.killall(probes)
    return found


def _refuses(endpoint: Endpoint, kind: int) -> bool:
    host, _, *rest = endpoint.address
    with suppress(OSError, gevent.Timeout), gsocket.socket(endpoint.family, kind) as sock:
        sock.settimeout(_SIGN_WITHIN)
        try:
            sock.connect((host, 9, *rest))
            if kind == socket.SOCK_DGRAM:
                sock.send(b"xget doctor")
                sock.recv(1)
            return True
        except ConnectionRefusedError:
            return True
        except OSError as error:
            return error.errno in (errno.ECONNREFUSED,)
    return False

"""Whether packets of full size get through, in both directions of the connection on which content would come.

Where a path takes smaller packets than the two ends think, and the message that says so (ICMP) is dropped, small
messages get through and large ones do not: a connection is made, and then stands still. So a request of many full
packets is sent, and as large an answer is asked for. That both arrive proves that this path, at this moment, carries
packets of the size that the kernel then has seen. It proves nothing about UDP, or about the paths between other nodes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from xget_lib.doctor.findings import Finding, note, ok, problem
from xget_lib.errors import Exit, LinkLost, NinepError
from xget_lib.net.link import Link
from xget_lib.net.route import Route
from xget_lib.net.tcp_info import TcpInfo
from xget_lib.ninep import messages

LARGE = 32 * 1024
"""Bytes: more than 20 packets of Ethernet, or three of 9,000 bytes. A request may have twice as many."""
_WITHIN = 6.0
"""Seconds. A lost packet is sent again after 0.2 to 1 s, then after twice that."""
_LOOPBACK = "lo"
_HEADERS = 80
"""Bytes of IPv6 and TCP, with options, besides content."""
_PROBE_FID = 0xFFFF


def examine(link: Link, route: Route | None) -> Iterator[Finding]:
    """Talks to a server on a connection of the tree swarm. Raises LinkLost where it does not even answer small
    requests."""
    trip = round_trip(link)
    advice = "set the MTU of all interfaces on the way alike, allow ICMP, or set sysctl net.ipv4.tcp_mtu_probing=1"
    if not _arrives(link):
        what = f"small requests are answered, one of {LARGE // 1024} KiB is not: large packets do not get to the server"
        yield problem("packets", what, advice, Exit.UNREACHABLE)
        return
    size = _comes(link)
    if size is None:
        what = "small answers come, large ones do not: large packets of the server do not get here"
        yield problem("packets", what, advice, Exit.UNREACHABLE)
        return
    yield of_sizes(link.tcp, route, size, trip)


def round_trip(link: Link) -> float:
    """Seconds; the shortest of a few. Raises LinkLost."""
    times = []
    for _ in range(4):
        begun = time.monotonic()
        link.call(messages.Twalk(0, 0, ()), _WITHIN)  # to where the root is already: it changes nothing
        times.append(time.monotonic() - begun)
    return min(times)


def of_sizes(info: TcpInfo, route: Route | None, size: int, trip: float) -> Finding:
    """What the kernel has seen. `size`: bytes of the answer."""
    trips = f"round trip {1000 * trip:.1f} ms"
    if size < LARGE:
        return note("packets", f"{trips}; large ones get to the server; it has nothing large to ask for")
    what = f"full ones get through both ways: {info.sends} bytes of content there, {info.receives} here; {trips}"
    if info.retransmitted > 1:
        return note("packets", f"{what}; {info.retransmitted} had to be sent again", "look for loss on the way")
    if route is None or route.interface == _LOOPBACK:
        return ok("packets", what)
    if info.path and info.path < route.mtu:
        what = f"{what}; the path takes {info.path} bytes, the interface {route.mtu}"
        return note("packets", what, f"set the MTU of {route.interface} to {info.path}, or that of the others higher")
    if info.receives + _HEADERS < info.offers:
        # The kernel estimates it from what arrives, several packets together.
        what = f"{what}; those of the server are smaller than {info.offers}, which this machine offers"
        return note("packets", what, "is the MTU the same on both sides?")
    return ok("packets", what)


def _arrives(link: Link) -> bool:
    """Whether a large request is answered. It names a file that no server has."""
    try:
        link.call(messages.Twalk(0, _PROBE_FID, ("x" * LARGE,)), _WITHIN)
    except NinepError:
        return True
    except LinkLost:
        if link.lost:
            raise
        return False
    return True


def _comes(link: Link) -> int | None:
    """How many bytes came of an answer; None if it did not come."""
    most = 0
    for name in ("data", "manifest", "status"):
        try:
            most = max(most, len(link.open(name, _WITHIN).read(0, LARGE, _WITHIN)))
        except NinepError:
            continue  # nothing is served yet
        except LinkLost:
            if link.lost:
                raise
            return None
        if most >= LARGE:
            break
    return most

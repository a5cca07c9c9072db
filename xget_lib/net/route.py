"""The route to an address, and the interface that it uses: asked of the kernel, rtnetlink(7), netdevice(7)."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from xget_lib.net.connect import Endpoint

# linux/rtnetlink.h, linux/netlink.h
_GETROUTE, _ERROR, _REQUEST = 26, 2, 1
_DST, _OIF, _GATEWAY, _PREFSRC, _METRICS = 1, 4, 5, 7, 8
_METRIC_MTU = 2
_HEADER, _ROUTE, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBBBBBBI"), struct.Struct("=HH")
_REFUSALS = {6: errno.ENETUNREACH, 7: errno.EHOSTUNREACH, 8: errno.EACCES}
"""Types of routes that lead nowhere: blackhole, unreachable, prohibit."""
# linux/sockios.h, linux/ethtool.h
_GIFMTU, _ETHTOOL, _GSET = 0x8921, 0x8946, 1
_UNKNOWN_SPEED = 0xFFFFFFFF
_ANSWER = 64 * 1024
_SECONDS = 5.0
"""The kernel answers at once."""


@dataclass(frozen=True)
class Route:
    """How packets to an address leave this machine."""

    interface: str
    gateway: str
    """Empty: the address is on the network of the interface."""
    source: str
    """The address of this machine that is used."""
    mtu: int
    """Bytes of a packet that the interface, or the route, takes."""
    speed: int | None
    """Bits per second of the interface, where it says one."""


def route_to(endpoint: Endpoint) -> Route:
    """Raises OSError where there is none."""
    host = str(endpoint.address[0]).partition("%")[0]
    attributes = _attribute(_DST, socket.inet_pton(endpoint.family, host))
    scope = endpoint.address[3] if endpoint.family == socket.AF_INET6 else 0
    if scope:
        attributes += _attribute(_OIF, struct.pack("=I", scope))
    bits = 32 if endpoint.family == socket.AF_INET else 128
    body = _ROUTE.pack(endpoint.family, bits, 0, 0, 0, 0, 0, 0, 0) + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_SECONDS)
        sock.bind((0, 0))
        sock.send(_HEADER.pack(_HEADER.size + len(body), _GETROUTE, _REQUEST, 1, 0) + body)
        return _decode(sock.recv(_ANSWER), endpoint.family)


def _decode(answer: bytes, family: int) -> Route:
    size, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _ERROR:
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        number = errno.ENETUNREACH if number == errno.EINVAL else number  # what connect(2) says of a blackhole
        raise OSError(number, os.strerror(number))
    route = _ROUTE.unpack_from(answer, _HEADER.size)
    if (number := _REFUSALS.get(route[7], 0)) != 0:
        raise OSError(number, os.strerror(number))
    found = dict(_attributes(answer[_HEADER.size + _ROUTE.size : size]))
    metrics = dict(_attributes(found.get(_METRICS, b"")))
    interface = socket.if_indextoname(_number(found[_OIF]))
    mtu = _number(metrics[_METRIC_MTU]) if _METRIC_MTU in metrics else 0
    gateway, source = (socket.inet_ntop(family, found[each]) if each in found else "" for each in (_GATEWAY, _PREFSRC))
    return Route(interface, gateway, source, mtu or _mtu_of(interface), _speed_of(interface))


def _attribute(kind: int, data: bytes) -> bytes:
    whole = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data
    return whole + bytes(-len(whole) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if size < _ATTRIBUTE.size:
            return
        yield kind, data[_ATTRIBUTE.size : size]
        data = data[size + -size % 4 :]


def _number(data: bytes) -> int:
    return int(struct.unpack_from("=I", data)[0])


def _mtu_of(interface: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        answer = fcntl.ioctl(sock, _GIFMTU, struct.pack("16si20x", os.fsencode(interface), 0))
    return int(struct.unpack_from("i", answer, 16)[0])


def _speed_of(interface: str) -> int | None:
    """Not from /sys, which may be that of another network namespace."""
    command = array.array("B", struct.pack("=I40x", _GSET))  # struct ethtool_cmd
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            fcntl.ioctl(sock, _ETHTOOL, struct.pack("16sP16x", os.fsencode(interface), command.buffer_info()[0]))
    except OSError:  # the loopback, and many virtual ones
        return None
    low, high = struct.unpack_from("=H", command, 12)[0], struct.unpack_from("=H", command, 28)[0]
    megabits = high << 16 | low
    return megabits * 1_000_000 if 0 < megabits < _UNKNOWN_SPEED and low != 0xFFFF else None

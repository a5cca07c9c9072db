"""Routes: those of this machine, and answers of the kernel that it has no reason to give here."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from xget_lib.net import route as module
from xget_lib.net.connect import Endpoint
from xget_lib.net.route import route_to


def endpoint(host: str) -> Endpoint:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return Endpoint(family, (host, 1, 0, 0) if family == socket.AF_INET6 else (host, 1))


def test_the_route_to_this_machine_is_the_loopback() -> None:
    found = route_to(endpoint("127.0.0.1"))
    assert (found.interface, found.gateway, found.source, found.speed) == ("lo", "", "127.0.0.1", None)
    assert found.mtu > 1000


def answer(kind: int, attributes: bytes = b"", route_type: int = 1) -> bytes:
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 0, 0, route_type, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def test_a_gateway_and_an_mtu_of_the_route() -> None:
    attribute = module._attribute
    index = socket.if_nametoindex("lo")
    metrics = attribute(2, struct.pack("=I", 1400))
    attributes = attribute(4, struct.pack("=I", index)) + attribute(5, bytes([10, 0, 0, 1])) + attribute(8, metrics)
    found = module._decode(answer(24, attributes), socket.AF_INET)
    assert (found.interface, found.gateway, found.source, found.mtu) == ("lo", "10.0.0.1", "", 1400)


@pytest.mark.parametrize(("kind", "number"), [(6, errno.ENETUNREACH), (7, errno.EHOSTUNREACH), (8, errno.EACCES)])
def test_routes_that_lead_nowhere(kind: int, number: int) -> None:
    with pytest.raises(OSError) as caught:
        module._decode(answer(24, route_type=kind), socket.AF_INET)
    assert caught.value.errno == number


def test_a_blackhole_is_called_as_connect_calls_it() -> None:
    refused = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -errno.EINVAL)
    with pytest.raises(OSError, match="Network is unreachable"):
        module._decode(refused, socket.AF_INET)

"""What the kernel says of a connection."""

from __future__ import annotations

import socket
import struct

from xget_lib.net.tcp_info import TcpInfo


def test_a_connection_that_has_received_something() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(bytes(10_000))
            got = 0
            while got < 10_000:
                got += len(client.recv(10_000))
            found = TcpInfo.of(client)
    assert found.received == 10_000
    assert 500 < found.path <= 65536
    assert found.sends > 500 and found.offers > 500
    assert 0 < found.rtt < 10
    assert found.retransmitted == found.out_of_order == 0


def test_what_an_older_kernel_lacks_is_0() -> None:
    old = bytearray(104)
    struct.pack_into("=I", old, 60, 1500)
    struct.pack_into("=I", old, 68, 2_500)
    found = TcpInfo.decode(bytes(old))
    assert (found.path, found.rtt, found.received, found.out_of_order) == (1500, 0.0025, 0, 0)

"""Whether the kernel encrypts is asked of the socket. That it does is tried in test/kernel."""

from __future__ import annotations

import socket

from xget_lib.process.ktls import encrypts_in_kernel


def test_a_socket_without_tls_is_not_encrypted() -> None:
    one, other = socket.socketpair()
    with (
        one,
        other,
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as connected,
    ):
        assert not encrypts_in_kernel(one)
        assert not encrypts_in_kernel(connected)

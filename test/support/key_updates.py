"""Updates of keys (RFC 8446, section 4.6.3): records of TLS 1.3 without content. Python's `ssl` cannot send them."""

from __future__ import annotations

import _ssl
import ctypes
import ssl

_SSL = object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
"""Where CPython has it in a connection: see `xget_lib.process.one_record`."""


def send_key_updates(sock: ssl.SSLSocket, count: int) -> None:
    """The handshake of the socket is over, and there is room for them."""
    openssl = ctypes.CDLL(_ssl.__file__)
    connection = ctypes.c_void_p.from_address(id(sock._sslobj) + _SSL)  # type: ignore[attr-defined]  # of CPython
    for _ in range(count):
        assert openssl.SSL_key_update(connection, 0) == openssl.SSL_do_handshake(connection) == 1

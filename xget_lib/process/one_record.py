"""OpenSSL handles one record of TLS at a time, and then returns to its caller.

As Python sets it up, SSL_read(3) goes on as long as what arrives is no content, such as updates of keys. Whoever sends
enough of these keeps it busy for seconds: no other connection of the process is served meanwhile, and no time limit
counts. The mode SSL_MODE_AUTO_RETRY is the reason (SSL_CTX_set_mode(3)), and Python's `ssl` cannot change it. So this
looks for the `SSL` of a connection where CPython has it (struct PySSLSocket in Modules/_ssl.c).
"""

from __future__ import annotations

import ctypes
import ssl
from functools import cache

_CLEAR_MODE = 78
"""SSL_CTRL_CLEAR_MODE of openssl/ssl.h, which SSL_clear_mode is,"""
_AUTO_RETRY = 0x4
"""and SSL_MODE_AUTO_RETRY."""
_POINTER = ctypes.sizeof(ctypes.c_void_p)


def return_after_each_record(sock: ssl.SSLSocket) -> bool:
    """From now on, what is received is one record at a time. Returns False where this Python keeps the `SSL` elsewhere,
    and nothing is changed."""
    connection = getattr(sock, "_sslobj", None)
    openssl = _openssl()
    if connection is None or openssl is None:
        return False
    # After the head of the object: a weak reference to the socket, the SSL, and the context.
    fields = (ctypes.c_void_p * 3).from_address(id(connection) + object.__basicsize__)
    if type(connection).__basicsize__ < object.__basicsize__ + 3 * _POINTER or fields[2] != id(sock.context):
        return False
    openssl.SSL_ctrl(ctypes.c_void_p(fields[1]), _CLEAR_MODE, ctypes.c_long(_AUTO_RETRY), None)
    return True


@cache
def _openssl() -> ctypes.CDLL | None:
    """What Python's `ssl` uses; None where it cannot be called."""
    try:
        import _ssl

        library = ctypes.CDLL(_ssl.__file__)
        library.SSL_ctrl.restype = ctypes.c_long
    except (ImportError, AttributeError, OSError):
        return None
    return library

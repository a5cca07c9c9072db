"""Kernel TLS: after the handshake, OpenSSL gives the key to the kernel, which encrypts what is sent on the socket.

The kernel needs its module `tls`, and OpenSSL must be built for it: Debian's is. For TLS 1.3 it decrypts nothing before
OpenSSL 3.2. See Documentation/networking/tls.rst of the kernel.
"""

from __future__ import annotations

import socket

ENABLE = 1 << 3
"""SSL_OP_ENABLE_KTLS of OpenSSL 3. Python has a name for it from 3.12 on."""
_SOL_TLS, _TLS_TX = 282, 1
"""linux/tls.h"""
_CRYPTO_INFO = 4
"""Bytes of struct tls_crypto_info."""


def encrypts_in_kernel(sock: socket.socket) -> bool:
    """Whether the kernel encrypts what is sent on a socket, whose handshake is over."""
    try:
        sock.getsockopt(_SOL_TLS, _TLS_TX, _CRYPTO_INFO)
    except OSError:
        return False  # the kernel has no TLS, or OpenSSL does not use it
    return True

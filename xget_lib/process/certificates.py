"""TLS 1.3 for all connections of a process (`--tls`): its certificate, and which ones it accepts of others.

There are two ways to know who is at the other end. With `--tls-ca`, each side has a certificate of that CA, and the
master's also names the host that was asked for. Without it, certificates prove nothing, and the secret does: its proof
contains the fingerprint of the server's certificate (`ninep.auth`), so that somebody in the middle, who has another
one, can pass on no proof. Then each process makes its own certificate when it starts (`self_signed`).
"""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
from dataclasses import dataclass
from socket import socket

from xget_lib.config import Config
from xget_lib.errors import UsageError, printable
from xget_lib.process import ktls
from xget_lib.process.memfd import memfd
from xget_lib.process.self_signed import self_signed

_EXPOSED = stat.S_IROTH | stat.S_IWOTH | stat.S_IXOTH | stat.S_IWGRP
_BINDING = b"tls-server-end-point:"
"""As RFC 5929 calls a channel binding that is the hash of the server's certificate."""


@dataclass(frozen=True)
class Tls:
    """What a process needs for TLS. Frozen, and good also in processes that are forked later. It is
    `ninep.auth.Tls`."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    named_client: ssl.SSLContext
    """For a server whose certificate must contain the name, or the address, by which it was asked for."""
    named: tuple[str, int] | None
    """Host and port of that server: the master."""
    binding: bytes
    """Names this process's certificate."""

    def accepted(self, sock: socket) -> ssl.SSLSocket:
        """TLS, as the server, over a connected socket that does not block, and which it takes over. Nothing is said
        yet."""
        return self.server.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def connected(self, sock: socket, address: tuple[str, int]) -> ssl.SSLSocket:
        """The same, as the client of the server at an address."""
        if address != self.named:
            return self.client.wrap_socket(sock, do_handshake_on_connect=False)
        return self.named_client.wrap_socket(sock, do_handshake_on_connect=False, server_hostname=address[0])


def load_tls(config: Config) -> Tls:
    """Raises UsageError for files that cannot be used."""
    server, client, named_client = contexts()
    client.check_hostname = False  # a peer is known by its address: what the CA says is enough
    if config.tls_ca is None:
        named_client.check_hostname = False
    for context in (server, client, named_client):
        if config.tls_ca is None:
            context.verify_mode = ssl.CERT_NONE
        else:
            context.verify_mode = ssl.CERT_REQUIRED
            _trust(context, config.tls_ca)
    certificate = own_certificate(config.tls_cert, config.tls_key, server, client, named_client)
    named = (config.host, config.port) if config.tls_ca is not None and config.host is not None else None
    return Tls(server, client, named_client, named, binding_of(certificate))


def binding_of(certificate: bytes) -> bytes:
    """What the secret's proof contains of a server's certificate, which is DER."""
    return _BINDING + hashlib.sha256(certificate).digest()


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]:
    """That of a server and two of clients. They have no certificates yet, and accept none."""
    server = _context(ssl.PROTOCOL_TLS_SERVER)
    server.num_tickets = 0  # nobody resumes a session
    return server, _context(ssl.PROTOCOL_TLS_CLIENT), _context(ssl.PROTOCOL_TLS_CLIENT)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # An end without close_notify is an end, as of plain TCP (`net.tls`).
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_IGNORE_UNEXPECTED_EOF | ktls.ENABLE
    return context


def _trust(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:  # SSLError is one
        raise _refused("tls-ca", path, _reason(error, "no certificates in PEM")) from None


def own_certificate(cert: str | None, separate_key: str | None, *contexts: ssl.SSLContext) -> bytes:
    """Give the contexts the certificate of this process: of a file, with its key in the same or another one, or made
    here. Returns it, as DER. Raises UsageError."""
    if cert is None:
        descriptor = memfd("certificate", pem := self_signed())
        try:
            for context in contexts:
                context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return _first_certificate(pem.decode())
    key = separate_key or cert
    option = "tls-key" if separate_key else "tls-cert"
    try:
        text = _read(cert)
    except (OSError, UnicodeDecodeError) as error:
        raise _refused("tls-cert", cert, _reason(error, "no PEM")) from None
    try:
        _check_private(option, key)
        for context in contexts:
            context.load_cert_chain(cert, key, password=_no_password)
        return _first_certificate(text)
    except (OSError, ValueError) as error:
        raise _refused(option, key, _reason(error, "not a certificate and its private key, in PEM")) from None


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read(1 << 20)


def _first_certificate(text: str) -> bytes:
    """The one that a server shows as its own. Raises ValueError."""
    begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
    return ssl.PEM_cert_to_DER_cert(text[begin:end])


def _check_private(option: str, path: str) -> None:
    """Raise UsageError if others can read or change a private key. Raises OSError."""
    if os.stat(path).st_mode & _EXPOSED:
        raise _refused(option, path, "others can read or change it (chmod 600)")


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the private key is encrypted")


def _reason(error: Exception, otherwise: str) -> str:
    """What is wrong with a file. The words of OpenSSL for what is in it tell nobody anything."""
    if isinstance(error, ssl.SSLError):
        return otherwise + (f" ({error.reason.lower().replace('_', ' ')})" if error.reason else "")
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error) or otherwise


def _refused(option: str, path: str, why: str) -> UsageError:
    return UsageError(f"--{option} {printable(path)}: {why}")

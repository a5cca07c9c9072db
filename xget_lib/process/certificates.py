"""TLS 1.3 for all connections of a process (`--tls`): its certificate, and which ones it accepts of others.

There are two ways to know who is at the other end. With `--tls-ca`, each side has a certificate of that CA, and the
master's also names the host that was asked for. Without it, certificates prove nothing, and the secret does: its proof
contains the fingerprint of the server's certificate (`ninep.auth`), so that somebody in the middle, who has another
one, can pass on no proof. Then each process makes its own certificate when it starts (`self_signed`).

Certificates of a site are replaced while processes run. So the content of the files is a value (`TlsFiles`): who reads
them again sees whether they are others, and a master passes them on to its workers as they are.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket

from xget_lib.config import Config
from xget_lib.dataclass import dataclass, field
from xget_lib.errors import UsageError, printable
from xget_lib.ninep.auth import Credentials
from xget_lib.process import ktls
from xget_lib.process.memfd import memfd
from xget_lib.process.self_signed import self_signed

_CHANGEABLE = stat.S_IWOTH | stat.S_IWGRP
_EXPOSED = stat.S_IROTH | stat.S_IXOTH | _CHANGEABLE
_BINDING = b"tls-server-end-point:"
"""As RFC 5929 calls a channel binding that is the hash of the server's certificate."""
_LONGEST = 1 << 20
"""Bytes of a file. All authorities of a distribution are 0.2 MB."""


@dataclass(frozen=True)
class TlsFiles:
    """What the files of a site contain, as PEM."""

    certificate: bytes = field(repr=False)
    """Of this process, and those between it and its authority."""
    key: bytes = field(repr=False)
    """Its private key; empty: it is with the certificate."""
    authorities: bytes
    """Empty: there are none."""
    key_file: tuple[str, str] = field(default=("tls-key", ""), compare=False)
    """For messages: the option that names the file with the key, and the file,"""
    authorities_file: str = field(default="", compare=False)
    """and that of the authorities."""


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
    files: TlsFiles | None = None
    """What it is made of; None: the certificate was made by this process."""

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
    named = (config.host, config.port) if config.tls_ca is not None and config.host is not None else None
    return make_tls(_read_files(config), named)


def read_again(config: Config, credentials: Credentials) -> TlsFiles | None:
    """The files may have been replaced: read them again. Returns what they contain if that is used from now on, and was
    not before. Raises UsageError, and leaves everything as it was, if they cannot be used."""
    former = credentials.tls
    if not isinstance(former, Tls) or former.files is None:
        return None
    tls = load_tls(config)
    if tls.files == former.files:
        return None
    credentials.tls = tls
    return tls.files


def make_tls(files: TlsFiles | None, named: tuple[str, int] | None = None) -> Tls:
    """Without files, the process makes its own certificate. Raises UsageError."""
    server, client, named_client = contexts()
    client.check_hostname = False  # a peer is known by its address: what the CA says is enough
    for context in (server, client, named_client):
        if files is not None and files.authorities:
            context.verify_mode = ssl.CERT_REQUIRED
            _trust(context, files)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    certificate = own_certificate(files, server, client, named_client)
    return Tls(server, client, named_client, named, binding_of(certificate), files)


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


def _trust(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        with _as_file(files.authorities) as path:
            context.load_verify_locations(path)
    except OSError as error:  # SSLError is one
        raise _refused("tls-ca", files.authorities_file, _reason(error, "no certificates in PEM")) from None


def own_certificate(files: TlsFiles | None, *contexts: ssl.SSLContext) -> bytes:
    """Give the contexts the certificate of this process, which is made here without files. Returns it, as DER. Raises
    UsageError."""
    certificate, key, key_file = _own(files)
    try:
        with _as_file(certificate) as path, _as_file(key) as key_path:
            for context in contexts:
                context.load_cert_chain(path, key_path if key else None, password=_no_password)
        return _first_certificate(certificate.decode("ascii", "replace"))
    except (OSError, ValueError) as error:
        raise _refused(*key_file, _reason(error, "not a certificate and its private key, in PEM")) from None


def _own(files: TlsFiles | None) -> tuple[bytes, bytes, tuple[str, str]]:
    """Certificate and key of this process, and where they are from."""
    return (files.certificate, files.key, files.key_file) if files is not None else (self_signed(), b"", ("tls", ""))


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path, because OpenSSL reads files only. This one is in memory, if there is a /proc."""
    descriptor = memfd("certificate", data)
    try:
        if os.path.exists(path := f"/proc/self/fd/{descriptor}"):
            yield path
            return
    finally:
        os.close(descriptor)
    with tempfile.NamedTemporaryFile() as file:  # nobody else can read it
        file.write(data)
        file.flush()
        yield file.name


def _read_files(config: Config) -> TlsFiles | None:
    """None if this process makes its own certificate. Raises UsageError."""
    if config.tls_cert is None:
        return None
    option, key = ("tls-key", config.tls_key) if config.tls_key else ("tls-cert", config.tls_cert)
    certificate = _read("tls-cert", config.tls_cert, private=config.tls_key is None)
    if ssl.PEM_HEADER.encode() not in certificate:
        raise _refused("tls-cert", config.tls_cert, "no certificate in PEM")
    private = _read("tls-key", config.tls_key, private=True) if config.tls_key else b""
    authorities = _read("tls-ca", config.tls_ca) if config.tls_ca is not None else b""
    if config.tls_ca is not None and not authorities:
        raise _refused("tls-ca", config.tls_ca, "no certificates in PEM")
    return TlsFiles(certificate, private, authorities, (option, key), config.tls_ca or "")


def _read(option: str, path: str, *, private: bool = False) -> bytes:
    """The content of a file. Raises UsageError, also if others can change it, or read a private key."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()):
                raise _refused(option, path, "belongs to another user")
            if private and status.st_mode & _EXPOSED:
                raise _refused(option, path, "others can read or change it (chmod 600)")
            if status.st_mode & _CHANGEABLE:
                raise _refused(option, path, "others can change it (chmod go-w)")
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise _refused(option, path, error.strerror or str(error)) from None
    if len(content) > _LONGEST:
        raise _refused(option, path, f"more than {_LONGEST} bytes")
    return content


def _first_certificate(text: str) -> bytes:
    """The one that a server shows as its own. Raises ValueError."""
    begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
    return ssl.PEM_cert_to_DER_cert(text[begin:end])


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

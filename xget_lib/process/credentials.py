"""What a process proves to others, and asks of them, by its configuration. Without gevent: a process may still fork."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xget_lib.config import Config
from xget_lib.ninep.auth import CHILD, MASTER, MUNGE, SECRET, Credentials, Tls
from xget_lib.process.secret_file import read_keys

if TYPE_CHECKING:
    from xget_lib.process.certificates import TlsFiles


def read_credentials(config: Config) -> Credentials:
    """All but what makes and decodes credentials of MUNGE, which is `net.credentials`'. Raises UsageError for a secret
    or certificates that cannot be used, and where there is no MUNGE."""
    if MUNGE in config.auth:
        from xget_lib.process.libmunge import LibMunge  # loads a library that few machines have

        LibMunge(config.munge_socket)
    source = config.secret if SECRET in config.auth and config.secret is not None else ""
    keys = read_keys(source) if source else ()
    server = CHILD if config.host else MASTER
    return Credentials(bool(config.auth), keys, source, _tls(config), config.auth, server=server)


def read_certificates_again(config: Config, credentials: Credentials) -> TlsFiles | None:
    """As `certificates.read_again`; None without TLS."""
    if credentials.tls is None:
        return None
    from xget_lib.process import certificates

    return certificates.read_again(config, credentials)


def _tls(config: Config) -> Tls | None:
    if not config.tls:
        return None
    from xget_lib.process.certificates import load_tls  # loads OpenSSL: only who wants TLS needs it

    return load_tls(config)

"""What a process proves to others, and asks of them, by its configuration."""

from __future__ import annotations

from xget_lib.config import Config
from xget_lib.net.munge import MungeService
from xget_lib.ninep.auth import MUNGE, SECRET, Credentials
from xget_lib.process.secret_file import read_keys


def credentials_of(config: Config, *, with_keys: bool = True) -> Credentials:
    """`with_keys` False: the keys of the secret come later, from another process. Raises UsageError for a secret that
    cannot be used, and where there is no MUNGE."""
    munge = None
    if MUNGE in config.auth:
        from xget_lib.process.libmunge import LibMunge  # loads a library that few machines have

        munge = MungeService(LibMunge(config.munge_socket), frozenset(config.munge_users))
    source = config.secret if SECRET in config.auth else None
    keys = read_keys(source) if source is not None and with_keys else ()
    return Credentials(bool(config.auth), keys, source or "", config.auth, munge)

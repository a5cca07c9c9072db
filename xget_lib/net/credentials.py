"""What a process proves to others, and asks of them, with what it needs for that while it serves or connects."""

from __future__ import annotations

from xget_lib.config import Config
from xget_lib.net.munge import MungeService
from xget_lib.ninep.auth import MUNGE, Credentials
from xget_lib.process.credentials import read_credentials


def credentials_of(config: Config, *, with_keys: bool = True) -> Credentials:
    """As `read_credentials`."""
    credentials = read_credentials(config, with_keys=with_keys)
    if MUNGE in credentials.methods:
        from xget_lib.process.libmunge import LibMunge

        credentials.munge = MungeService(LibMunge(config.munge_socket), frozenset(config.munge_users))
    return credentials

"""What a process proves to others, and asks of them, with what it needs for that while it serves or connects."""

from __future__ import annotations

from xget_lib.config import Config
from xget_lib.net.munge import MungeService
from xget_lib.ninep.auth import MUNGE, Credentials
from xget_lib.process.credentials import read_credentials


def credentials_of(config: Config) -> Credentials:
    """As `read_credentials`."""
    credentials = read_credentials(config)
    credentials.munge = munge_of(config)
    return credentials


def munge_of(config: Config) -> MungeService | None:
    """None if MUNGE is no method. Raises UsageError without its library."""
    if MUNGE not in config.auth:
        return None
    from xget_lib.process.libmunge import LibMunge

    return MungeService(LibMunge(config.munge_socket), frozenset(config.munge_users))

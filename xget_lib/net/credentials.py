"""What a process proves to others, and asks of them, with what it needs for that while it serves or connects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xget_lib.config import Config
from xget_lib.dataclass import dataclass
from xget_lib.errors import UsageError
from xget_lib.net.munge import MungeService
from xget_lib.ninep.auth import MUNGE, Credentials
from xget_lib.process import secret_file
from xget_lib.process.credentials import read_certificates_again, read_credentials
from xget_lib.report.log import LOGGER

if TYPE_CHECKING:
    from xget_lib.process.certificates import TlsFiles


@dataclass
class Changes:
    """What has changed in the files of the secret and of TLS."""

    secret: bool = False
    certificates: TlsFiles | None = None
    """What is used from now on, if it is something else."""
    problem: str = ""
    """Why the secret or the certificates stay as they were, if a file cannot be used."""


def credentials_of(config: Config) -> Credentials:
    """As `read_credentials`."""
    credentials = read_credentials(config)
    credentials.munge = munge_of(config)
    return credentials


def read_again(config: Config, credentials: Credentials) -> Changes:
    """Read the files of the secret and of TLS again, and log what is used from now on."""
    changes, problems = Changes(), []
    try:
        changes.secret = secret_file.read_again(credentials)
        if changes.secret:
            LOGGER.info("the secret has changed: %d keys", len(credentials.keys))
    except UsageError as error:
        LOGGER.error("the secret stays as it was: %s", error)
        problems.append(f"the secret stays as it was: {error}")
    try:
        changes.certificates = read_certificates_again(config, credentials)
        if changes.certificates is not None:
            LOGGER.info("the certificates have changed: new connections use them")
    except UsageError as error:
        LOGGER.error("the certificates stay as they were: %s", error)
        problems.append(f"the certificates stay as they were: {error}")
    changes.problem = "; ".join(problems)
    return changes


def munge_of(config: Config) -> MungeService | None:
    """None if MUNGE is no method. Raises UsageError without its library."""
    if MUNGE not in config.auth:
        return None
    from xget_lib.process.libmunge import LibMunge

    return MungeService(LibMunge(config.munge_socket), frozenset(config.munge_users))

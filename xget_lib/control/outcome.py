"""How a command says that what it has printed is not well."""

from __future__ import annotations

from xget_lib.config import Config
from xget_lib.errors import CommandFailed
from xget_lib.report.output import print_error


def failed(config: Config, error: CommandFailed) -> int:
    """The exit status. With --json, stdout has said it already, and only a line on stderr follows. Otherwise raises the
    error."""
    if not config.json:
        raise error
    print_error(f"xget: {error}")
    return int(error.exit_status)

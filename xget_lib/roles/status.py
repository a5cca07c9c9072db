"""`xget.py status`: what a master, or the server on this node, is doing, read from its `status` file."""

from __future__ import annotations

import json
import sys
from typing import Any

from xget_lib.config import Config
from xget_lib.errors import Exit, LinkLost, MasterUnreachable, NinepError
from xget_lib.report.status import table


def run(config: Config) -> int:
    """Print it; the exit status. Raises MasterUnreachable."""
    from xget_lib.net.link import Link

    host = config.host or "localhost"
    seconds = min(config.timeout, 10.0)
    try:
        link = Link.connect(host, config.port, "swarm", seconds)
        try:
            file = link.open("status", seconds)
            text = b""
            while part := file.read(len(text), link.max_read, seconds):
                text += part
        finally:
            link.close()
        status: dict[str, Any] = json.loads(text)
    except (LinkLost, NinepError, ValueError) as error:
        raise MasterUnreachable(host, config.port, seconds, str(error)) from None
    print(json.dumps(status) if config.json else table(status))
    sys.stdout.flush()
    return Exit.OK

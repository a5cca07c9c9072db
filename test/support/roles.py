"""The roles of the command, replaced: which one is started, and with what."""

from __future__ import annotations

from typing import Any

import pytest

from xget_lib import cli
from xget_lib.config import Config
from xget_lib.control import listing, reload, sign, status, stop
from xget_lib.doctor import examination
from xget_lib.master import start as master
from xget_lib.node import foreground
from xget_lib.usage import Usage

USAGE = Usage(cli.__doc__ or "")
FORMS = {
    "master": "/srv",
    "client": "-n head . /dest",
    "status": "status",
    "list": "list -n head",
    "stop": "stop",
    "reload": "reload",
    "sign": "sign /srv",
    "doctor": "doctor",
}
"""The shortest command of each role."""


class Roles:
    """Records which role would have been run, with which arguments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[tuple[Any, ...]] = []
        commands = {"status": status, "list": listing, "stop": stop, "reload": reload, "sign": sign}
        commands["doctor"] = examination
        roles = {"client": foreground, "master": master, **commands}
        for name, role in roles.items():
            monkeypatch.setattr(role, "run", self._of(name))

    def _of(self, name: str) -> Any:
        def run(config: Config, *arguments: object, **facts: object) -> int:
            self.started.append((name, *(each for each in arguments if not callable(each))))
            self.config = config
            return 0

        return run

"""A Config as a command line would make it."""

from __future__ import annotations

from typing import Any

from xget_lib import cli, config
from xget_lib.config import Config
from xget_lib.usage import Usage

USAGE = Usage(cli.__doc__ or "")


def configured(**given: Any) -> Config:
    """`given`: options by long name, with `_` for `-`."""
    defaults: dict[str, Any] = {**dict.fromkeys(USAGE.flags, False), **USAGE.defaults, "workers": 2}
    del defaults["help"], defaults["version"]
    return config.build(defaults, {}, {name.replace("_", "-"): value for name, value in given.items()})

"""What a master itself writes, where that is in the directory that it serves: its log, its digest cache, its PID file.

It is left out of what is served. A line in a log that was served would make a new generation, and that the next line.
"""

from __future__ import annotations

import os

from xget_lib.config import Config
from xget_lib.manifest.entry import below
from xget_lib.master.digest_saver import cache_path


def own_files(config: Config, root: bytes) -> tuple[bytes, ...]:
    """Their paths below `root`. A directory stands for what is in it."""
    base, cache = os.path.realpath(root), cache_path(config.cache, root)
    written = [os.path.dirname(cache), cache, *(os.fsencode(path) for path in (config.log, config.pidfile) if path)]
    return tuple(inside for path in written if (inside := below(base, os.path.realpath(path))))

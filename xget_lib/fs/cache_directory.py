"""Where programs of this user keep data that may be lost: it only saves work."""

from __future__ import annotations

import os


def usual_cache_directory() -> str:
    """$XDG_CACHE_HOME/xget, or /var/cache/xget for root, or ~/.cache/xget. It need not exist."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return os.path.join(given, "xget")
    return "/var/cache/xget" if os.geteuid() == 0 else os.path.expanduser("~/.cache/xget")

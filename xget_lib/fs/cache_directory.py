"""Where programs of this user keep data that may be lost: it only saves work."""

from __future__ import annotations

import os


def usual_cache_directory() -> str:
    """$XDG_CACHE_HOME/xget, or /var/cache/xget for root and users without a home, or ~/.cache/xget. May not exist."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return os.path.join(given, "xget")
    usual = os.path.expanduser("~/.cache/xget")
    # Without HOME, a user who is not in the user database has no home.
    return "/var/cache/xget" if os.geteuid() == 0 or usual.startswith("~") else usual

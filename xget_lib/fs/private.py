"""What not every user of a machine may read."""

from __future__ import annotations

import os
import stat


def is_private(status: os.stat_result) -> bool:
    """Whether some user may not read a file, or may not list or enter a directory, because of its mode.

    Other kinds have no content.
    """
    if stat.S_ISDIR(status.st_mode):
        return status.st_mode & 0o005 != 0o005
    return stat.S_ISREG(status.st_mode) and not status.st_mode & stat.S_IROTH

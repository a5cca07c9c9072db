"""Which descriptors this process has open, so that a test sees what was left open."""

from __future__ import annotations

import gc
import os


def open_descriptors() -> set[str]:
    """The numbers of all open descriptors.

    Garbage of earlier tests (a hub, a connection) is collected first: otherwise its descriptors would be closed in the
    midst of a test that compares."""
    gc.collect()
    return set(os.listdir("/proc/self/fd"))

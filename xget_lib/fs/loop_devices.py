"""Files that the kernel itself writes, because a loop device shows them as a disk: inotify(7) reports no such write."""

from __future__ import annotations

import os
from contextlib import suppress

BLOCK_DEVICES = "/sys/block"


def written_files() -> list[bytes]:
    """The paths of all files that a loop device can write. Empty where there is no /sys."""
    found: list[bytes] = []
    with suppress(OSError):
        for name in os.listdir(BLOCK_DEVICES):
            if name.startswith("loop"):
                found += _written_file(os.path.join(BLOCK_DEVICES, name))
    return found


def _written_file(device: str) -> list[bytes]:
    """Raises no OSError: a device may vanish at any time, and most have no file."""
    try:
        with open(f"{device}/ro", "rb") as read_only, open(f"{device}/loop/backing_file", "rb") as file:
            return [] if read_only.read().strip() == b"1" else [file.read().rstrip(b"\n")]
    except OSError:
        return []

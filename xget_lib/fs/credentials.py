"""What this process may do."""

from __future__ import annotations

from contextlib import suppress


def capabilities() -> str:
    """The capabilities of this process (capabilities(7)) as hexadecimal digits; "" where there is no /proc."""
    with suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return line.split()[1]
    return ""

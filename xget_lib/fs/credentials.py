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


def sees_all_users() -> bool:
    """Whether every user has a number of its own here: not in a user namespace that maps only some of them."""
    with suppress(OSError), open("/proc/self/uid_map") as mapped:
        return [line.split() for line in mapped] == [["0", "0", str(2**32 - 1)]]
    return True

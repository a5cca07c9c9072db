"""What this process may do."""

from __future__ import annotations

from xget_lib.fs.credentials import capabilities


def test_capabilities_are_those_of_the_kernel() -> None:
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("CapEff:"))
    assert int(capabilities(), 16) == int(line.split()[1], 16)

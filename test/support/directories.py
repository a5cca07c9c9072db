"""Reading what a server answers for a directory."""

from __future__ import annotations

from xget_lib.ninep.stat import Stat, StatFormat
from xget_lib.ninep.wire import Buffer


def unpack_directory(data: Buffer, form: StatFormat) -> list[Stat]:
    """The entries that reads of a directory gave. Raises ProtocolViolation."""
    stats = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "little")
        stats.append(Stat.unpack(data[at:end], form))
        at = end
    return stats

"""Counters over all runs of all nodes since a master started: what arrived at them, and how they ended.

They only grow, as counters of metrics must. Nodes say themselves what they fetched; one that lies can spoil the sums.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from xget_lib.swarm.messages import DONE, FAILED, INTERRUPTED, Registration

LOST = "lost"
"""The connection ended during the download."""
_MOST = 1 << 63
"""So that a node that lies cannot make them endlessly long."""


class RunTotals:
    """Owned by the Tracker."""

    def __init__(self) -> None:
        self.from_master = 0
        """Bytes of content that arrived at nodes from the master,"""
        self.from_nodes = 0
        """and from other nodes."""
        self.ended: Counter[str] = Counter({DONE: 0, FAILED: 0, INTERRUPTED: 0, LOST: 0})
        """Runs, by how they ended."""

    def reported(self, former: Registration | None, latest: Registration) -> None:
        """A node said how much it has fetched in its run. `former`: what it said before, if it did."""
        fetched, from_master = latest.fetched, min(latest.from_master, latest.fetched)
        if former is not None and _same_run(former, latest):
            before = min(former.from_master, former.fetched)
            from_nodes = (fetched - from_master) - (former.fetched - before)
            from_master -= before
        else:
            from_nodes = fetched - from_master
        # What turned out to be wrong is taken back in a run; a counter does not follow it down.
        self.from_master = min(_MOST, self.from_master + max(0, from_master))
        self.from_nodes = min(_MOST, self.from_nodes + max(0, from_nodes))

    def as_json(self) -> dict[str, Any]:
        """The field `totals` of a status."""
        return {"from_master": self.from_master, "from_nodes": self.from_nodes, "ended": dict(self.ended)}


def _same_run(former: Registration, latest: Registration) -> bool:
    return latest.fetched >= former.fetched and (not former.ended or bool(latest.ended))

"""The map of all nodes as the page gets it: a place for each node, and two characters that say how it is.

A node keeps its place for as long as the master knows it, so a second later only what has changed is sent: names of new
nodes, and the characters of all (20 KB for 10,000 nodes). Pure; with 10,000 nodes a round takes some 15 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush

from xget_lib.report import distribution
from xget_lib.report.distribution import Distribution, NodeStatus

LETTERS: Mapping[str, str] = {
    distribution.COMPLETE: "c",
    distribution.DOWNLOADING: "d",
    distribution.WAITING: "w",
    distribution.OUTDATED: "o",
    distribution.FAILED: "f",
    distribution.INTERRUPTED: "i",
    distribution.LOST: "l",
}
"""A capital stands for a node that is connected and lags behind."""
FREE = ".0"
"""The cell of a place without a node."""
SHARES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
"""64 steps from nothing to everything."""

_Key = tuple[str, int]


class Cells:
    """The places of the nodes of one master. Owned by the feed."""

    def __init__(self) -> None:
        self.names: list[str | None] = []
        """By place: what the node is called; None for a free place."""
        self.text = ""
        """Two characters for each place: a letter for the state, and a digit for the share."""
        self._places: dict[_Key, int] = {}
        self._nodes: dict[int, NodeStatus] = {}
        self._free: list[int] = []

    def update(self, known: Distribution) -> dict[int, str | None]:
        """Take the nodes of a later distribution. Returns the names that have changed, by place."""
        nodes: dict[_Key, NodeStatus] = {}
        for node in known.nodes:
            # Those that are connected come first, and may have the address of one that has left.
            nodes.setdefault((node.address, node.port), node)
        changed: dict[int, str | None] = {}
        for key in [key for key in self._places if key not in nodes]:
            place = self._places.pop(key)
            heappush(self._free, place)
            changed[place] = self.names[place] = None
        self._nodes = {}
        cells = [FREE] * (len(self.names) + len(nodes))
        for key, node in nodes.items():
            place = self._place(key)
            if self.names[place] != node.label:
                changed[place] = self.names[place] = node.label
            self._nodes[place] = node
            letter = LETTERS[node.state]
            share = SHARES[min(63, int(known.share(node) * 63))]
            cells[place] = (letter.upper() if node.lagging else letter) + share
        self.text = "".join(cells[: len(self.names)])
        return changed

    def node(self, place: int) -> NodeStatus | None:
        """The node at a place; None if there is none."""
        return self._nodes.get(place)

    def _place(self, key: _Key) -> int:
        place = self._places.get(key)
        if place is None:
            if self._free:
                place = heappop(self._free)
            else:
                place = len(self.names)
                self.names.append(None)
            self._places[key] = place
        return place

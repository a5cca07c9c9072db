"""`--expect NODESET`: which of the nodes that ought to have the current generation do not.

`node_sets` reads the set. An expected node is one that calls itself so, in full or up to the first dot, or has that
address. What a node calls itself is its own claim. If several have the same name, those that are connected count before
those that have left, and of these the worst.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from xget_lib.control.node_sets import fold
from xget_lib.report.distribution import COMPLETE, OUTDATED, STATES, Distribution, NodeStatus

MISSING = "missing"
"""The master knows no such node."""


@dataclass(frozen=True)
class Expectation:
    """What has become of the expected nodes: their names by state, in the order of the set."""

    generation: str
    states: dict[str, tuple[str, ...]]
    """The keys are of `distribution.STATES`, or MISSING. Those without nodes are left out."""
    folded: dict[str, str]
    """The same, as short as it can be said."""

    @property
    def met(self) -> bool:
        """Whether all have the current generation in place."""
        return bool(self.generation) and set(self.states) <= {COMPLETE}

    @property
    def problem(self) -> str:
        """Why it is not met, in a line."""
        counts = [f"{len(names)} {state}" for state, names in self.states.items() if state != COMPLETE]
        return ", ".join(counts) if self.generation else "the master serves nothing yet"

    def lines(self) -> Iterator[str]:
        """For people."""
        count = sum(map(len, self.states.values()))
        yield f"expected: {len(self.states.get(COMPLETE, ()))} of {count} have generation {self.generation[:16]}"
        for state, names in self.folded.items():
            if state != COMPLETE:
                yield f"  {len(self.states[state])} {state}: {names}"

    def as_json(self) -> dict[str, Any]:
        """As an object of JSON."""
        return {"met": self.met, "generation": self.generation, **self.states}


def compare(expected: Sequence[str], distribution: Distribution) -> Expectation:
    """What has become of them."""
    known = _by_name(distribution.nodes)
    states: dict[str, list[str]] = {}
    for name in expected:
        nodes = known.get(name) or known.get(_address(name)) or []
        states.setdefault(max(nodes, key=_weight).state if nodes else MISSING, []).append(name)
    order = (MISSING, OUTDATED, *(state for state in STATES if state != OUTDATED))
    by_state = {state: tuple(states[state]) for state in order if state in states}
    return Expectation(distribution.generation, by_state, {state: fold(names) for state, names in by_state.items()})


def _by_name(nodes: Iterable[NodeStatus]) -> dict[str, list[NodeStatus]]:
    """Nodes by each name that they answer to."""
    known: dict[str, list[NodeStatus]] = {}
    for node in nodes:
        for name in {node.name, node.name.partition(".")[0], _address(node.address)} - {""}:
            known.setdefault(name, []).append(node)
    return known


@lru_cache(maxsize=1 << 16)
def _address(text: str) -> str:
    """An address in its usual form: an IPv6 socket shows those of IPv4 with `::ffff:` before them."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return text
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _weight(node: NodeStatus) -> tuple[bool, int]:
    """Which of several nodes of a name counts: the greatest."""
    return node.left is None, STATES.index(node.state) if node.state in STATES else len(STATES)

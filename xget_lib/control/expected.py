"""`--expect NODESET`: which of the nodes that ought to have the current generation do not.

A set of nodes is ClusterShell's (`node[1-8],head`), where that is installed; names and addresses that are separated by
commas are read without it. An expected node is one that calls itself so, in full or up to the first dot, or has that
address. What a node calls itself is its own claim. If several have the same name, those that are connected count before
those that have left, and of these the worst.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from xget_lib.dataclass import dataclass
from xget_lib.errors import UsageError
from xget_lib.report.distribution import COMPLETE, OUTDATED, STATES, Distribution, NodeStatus

MISSING = "missing"
"""The master knows no such node."""
_PLAIN = re.compile(r"[A-Za-z0-9_.:%-]+(,[A-Za-z0-9_.:%-]+)*")
_MOST = 1_000_000
"""Nodes of a set, at most."""
_NEEDS = "needs ClusterShell (pip install ClusterShell, or python3-clustershell); names separated by commas do not"


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


def expand(text: str) -> list[str]:
    """The names in a set, each once. Raises UsageError."""
    if _PLAIN.fullmatch(text):
        return list(dict.fromkeys(text.split(",")))
    try:
        from ClusterShell.NodeSet import NodeSet, NodeSetException
    except ImportError:
        raise UsageError(f"--expect {text}: {_NEEDS}") from None
    try:
        found = NodeSet(text)
    except NodeSetException as error:
        raise UsageError(f"--expect {text}: {error}") from None
    if not 0 < len(found) <= _MOST:
        raise UsageError(f"--expect {text}: {len(found)} nodes")
    return [str(name) for name in found]


def compare(expected: Sequence[str], distribution: Distribution) -> Expectation:
    """What has become of them."""
    known = _by_name(distribution.nodes)
    states: dict[str, list[str]] = {}
    for name in expected:
        nodes = known.get(name) or known.get(_address(name)) or []
        states.setdefault(max(nodes, key=_weight).state if nodes else MISSING, []).append(name)
    order = (MISSING, OUTDATED, *(state for state in STATES if state != OUTDATED))
    by_state = {state: tuple(states[state]) for state in order if state in states}
    return Expectation(distribution.generation, by_state, {state: _fold(names) for state, names in by_state.items()})


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


def _fold(names: Sequence[str]) -> str:
    """`node[1-3]` where ClusterShell is installed, otherwise the first names."""
    try:
        from ClusterShell.NodeSet import NodeSet, NodeSetException

        return str(NodeSet.fromlist(list(names)))
    except ImportError:
        pass
    except NodeSetException:  # an IPv6 address is no name for it
        pass
    return ", ".join(names[:100]) + (", …" if len(names) > 100 else "")

"""A distribution in a few lines, whatever the number of nodes: counts, sums, and the nodes that need a look, by name.

Pure, and bounded: a summary of 100,000 nodes is as long as one of 100. It is the field `distribution` of a master's
status. With 10,000 nodes it takes some 30 ms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from typing import Any

from xget_lib.dataclass import asdict, dataclass
from xget_lib.report.distribution import (
    COMPLETE,
    DOWNLOADING,
    FAILED,
    INTERRUPTED,
    LOST,
    OUTDATED,
    STATES,
    Distribution,
    NodeStatus,
)

NAMED = 10
"""Nodes, and reasons, that are named in each list."""
_OF_A_REASON = 3
"""Nodes that are named for each reason."""
_BAD = (FAILED, INTERRUPTED, LOST)
_WITHOUT_REASON = {INTERRUPTED: "interrupted", LOST: "the connection ended during the download"}


@dataclass(frozen=True, slots=True)
class NamedNode:
    """A node that needs a look."""

    node: str
    """`NodeStatus.place`."""
    state: str
    percent: float
    rate: float
    """Bytes per second."""
    took: float | None
    """Seconds of its run; None until it has ended."""
    why: str
    """Why it failed, or by how much it lags; "" if neither."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Nodes that failed for the same reason."""

    why: str
    nodes: int
    named: tuple[str, ...]
    """Some of them, as `NodeStatus.place`."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a person wants to know first. Nodes that have left count where it says so."""

    nodes: int
    """That are connected."""
    states: Mapping[str, int]
    """Of them: how many are in each state."""
    left: Mapping[str, int]
    """Of those that have left."""
    percent: float | None
    """The mean of all nodes that are connected and not outdated; None if there are none."""
    rate: float
    """Bytes per second that all together fetch."""
    fetched: int
    """Bytes that nodes fetched in their last runs, also those that have left,"""
    from_master: int
    """and of them from the master. The others came from nodes."""
    failures: tuple[Failure, ...]
    """Also of nodes that have left; the reasons of most nodes first."""
    other_failures: int
    """Nodes that failed for other reasons."""
    slowest: tuple[NamedNode, ...]
    """Those that are downloading, then those that took longest."""
    lagging: int
    """Nodes that lag behind,"""
    stragglers: tuple[NamedNode, ...]
    """and the worst of them."""

    def as_json(self) -> dict[str, Any]:
        """As an object of JSON."""
        return asdict(self)


def summarise(distribution: Distribution) -> Summary:
    """The summary of a distribution."""
    present = [node for node in distribution.nodes if node.left is None]
    taking_part = [node for node in present if node.state != OUTDATED]
    shares = sum(map(distribution.share, taking_part))
    failures, others = _failures(distribution.nodes)
    lagging = [node for node in present if node.lagging]
    return Summary(
        nodes=len(present),
        states=_counts(present),
        left=_counts(node for node in distribution.nodes if node.left is not None),
        percent=round(100 * shares / len(taking_part), 1) if taking_part else None,
        rate=sum(node.rate for node in present),
        fetched=sum(node.fetched for node in distribution.nodes),
        from_master=sum(node.from_master for node in distribution.nodes),
        failures=failures,
        other_failures=others,
        slowest=_slowest(distribution, present),
        lagging=len(lagging),
        stragglers=_named(distribution, nsmallest(NAMED, lagging, key=distribution.share)),
    )


def _counts(nodes: Iterable[NodeStatus]) -> dict[str, int]:
    counts = Counter(node.state for node in nodes)
    return {state: counts[state] for state in STATES if counts[state]}


def _failures(nodes: Iterable[NodeStatus]) -> tuple[tuple[Failure, ...], int]:
    """The commonest reasons, and how many nodes have others."""
    reasons: dict[str, list[NodeStatus]] = {}
    for node in nodes:
        if node.state in _BAD:
            why = _WITHOUT_REASON.get(node.state) or node.why or "without a reason"
            reasons.setdefault(why, []).append(node)
    most = sorted(reasons.items(), key=lambda reason: (-len(reason[1]), reason[0]))
    named = [
        Failure(why, len(failed), tuple(node.place for node in failed[:_OF_A_REASON])) for why, failed in most[:NAMED]
    ]
    return tuple(named), sum(len(failed) for _, failed in most[NAMED:])


def _slowest(distribution: Distribution, present: Iterable[NodeStatus]) -> tuple[NamedNode, ...]:
    def order(node: NodeStatus) -> tuple[bool, float, float]:
        if node.state == DOWNLOADING:
            return False, distribution.share(node), node.rate
        return True, -(node.took or 0.0), 0.0

    running = (node for node in present if node.state in (DOWNLOADING, COMPLETE))
    return _named(distribution, nsmallest(NAMED, running, key=order))


def _named(distribution: Distribution, nodes: Iterable[NodeStatus]) -> tuple[NamedNode, ...]:
    return tuple(
        NamedNode(
            node.place,
            node.state,
            round(100 * distribution.share(node), 1),
            node.rate,
            node.took,
            node.lagging or node.why,
        )
        for node in nodes
    )

"""What the tracker knows of its nodes, as a `Distribution`."""

from __future__ import annotations

from collections.abc import Iterable

from xget_lib.report import distribution
from xget_lib.report.distribution import Distribution, NodeStatus
from xget_lib.swarm.former_nodes import FormerNode
from xget_lib.swarm.messages import FAILED, INTERRUPTED, Registration
from xget_lib.swarm.node_progress import Lag
from xget_lib.swarm.tracker import Node


def distribution_of(
    generation: bytes, chunks: int, size: int, nodes: Iterable[Node], former: Iterable[FormerNode], now: float
) -> Distribution:
    """All nodes. `generation`: the published one, b"" if none; `size`: its bytes; `now`: monotonic seconds."""
    present = [_present(node, generation, now) for node in sorted(nodes, key=lambda node: node.joined)]
    left = [_left(node, generation, now) for node in sorted(former, key=lambda node: node.left)]
    return Distribution(generation.hex(), chunks, size, (*present, *left))


def lag_text(lag: Lag) -> str:
    if lag.stalled:
        return f"nothing new for {lag.seconds:.0f} s"
    return f"{lag.seconds:.0f} s later than half of the nodes"


def _present(node: Node, generation: bytes, now: float) -> NodeStatus:
    registration = node.registration
    state = _state(registration, generation, whole=node.complete)
    downloading = state == distribution.DOWNLOADING
    return NodeStatus.of(
        node.address,
        registration,
        state,
        seconds=round(now - node.joined, 1),
        rate=round(node.rate) if downloading else 0,
        changed=round(now - node.changed, 1) if node.changed is not None else None,
        lagging=lag_text(node.lag) if node.lag is not None else "",
    )


def _left(node: FormerNode, generation: bytes, now: float) -> NodeStatus:
    registration = node.registration
    state = _state(registration, generation, whole=node.whole)
    if state in (distribution.WAITING, distribution.DOWNLOADING):
        state = distribution.OUTDATED if registration.ended else distribution.LOST
    ago = round(now - node.left, 1)
    return NodeStatus.of(node.address, registration, state, seconds=ago, left=ago)


def _state(registration: Registration, generation: bytes, *, whole: bool) -> str:
    """One of `distribution.STATES` but LOST. `whole`: it holds all of the published generation."""
    current = bool(generation) and registration.generation == generation
    if registration.ended in (FAILED, INTERRUPTED):
        return registration.ended
    # Older versions do not say what is in place, nor who they are.
    if current and (registration.in_place or (whole and not registration.identity)):
        return distribution.COMPLETE
    if registration.ended and not registration.follows:
        return distribution.OUTDATED
    return distribution.DOWNLOADING if current and not registration.ended else distribution.WAITING

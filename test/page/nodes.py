"""Nodes for tests of the page."""

from __future__ import annotations

from typing import Any

from xget_lib.report.distribution import COMPLETE, Distribution, NodeStatus
from xget_lib.report.distribution_summary import summarise

GENERATION = "ab" * 32
CHUNKS = 100


def node(number: int, state: str = COMPLETE, held: int = CHUNKS, **more: Any) -> NodeStatus:
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return NodeStatus(address, 40000, f"node{number}", state, GENERATION, held, 1.0, **more)


def distribution_of(*nodes: NodeStatus) -> Distribution:
    return Distribution(GENERATION, CHUNKS, CHUNKS << 20, nodes)


def master_status(known: Distribution, **more: Any) -> dict[str, Any]:
    """The fields of a master's status that a page needs."""
    return {
        "role": "master",
        "version": "2.0",
        "pid": 1,
        "path": "/srv",
        "port": 20004,
        "host": "head",
        "seconds": 1.0,
        "generation": known.generation,
        "files": 3,
        "bytes": known.size,
        "chunks": known.chunks,
        "sent": 0,
        "refused": 0,
        "problem": None,
        "nursery_problem": None,
        "workers": [{"pid": 2, "connections": 4, "sent": 0}],
        "distribution": summarise(known).as_json(),
        "totals": {"from_master": 5, "from_nodes": 7, "ended": {"done": 1, "failed": 2, "interrupted": 0, "lost": 3}},
        **more,
    }

"""A distribution as text for a terminal: the lines of its summary, and the tree of who got most from whom.

The tree hangs each node below the server that gave it most. Nodes report that themselves, so two of them may name each
other: then the one that got more from the master than others of the ring stands below the master.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xget_lib.errors import printable
from xget_lib.report.distribution import Distribution, NodeStatus
from xget_lib.report.events import counted, size

_Address = tuple[str, int]


def summary_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a summary, which came from a master as JSON (`Summary.as_json`). Raises TypeError, ValueError,
    KeyError for what is none."""
    percent = f", {summary['percent']:.0f} % done" if summary["percent"] is not None else ""
    rate = f", {size(summary['rate'])}/s" if summary["rate"] else ""
    states = f": {_counts(summary['states'])}" if summary["states"] else ""
    yield f"{counted(summary['nodes'], 'node')}{percent}{rate}{states}"
    if summary["left"]:
        yield f"left: {_counts(summary['left'])}"
    if summary["fetched"]:
        from_nodes = summary["fetched"] - summary["from_master"]
        yield f"fetched: {size(summary['from_master'])} from the master, {size(from_nodes)} from other nodes"
    if summary["failures"]:
        yield "failures:"
    for failure in summary["failures"]:
        more = ", …" if failure["nodes"] > len(failure["named"]) else ""
        yield f"  {counted(failure['nodes'], 'node')}: {failure['why']} ({', '.join(failure['named'])}{more})"
    if summary["other_failures"]:
        yield f"  {counted(summary['other_failures'], 'node')}: other reasons"
    if summary["lagging"]:
        yield f"lagging: {_some(summary['lagging'], summary['stragglers'])}"
        yield from map(_named, summary["stragglers"])
    if summary["nodes"] > len(summary["slowest"]) > 0:
        yield f"slowest: {_some(summary['nodes'], summary['slowest'])}"
        yield from map(_named, summary["slowest"])


def tree_lines(distribution: Distribution) -> Iterator[str]:
    """Who got most from whom, as a tree with the master at its root. Nodes that have left are in it if they gave."""
    nodes = {(node.address, node.port): node for node in distribution.nodes}
    parents = _parents(nodes)
    below: dict[_Address | None, list[_Address]] = {}
    for address, parent in parents.items():
        below.setdefault(parent, []).append(address)
    for children in below.values():
        children.sort(key=lambda address: nodes[address].place)
    yield "master"
    # Not recursive: a chain of nodes may be longer than Python's stack.
    waiting = [("", address, below[None][-1] == address) for address in reversed(below.get(None, []))]
    while waiting:
        indent, address, last = waiting.pop()
        yield f"{indent}{'└─ ' if last else '├─ '}{_in_tree(distribution, nodes[address])}"
        inner = indent + ("   " if last else "│  ")
        children = below.get(address, [])
        waiting += [(inner, child, children[-1] == child) for child in reversed(children)]


def _parents(nodes: Mapping[_Address, NodeStatus]) -> dict[_Address, _Address | None]:
    """By address: the server that gave a node most; None is the master. Without those that got nothing and left."""
    parents: dict[_Address, _Address | None] = {}
    for address, node in nodes.items():
        best = max(node.sources, key=lambda source: source[2], default=None)
        known = best is not None and best[:2] in nodes and best[:2] != address
        if known and best is not None and best[2] > node.from_master:
            parents[address] = best[:2]
        else:
            parents[address] = None
    return _without_rings(nodes, parents)


def _without_rings(
    nodes: Mapping[_Address, NodeStatus], parents: dict[_Address, _Address | None]
) -> dict[_Address, _Address | None]:
    reach: set[_Address] = set()
    """Nodes from which the way up ends at the master."""
    for start in parents:
        path: dict[_Address, None] = {}
        at: _Address | None = start
        while at is not None and at not in reach and at not in path:
            path[at] = None
            at = parents[at]
        if at is not None and at in path:
            ring = list(path)[list(path).index(at) :]
            parents[max(ring, key=lambda address: nodes[address].from_master)] = None
        reach.update(path)
    return parents


def _in_tree(distribution: Distribution, node: NodeStatus) -> str:
    given = {source[:2]: source[2] for source in node.sources}
    sources = [f"{size(node.from_master)} from the master"] if node.from_master else []
    sources += [f"{size(count)} from {address} port {port}" for (address, port), count in given.items()]
    left = ", left" if node.left is not None else ""
    share = f"{100 * distribution.share(node):.0f} %"
    return printable(f"{node.place}: {node.state}{left}, {share}{''.join(f', {each}' for each in sources)}")


def _some(count: int, named: Iterable[object]) -> str:
    shown = len(list(named))
    return counted(count, "node") if shown == count else f"{shown} of {counted(count, 'node')}"


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count:d} {state}" for state, count in states.items())


def _named(node: Mapping[str, Any]) -> str:
    took = f", took {node['took']:.1f} s" if node["took"] is not None else ""
    rate = f", {size(node['rate'])}/s" if node["rate"] else ""
    why = f": {node['why']}" if node["why"] else ""
    return f"  {node['node']}: {node['state']}, {node['percent']:.0f} %{rate}{took}{why}"

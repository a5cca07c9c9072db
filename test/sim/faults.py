"""A small swarm under faults, all of which are drawn from a seed: the same seed gives the same run.

A third of the nodes is hostile, or half of them are killed or stopped at some moment, or a quarter of them each. Each
honest node that lives must finish within twice the time that it needs in the same swarm without faults, and
`GRACE` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from test.sim.clock import Clock
from test.sim.hostile import KINDS, Finished, Stopped
from test.sim.links import Network, Port
from test.sim.master import Master
from test.sim.node import Node
from xget_lib.swarm.tuning import Tuning

GRACE = 30.0


@dataclass(frozen=True)
class FaultScenario:
    """Units are bytes, bytes per second, and seconds. Nodes are named by their numbers."""

    seed: int
    nodes: int
    chunks: int
    size: int
    """Of a chunk."""
    rate: float
    """Of each link, both ways."""
    latency: float
    spread: float
    """Within which the nodes start."""
    max_direct: int = 6
    hostile: dict[int, str] = field(default_factory=dict)
    killed: dict[int, float] = field(default_factory=dict)
    stopped: dict[int, float] = field(default_factory=dict)
    slow: dict[int, float] = field(default_factory=dict)
    """Honest nodes that hold everything from the beginning on: the fraction of the rate that their links have."""
    first_tier: int = Tuning().first_tier
    """Nodes that ask the master first."""

    @property
    def unit(self) -> float:
        """The time that one link needs for the content."""
        return self.chunks * self.size / self.rate


def drawn(seed: int) -> FaultScenario:
    source = Random(seed)
    nodes = source.randrange(4, 13)
    chunks, size = source.randrange(8, 65), source.choice([1 << 16, 1 << 16, 1 << 18, 1 << 20])
    rate = chunks * size / 10 ** source.uniform(-2, 2)
    scenario = FaultScenario(
        seed,
        nodes,
        chunks,
        size,
        rate,
        latency=10 ** source.uniform(-4, -1.3),
        spread=source.choice([0.1, 1.0, chunks * size / rate]),
        max_direct=source.choice([1, 3, 6]),
    )
    keys = source.sample(range(nodes), nodes)
    # A third is hostile, or half of the nodes end, or there is some of both.
    hostile_count, ended_count = source.choice([(nodes // 3, 0), (0, nodes // 2), (nodes // 4, nodes // 4)])
    hostile, ended = keys[:hostile_count], keys[hostile_count : hostile_count + ended_count]
    for key in hostile:
        scenario.hostile[key] = source.choice(KINDS).__name__
    for key in ended:
        moment = source.uniform(0, 1.5) * scenario.unit
        (scenario.killed if source.random() < 0.5 else scenario.stopped)[key] = moment
    return replace(scenario, first_tier=source.choice([1, 3, 32]))


@dataclass(frozen=True)
class FaultResult:
    """Seconds that each honest node that lived took; infinite for one that did not finish."""

    seconds: dict[int, float]
    bounds: dict[int, float]

    @property
    def late(self) -> list[int]:
        """The nodes that took too long."""
        return [key for key, seconds in self.seconds.items() if seconds > self.bounds[key]]


def play_faults(scenario: FaultScenario) -> FaultResult:
    counted = [key for key in range(scenario.nodes) if key not in _affected(scenario)]
    usual = _play(scenario, counted, faults=False, limit=1e9)
    bounds = {key: 2 * usual[key] + GRACE for key in counted}
    seconds = _play(scenario, counted, faults=True, limit=10 * max(bounds.values()) + 60)
    return FaultResult(seconds, bounds)


def _affected(scenario: FaultScenario) -> set[int]:
    return {*scenario.hostile, *scenario.killed, *scenario.stopped, *scenario.slow}


def _play(scenario: FaultScenario, counted: list[int], *, faults: bool, limit: float) -> dict[int, float]:
    clock, source, tuning = Clock(), Random(scenario.seed), Tuning(first_tier=scenario.first_tier)
    network = Network(clock, scenario.latency, -(-scenario.size // 2))
    port = Port(scenario.rate, scenario.rate)
    master = Master(clock, network, port, scenario.chunks, 4096, scenario.max_direct, tuning, source)
    kinds = {kind.__name__: kind for kind in KINDS}
    nodes: dict[int, Node] = {}
    for key in range(scenario.nodes):
        kind: type[Node] = Node
        if faults:
            kind = kinds[scenario.hostile[key]] if key in scenario.hostile else kind
            kind = Stopped if key in scenario.stopped else kind
            kind = Finished if key in scenario.slow else kind
        sizes = [scenario.size] * scenario.chunks
        rate = scenario.rate * (scenario.slow.get(key, 1.0) if faults else 1.0)
        link = Port(rate, rate)
        node = nodes[key] = kind(key, clock, network, link, master, sizes, tuning, source.randrange(1 << 60))
        clock.at(source.uniform(0, scenario.spread), node.start)
        if faults and key in scenario.killed:
            clock.at(scenario.killed[key], node.die)
        if faults and isinstance(node, Stopped):
            clock.at(scenario.stopped[key], node.stop)
    clock.run(lambda: all(nodes[key].finished is not None for key in counted), limit)
    ended = {key: nodes[key].finished for key in counted}
    return {key: float("inf") if end is None else end - nodes[key].begun for key, end in ended.items()}

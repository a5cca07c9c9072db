"""One simulation: how many nodes, which links, which content, what happens to them; and the result."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from statistics import median

from test.sim.clock import Clock
from test.sim.links import Network, Port
from test.sim.master import Master
from test.sim.node import Node
from xget_lib.manifest.layout import granule, piece_size
from xget_lib.swarm.tuning import Tuning


@dataclass(frozen=True)
class Scenario:
    """What is simulated. Units are bytes, bytes per second, and seconds."""

    nodes: int
    size: int
    rate: float
    chunk: int = 0
    """Size of a chunk; 0: as production cuts a content of this size."""
    latency: float = 0.0002
    every: float = 0.0
    """Seconds between the starts of two nodes."""
    spread: float = 0.1
    """Seconds within which nodes that start together start."""
    slow: int = 0
    """Nodes whose links have a tenth of the rate."""
    killed: float = 0.0
    """The fraction of the nodes that is killed after half of the ideal time."""
    blocks: int = 4
    """Blocks of a chunk."""
    seed: int = 1
    max_direct: int = 6
    """Chunks that the master sends at once: the option --max-direct. 10 cost 2 % with 8 nodes and half a percent with
    more; 3 leave the link of the master idle and cost 10 %."""
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True)
class Result:
    """Times are multiples of size / rate, from each node's own start; slow and killed nodes are left out."""

    last: float
    median: float
    slowest_own: float
    copies: float
    control: float
    """Bytes of the master's small messages, as a fraction of the content."""
    messages: int
    """Small messages of the master."""
    traffic: dict[str, int]
    twice: float
    unfinished: int
    cpu: float
    """Processor seconds that the simulation took."""


def play(scenario: Scenario) -> Result:
    begun = time.process_time()
    chunk = scenario.chunk or granule(scenario.size)
    sizes = [min(chunk, scenario.size - offset) for offset in range(0, scenario.size, chunk)]
    manifest = 200 + 32 * -(-scenario.size // piece_size(scenario.size))
    clock = Clock()
    source = Random(scenario.seed)
    network = Network(clock, scenario.latency, -(-chunk // scenario.blocks))
    master = Master(
        clock,
        network,
        Port(scenario.rate, scenario.rate),
        len(sizes),
        manifest,
        scenario.max_direct,
        scenario.tuning,
        source,
    )
    unit = scenario.size / scenario.rate
    nodes = []
    for key in range(scenario.nodes):
        slow = 0 < key <= scenario.slow
        rate = scenario.rate / 10 if slow else scenario.rate
        node = Node(key, clock, network, Port(rate, rate), master, sizes, scenario.tuning, source.randrange(1 << 60))
        nodes.append(node)
        clock.at(key * scenario.every if scenario.every else source.uniform(0, scenario.spread), node.start)
    dead = source.sample(nodes, round(scenario.killed * len(nodes)))
    for node in dead:
        clock.at(unit / 2, node.die)
    counted = [node for node in nodes if node not in dead and not 0 < node.key <= scenario.slow]
    left = list(counted)

    def over() -> bool:
        while left and left[-1].finished is not None:
            left.pop()
        return not left

    clock.run(over, 40 * unit)
    times = sorted((node.finished or clock.now) - node.begun for node in counted)
    return Result(
        last=max(node.finished or clock.now for node in counted) / unit,
        median=median(times) / unit,
        slowest_own=times[-1] / unit,
        copies=master.port.sent / scenario.size,
        control=sum(master.traffic.values()) / scenario.size,
        messages=master.messages,
        traffic=master.traffic,
        twice=sum(node.twice for node in nodes) / len(nodes) / len(sizes),
        unfinished=len(left) and sum(node.finished is None for node in counted),
        cpu=time.process_time() - begun,
    )

"""A distribution to look at: nodes that are simulated, in any number, served by the real feed and the real page.

python -m test.page.simulated --nodes 10000 --port 8004
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import random
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent

from test.support.nodes import configured
from xget_lib.master.tracker_io import _child
from xget_lib.net.listen import listen
from xget_lib.page.server import PageServer, start
from xget_lib.report import distribution
from xget_lib.report.distribution import Distribution, NodeStatus
from xget_lib.report.distribution_summary import summarise
from xget_lib.report.log import LOGGER

_MIB = 1 << 20
CHUNKS = 4096
SIZE = CHUNKS * _MIB
GENERATION = hashlib.sha256(b"a generation").hexdigest()
_SPREAD = 0.5
"""Nodes end at different times, by this part of the usual one."""


class SimulatedSwarm:
    """The same nodes with the same seed. `clock`: seconds since the start; the usual node needs `seconds`."""

    def __init__(self, nodes: int, clock: Callable[[], float], seconds: float = 120.0, seed: int = 1) -> None:
        self._clock = clock
        self._seconds = seconds
        chance = random.Random(seed)
        self._pace = [1 / (1 + _SPREAD * chance.random() ** 2) for _ in range(nodes)]
        self._fails = {node: 0.2 + chance.random() / 2 for node in chance.sample(range(nodes), max(1, nodes // 60))}
        self._lost = {node: 0.2 + chance.random() / 2 for node in chance.sample(range(nodes), max(1, nodes // 90))}
        self._slow = set(chance.sample(range(nodes), max(1, nodes // 60))) - set(self._fails) - set(self._lost)
        self._givers = [chance.sample(range(nodes), min(3, nodes)) for _ in range(nodes)]
        width = max(2, len(str(nodes)))
        self._names = [f"node{number + 1:0{width}}" for number in range(nodes)]

    def look(self) -> tuple[dict[str, Any], Distribution]:
        """As a master looks at itself."""
        now = self._clock()
        nodes = [self._node(number, now) for number in range(len(self._names))]
        nodes.sort(key=lambda node: node.left is not None)
        known = Distribution(GENERATION, CHUNKS, SIZE, tuple(nodes))
        summary = summarise(known)
        status: dict[str, Any] = {
            "role": "master",
            "version": "2.0.0",
            "pid": 4711,
            "path": "/srv/images",
            "port": 20004,
            "host": "head",
            "seconds": now,
            "generation": GENERATION,
            "files": 1234,
            "bytes": SIZE,
            "chunks": CHUNKS,
            "scanned": 1.0,
            "notices": True,
            "refused": 0,
            "sent": sum(node.from_master for node in nodes),
            "workers": [{"pid": 4712, "connections": 2 * summary.nodes, "sent": 0}],
            "distribution": summary.as_json(),
            "children": [_child(node) for node in nodes[:200]],
            "totals": {
                "from_master": summary.from_master,
                "from_nodes": summary.fetched - summary.from_master,
                "ended": {"done": 0, "failed": len(self._fails), "interrupted": 0, "lost": len(self._lost)},
            },
        }
        return status, known

    def _node(self, number: int, now: float) -> NodeStatus:
        slow = number in self._slow
        end = self._fails.get(number, self._lost.get(number, 1.0))
        share = min(end, now / self._seconds * self._pace[number] * (0.45 if slow else 1.0))
        over = share >= end
        fetched = int(share * SIZE)
        from_master = int(fetched * 1.4 / max(2.0, len(self._names)))
        rest = fetched - from_master
        givers = self._givers[number]
        sources = tuple(
            (self._address(giver), 40000, rest * part // 7) for giver, part in zip(givers, (3, 2, 1), strict=False)
        )
        state, why, left, lagging = distribution.DOWNLOADING, "", None, ""
        if over and number in self._fails:
            state, why = distribution.FAILED, "/var/lib/images: no space left on device"
        elif over and number in self._lost:
            state, left = distribution.LOST, 3.0
        elif over:
            state = distribution.COMPLETE
        elif slow and now > 20:
            lagging = f"{now * 0.4:.0f} s later than half of the nodes"
        rate = SIZE / self._seconds * self._pace[number] * (0.45 if slow else 1 + 0.15 * math.sin(now / 3 + number))
        return NodeStatus(
            address=self._address(number),
            port=40000,
            name=self._names[number],
            state=state,
            generation=GENERATION,
            held=int(share * CHUNKS),
            seconds=now,
            left=left,
            fetched=fetched,
            from_master=from_master,
            rate=rate if state == distribution.DOWNLOADING else 0.0,
            sources=sources if fetched else (),
            took=self._seconds / self._pace[number] if state == distribution.COMPLETE else None,
            lagging=lagging,
            why=why,
        )

    @staticmethod
    def _address(number: int) -> str:
        return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def serve(swarm: SimulatedSwarm, listening: socket.socket) -> PageServer:
    """The page of a simulated swarm, in this process."""
    page = start(listening, configured(1, host=None, http=("127.0.0.1", listening.getsockname()[1])), swarm.look)
    for node in swarm.look()[1].nodes:
        if node.why:
            LOGGER.warning("%s port %d: failed after 61.2 s: %s", node.address, node.port, node.why)
        elif node.state == distribution.LOST:
            text = "%s port %d: the connection ended during the download (it last reported %d chunks)"
            LOGGER.warning(text, node.address, node.port, node.held)
    return page


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=120.0, help="that a usual node needs")
    parser.add_argument("--elapsed", type=float, default=0.0, help="of them when the page starts")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    begun = time.monotonic() - given.elapsed
    swarm = SimulatedSwarm(given.nodes, lambda: time.monotonic() - begun, given.seconds)
    listening = listen("127.0.0.1", given.port)
    serve(swarm, listening)
    print(listening.getsockname()[1], flush=True)
    while True:
        gevent.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1:])

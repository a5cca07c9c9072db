"""What a live master answers about 10,000 nodes: how fast its status comes, and how long its metrics are.

    python -m test.campaigns.many_nodes [--nodes 10000]

A real master serves a file. So many nodes, each with an address of its own on loopback, connect, register a part of it,
and stay connected. Then `xget status -n` is run as an administrator does, and /metrics and /status.json are read. The
limits of 10,000 nodes are checked: each answer comes within a second, and /metrics has less than 100 KB. What the
command takes is processor time, less that of `xget --version`. `ulimit -n` must be more than the nodes.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gevent.pool import Pool
from gevent.socket import create_connection

from scripts.bench.loopback import unwind_on_signals
from test.support.cluster import Cluster, eventually, free_port
from test.support.leftovers import end_all
from xget_lib.net import link
from xget_lib.net.link import Link
from xget_lib.ninep.messages import ORDWR
from xget_lib.serve.attach import SWARM
from xget_lib.swarm.messages import Registration

_SECONDS = 60.0
"""For each node."""
_AT_ONCE = 32
_ROUNDS = 5
_MOST_SECONDS = 1.0
_MOST_METRICS = 100_000
"""Bytes."""
_COMMAND = (sys.executable, str(Path(__file__).parents[2] / "xget.py"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m test.campaigns.many_nodes", description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=10_000)
    nodes = parser.parse_args().nodes
    unwind_on_signals()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="xget-many-") as base:
        cluster = Cluster(Path(base))
        try:
            return _measure(cluster, nodes)
        finally:
            end_all(cluster.mark)


def _measure(cluster: Cluster, nodes: int) -> int:
    # Connections may use a quarter of the descriptors of each worker.
    served, page = cluster.base / "served", free_port()
    served.mkdir()
    (served / "file").write_bytes(bytes(range(256)) * 65536)
    master = cluster.master(served, "-w", "8", "--http", f"127.0.0.1:{page}", wait=False)
    eventually(master.serves, "the master serves", _SECONDS)
    generation, chunks = bytes.fromhex(master.status()["generation"]), master.status()["chunks"]
    begun = time.monotonic()
    links = _register(master.port, nodes, generation, chunks)
    print(f"{nodes} nodes registered in {time.monotonic() - begun:.0f} s", flush=True)
    known = master.status()["distribution"]["nodes"]
    empty = min(_took("--version") for _ in range(_ROUNDS))
    where = ("-n", f"127.0.0.1:{master.port}")
    figures = [
        (f"status -n{extra and ' '}{extra}", _took("status", *where, *extra.split()) - empty)
        for extra in ("", "--json")
    ]
    lists = [
        (f"status -n {extra}", _took("status", *where, *extra.split()) - empty)
        for extra in ("--expect node1", "--tree")
    ]
    _read(page, "/metrics")  # the first one loads the library
    figures += [(path, _read(page, path)[0]) for path in ("/metrics", "/status.json", "/healthz")]
    size = len(_read(page, "/metrics")[1])
    for what, seconds in figures:
        print(f"{what:30} {seconds:6.2f} s (at most {_MOST_SECONDS:g})")
    for what, seconds in lists:  # they read the list of all nodes, and have no limit
        print(f"{what:30} {seconds:6.2f} s")
    print(f"/metrics has {size} bytes (at most {_MOST_METRICS}); the master knows {known} nodes")
    for each in links:
        each.close()
    good = known == nodes and size < _MOST_METRICS and all(seconds < _MOST_SECONDS for _, seconds in figures)
    return 0 if good else 1


def _register(port: int, nodes: int, generation: bytes, chunks: int) -> list[Link]:
    """Connections of so many nodes, of which each holds a part."""
    numbers = count()

    def connect(endpoints: object) -> Any:
        number = next(numbers)
        address = f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        return create_connection(("127.0.0.1", port), source_address=(address, 0))

    def one(number: int) -> Link:
        opened = Link.connect("127.0.0.1", port, SWARM, _SECONDS)
        registration = Registration(
            20000 + number % 40000, generation, 1 + number % chunks, name=f"node{number}", identity=f"{number:016x}"
        )
        opened.open("peers", _SECONDS, ORDWR).write(0, registration.encode(), _SECONDS)
        return opened

    with patch.object(link, "connect", connect):
        return list(Pool(_AT_ONCE).imap_unordered(one, range(nodes)))


def _took(*arguments: str) -> float:
    """Seconds of processor time of the command: other programs on this machine do not count."""
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*_COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime


def _read(port: int, path: str) -> tuple[float, bytes]:
    begun = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=_SECONDS) as answer:
        text = answer.read()
    return time.monotonic() - begun, text


if __name__ == "__main__":
    sys.exit(main())

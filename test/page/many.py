"""Measures the page with many simulated nodes that all download: the browser, the server, and the network.

    python -m test.page.many                    10,000 nodes for 30 seconds
    python -m test.page.many --nodes 50000

The limits of 10,000 nodes are checked: the page has less than 50 MB and takes less than 10 % of a core, the stream less
than 100 KB/s, /metrics is shorter than 100 KB, and everything is answered within a second. The memory of the page is
what its renderer process has more than one with an empty page (private and shared memory of its own, as the kernel
counts it), and its heap of JavaScript, as Chromium counts it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from test.page.process import simulated
from test.support.browser import Browser

_TICK: int = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figure:
    """Something that was measured, and what it may be at most; None: it is only told."""

    what: str
    value: float
    unit: str
    most: float | None = None

    def __str__(self) -> str:
        limit = f" (at most {self.most:g})" if self.most is not None else ""
        return f"{self.what:52} {self.value:10.2f} {self.unit}{limit}"


def measure(nodes: int, seconds: float) -> list[Figure]:
    """Open the page of so many nodes, and look at it for so long."""
    with simulated("--nodes", str(nodes), "--seconds", "300", "--elapsed", "30") as (server, port):
        with Browser() as browser:
            empty = browser.open(f"http://127.0.0.1:{port}/healthz")
            empty_size = max(map(own_memory, renderers(browser)))
            empty.close()
            page = browser.open(f"http://127.0.0.1:{port}/")
            page.until(f"map.order.length === {nodes}", "all nodes are on the map", 60)
            # Chromium keeps a spare one, which does nothing.
            renderer = max(renderers(browser), key=own_memory)
            page.until("chart.samples.length >= 5", "it is live", 60)
            before, server_before, received = cpu(renderer), cpu(server), page.received
            started = time.monotonic()
            samples = page.run("chart.samples.length")
            page.until(f"chart.samples.length >= {samples} + {int(seconds)}", "it was looked at", 5 * seconds)
            took = time.monotonic() - started
            heap = page.metrics()["JSHeapUsedSize"]
            figures = [
                Figure("page: JavaScript heap", heap / 1e6, "MB", 50),
                Figure("page: memory more than an empty page", (own_memory(renderer) - empty_size) / 1e6, "MB", 50),
                Figure("page: of one core", 100 * (cpu(renderer) - before) / took, "%", 10),
                Figure("stream", (page.received - received) / took / 1e3, "KB/s", 100),
                Figure("server: of one core, simulation included", 100 * (cpu(server) - server_before) / took, "%"),
                Figure("seconds between two events", took / int(seconds), "s"),
            ]
            assert page.console == [], page.console
            page.close()
        for path, most in (("/metrics", 100e3), ("/status.json", None), ("/nodes.json", None), ("/", None)):
            began = time.monotonic()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                length = len(answer.read())
            figures.append(Figure(f"{path}: answered in", time.monotonic() - began, "s", 1))
            figures.append(Figure(f"{path}: length", length / 1e3, "KB", most / 1e3 if most else None))
    return figures


def renderers(browser: Browser) -> set[int]:
    """The processes of a browser that draw pages."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            session = int((directory / "stat").read_text().rpartition(")")[2].split()[3])
            if session == browser.process.pid and b"--type=renderer" in (directory / "cmdline").read_bytes():
                found.add(int(directory.name))
    return found


def own_memory(pid: int) -> int:
    """Bytes that belong to a process alone, and its part of what it shares."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args(arguments)
    figures = measure(given.nodes, given.seconds)
    print(*figures, sep="\n")
    over = [figure for figure in figures if figure.most is not None and figure.value > figure.most]
    return 1 if over and given.nodes <= 10_000 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Simulate swarms with the decisions that run in production.

Times are multiples of content / rate, the time that one link needs to carry the content once. With several latencies,
all numbers of nodes are simulated with each of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools

from test.sim.scenario import Scenario, play
from xget_lib.swarm.tuning import Tuning


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m test.sim", description=__doc__)
    parser.add_argument("-N", "--nodes", type=int, nargs="+", default=[16, 64, 1000])
    parser.add_argument("--megabytes", type=float, default=1000, help="content, in 10^6 bytes")
    parser.add_argument("--mbit", type=float, default=1000, help="rate of each link, both ways, in 10^6 bit/s")
    parser.add_argument("--chunk", type=int, default=0, help="KiB of a chunk (default: as in production)")
    parser.add_argument("--latency", type=float, nargs="+", default=[0.2], help="milliseconds one way")
    parser.add_argument("--every", type=float, default=0, help="seconds between two starts")
    parser.add_argument("--slow", type=int, default=0, help="nodes with links of a tenth of the rate")
    parser.add_argument("--killed", type=float, default=0, help="fraction of nodes killed after half the ideal time")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of a chunk in the model of links")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-direct", type=int, default=Scenario.max_direct, help="as the option of xget.py")
    parser.add_argument("-v", action="store_true", dest="verbose")
    for field in dataclasses.fields(Tuning):
        kind = type(field.default)
        parser.add_argument("--" + field.name.replace("_", "-"), type=kind, default=field.default)
    options = parser.parse_args()
    tuning = Tuning(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Tuning)})
    gc.disable()  # Millions of objects live to the end; the garbage collector would take half of the time.
    print("     N  one way   last  median  slowest own  copies  control  messages  twice  CPU")
    for latency, count in itertools.product(options.latency, options.nodes):
        result = play(
            Scenario(
                nodes=count,
                size=int(options.megabytes * 1e6),
                rate=options.mbit * 1e6 / 8,
                chunk=options.chunk * 1024,
                latency=latency / 1000,
                every=options.every,
                slow=options.slow,
                killed=options.killed,
                blocks=options.blocks,
                seed=options.seed,
                max_direct=options.max_direct,
                tuning=tuning,
            )
        )
        print(
            f"{count:6}  {latency:4.3g} ms  {result.last:5.3f}   {result.median:5.3f}        {result.slowest_own:5.3f}"
            f"   {result.copies:5.3f}   {result.control:6.2%}  {result.messages:8}"
            f"  {result.twice:5.1%}  {result.cpu:.0f} s"
            + (f"  {result.unfinished} UNFINISHED" if result.unfinished else ""),
            flush=True,
        )
        if options.verbose:
            print("       ", result.traffic)


main()

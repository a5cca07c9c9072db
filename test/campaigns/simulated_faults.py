"""Small simulated swarms under faults, thousands of them, each drawn from a seed: `test.sim.faults`.

    python -m test.campaigns.simulated_faults --seeds 1-10000

A line for each seed that fails; it is played again with `--seeds SEED`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from multiprocessing import Pool

from test.sim.faults import drawn, play_faults


def fault(seed: int) -> str:
    """What is wrong with the run of a seed; "" if nothing is."""
    scenario = drawn(seed)
    try:
        result = play_faults(scenario)
    except Exception as error:  # a broken rule is what this looks for
        return f"{error!r} {scenario}"
    if not result.late:
        return ""
    late = ", ".join(
        f"node {key} {result.seconds[key]:.1f} s (bound {result.bounds[key]:.1f} s)" for key in result.late
    )
    return f"{late} {scenario}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m test.campaigns.simulated_faults", description=__doc__)
    parser.add_argument("--seeds", default="1-10000", metavar="FIRST-LAST")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    begun, failed = time.monotonic(), 0
    with Pool(options.processes) as pool:
        for seed, wrong in zip(seeds, pool.imap(fault, seeds, chunksize=8), strict=True):
            if wrong:
                failed += 1
                print(f"seed {seed}: {wrong}", flush=True)
    print(f"{len(seeds)} seeds, {failed} failed, {time.monotonic() - begun:.0f} s")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())

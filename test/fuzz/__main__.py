"""Says millions of messages to XGet that nobody should say, and tells what came of it.

What is found is named, `server:1:4711`, and played again with --replay; with --guided a coverage-guided fuzzer
(atheris, of the list FUZZ in setup.py) makes the decisions, and what it finds is a file to be played again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from test.fuzz.crew import Crew, Tally, replay
from test.fuzz.targets import PARTS

_EVERY = 10.0
"""Seconds between two lines that say how far it is."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m test.fuzz", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="how many, in all (100,000)")
    parser.add_argument("--seed", default=None, help="the same seed says the same; otherwise any")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--target", action="append", choices=sorted(PARTS), help="only this one (may be repeated)")
    parser.add_argument("--replay", metavar="CASE", help="play a case again, or a file that --guided found")
    parser.add_argument("--guided", metavar="DIRECTORY", type=Path, help="by coverage; what helps is kept in there")
    options = parser.parse_args()
    targets = options.target or list(PARTS)
    if options.replay:
        return _replay(options.replay, targets)
    if options.guided:
        from test.fuzz.guided import explore

        return explore(options.guided, options.messages, options.processes, targets, options.seed)
    seed = options.seed or str(int.from_bytes(os.urandom(4), "little"))
    return _run(Crew(options.messages, seed, options.processes, targets), seed)


def _run(crew: Crew, seed: str) -> int:
    begun = time.monotonic()
    tally = crew.run(_progress(begun))
    seconds = time.monotonic() - begun
    print(f"seed {seed}: {_rate(tally, seconds)}, {tally.cases} cases in {seconds:.0f} s")
    print("  " + ", ".join(f"{name} {count}" for name, count in sorted(tally.messages.items())))
    for said in tally.memory:
        print(f"  a process in the end: {said}")
    print(f"  the slowest case: {tally.slowest[1]}, {tally.slowest[0]:.2f} s")
    for found in tally.findings:
        print(f"FOUND {found}")
    print("nothing found" if not tally.findings else f"{len(tally.findings)} found; see --replay")
    return bool(tally.findings)


def _progress(begun: float) -> Callable[[Tally], None]:
    last = begun

    def say(tally: Tally) -> None:
        nonlocal last
        if time.monotonic() - last > _EVERY:
            last = time.monotonic()
            print(_rate(tally, last - begun), file=sys.stderr, flush=True)

    return say


def _rate(tally: Tally, seconds: float) -> str:
    return f"{tally.total} messages, {tally.total / seconds:.0f}/s"


def _replay(case: str, targets: list[str]) -> int:
    if Path(case).is_file():
        from test.fuzz.guided import replay_file

        said = replay_file(Path(case), targets)
    else:
        said = replay(case)
    print("\n".join(said))
    return "Traceback" in said[-1]


if __name__ == "__main__":
    sys.exit(main())

"""The fault bench: real processes under faults that are drawn from a seed.

    python -m test.faults [--seeds 1-1000] [--jobs 2] [--keep] [--verbose] [--list]

Each seed is one case: a master, two to five clients, hostile peers, and up to three faults. It is played twice: first
without hostile peers and faults, to know how long it takes, and then with them. A case has a process namespace, a
network namespace and a mount namespace of its own, so nothing of it can be left. Needs root.

After each run: a client with status 0 has exactly what the master served; another status is true, and none is given
where the bytes could be had; no wrong byte has a final name; nothing is left behind; nobody waits without saying so;
and nobody is later than twice the time without faults and 30 s.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from test.campaigns.oddities.present import remove_all
from test.faults.case import draw
from test.faults.judge import judge
from test.faults.lies import LIES
from test.faults.run import Run
from test.faults.table import FAULTS
from test.support.seeded import in_order, lines_of, result_of

_PATIENCE = 120
"""Seconds after which a run has failed, and everything that it started is killed."""
_ALONE = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]
_ALONE += ["--mount-proc", "--propagation", "private"]
"""The words before a command that end it, and all that it started, with this process."""


@dataclass(frozen=True)
class Result:
    """Of one seed."""

    seed: int
    problems: list[str]
    late: float
    """Seconds that the last honest client took longer than without faults."""
    struck: list[str]
    seconds: float

    @property
    def kinds(self) -> list[str]:
        """Of the problems."""
        return sorted({problem.partition(":")[0] for problem in self.problems})

    def __str__(self) -> str:
        head = f"seed {self.seed}: {draw(self.seed)} ({self.seconds:.1f} s, {self.late:.1f} s late)"
        return lines_of(head, self.struck, self.problems)


def run_one(seed: int, keep: bool = False) -> Result:
    """A case in namespaces of its own."""
    begun = time.monotonic()
    base = Path(tempfile.mkdtemp(prefix=f"xget-faults-{seed}-"))
    base.chmod(0o755)
    command = [*_ALONE, sys.executable, "-m", "test.faults", "--inside", str(base), "--seeds", str(seed)]
    try:
        result = result_of(command, _PATIENCE)
    finally:
        if not keep:
            remove_all(base)
    late, struck = 0.0, []
    if result is None:
        problems, late = [f"late: not ended within {_PATIENCE} s"], float(_PATIENCE)
    elif isinstance(result, str):
        problems = [f"bench: {result}"]
    else:
        problems, late, struck = result
    return Result(seed, problems, late, struck, time.monotonic() - begun)


def run_all(seeds: Iterable[int], jobs: int, keep: bool = False) -> Iterator[Result]:
    """The results, in order of the seeds."""
    return in_order(lambda seed: run_one(seed, keep), seeds, jobs)


def _inside(seed: int, base: Path) -> int:
    """In the namespaces of the run: the result as the last line of stdout."""
    os.environ["XDG_CACHE_HOME"] = str(base / "cache")
    case = draw(seed)
    problems: list[str] = []
    late, struck = 0.0, []
    try:
        usual = Run(case.without_faults, base / "usual")
        usual.play()
        found, _ = judge(usual)
        problems += [f"{line} (without faults)" for line in found]
        times = {node.name: (node.ended or 0) - (node.started or 0) for node in usual.nodes}
        run = Run(case, base / "faults", times)
        run.play()
        found, late = judge(run)
        problems += found
        struck = [str(each) for each in run.struck]
    except Exception:
        problems.append(f"bench: {traceback.format_exc()}")
    print("\n" + json.dumps([problems, late, struck]), end="")
    return 0


def summary(results: list[Result], seconds: float) -> str:
    """A table of what failed, and how late everybody was."""
    failed = [result for result in results if result.problems]
    lines = [f"{len(results)} runs in {seconds:.0f} s: {len(results) - len(failed)} ok, {len(failed)} failed"]
    for kind in sorted({kind for result in failed for kind in result.kinds}):
        seeds = [result.seed for result in failed if kind in result.kinds]
        lines.append(f"  {kind:12} {len(seeds):5}  seeds {','.join(map(str, seeds))}")
    late = [max(0.0, result.late) for result in results]
    if late:
        worst = max(results, key=lambda result: result.late)
        lines.append(f"later than without faults: median {statistics.median(late):.1f} s, most {worst.late:.1f} s")
        lines[-1] += f" (seed {worst.seed})"
    return "\n".join(lines)


def numbers(text: str) -> list[int]:
    """`1-3,7` are 1, 2, 3 and 7."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise argparse.ArgumentTypeError(f"not seeds: {text}")
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m test.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=numbers, default=numbers("1-1000"), help="such as 17 or 1-100,205")
    parser.add_argument("--jobs", type=int, default=2, help="how many runs at the same time")
    parser.add_argument("--keep", action="store_true", help="keep the directory of each run, with the logs")
    parser.add_argument("--verbose", action="store_true", help="print all runs, not only those that fail")
    parser.add_argument("--list", action="store_true", help="print all faults, and what hostile peers do")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return _inside(options.seeds[0], options.inside)
    if options.list:
        print(*(f"{name:34} {fault.does}" for name, fault in FAULTS.items()), "", sep="\n")
        print(*(f"hostile: {name:25} {lie.does}" for name, lie in LIES.items()), sep="\n")
        return 0
    begun, results = time.monotonic(), []
    for result in run_all(options.seeds, options.jobs, options.keep):
        results.append(result)
        if result.problems or options.verbose:
            print(result, flush=True)
    print(summary(results, time.monotonic() - begun))
    return int(any(result.problems for result in results))


if __name__ == "__main__":
    sys.exit(main())

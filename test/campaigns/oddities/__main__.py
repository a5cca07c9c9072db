"""Combines odd sources, destinations, options and interruptions, and compares the copies with rsync.

    python -m test.campaigns.oddities [--runs 300] [--seed 1] [--processes 2] [--keep] [--shell]

Each run is drawn from a seed: the first from --seed, each further one from the next number. `--seed 17 --runs 1` is one
run again; with --shell, a shell follows in which everything is still mounted. A run has a mount namespace and a process
namespace of its own, so nothing of it can be left. Needs root.

Of each run, rsync (-aHAXn --checksum --delete) must find nothing to do but what the client itself said it could not do,
with the right exit status. The next run must have nothing to do, and read nothing. A dry run must have told the steps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from test.campaigns.oddities.case import draw
from test.campaigns.oddities.present import remove_all
from test.campaigns.oddities.run import Run
from test.support.cluster import ROOT
from test.support.seeded import in_order, lines_of, result_of

_PATIENCE = 300
"""Seconds after which a run has failed."""
_ALONE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]


@dataclass(frozen=True)
class Result:
    """Of one run."""

    seed: int
    problems: list[str]
    said: list[str]
    seconds: float

    def __str__(self) -> str:
        return lines_of(f"seed {self.seed}: {draw(self.seed)} ({self.seconds:.1f} s)", self.said, self.problems)


def run_one(seed: int, keep: bool = False) -> Result:
    """A run in a process of its own."""
    begun = time.monotonic()
    base = Path(tempfile.mkdtemp(prefix=f"xget-oddities-{seed}-"))
    command = [*_ALONE, sys.executable, "-m", "test.campaigns.oddities"]
    try:
        command += ["--inside", str(base), "--seed", str(seed)]
        result = result_of(command, _PATIENCE)
    finally:
        if not keep:
            remove_all(base)
    said: list[str] = []
    if result is None:
        problems = [f"not ended within {_PATIENCE} s"]
    elif isinstance(result, str):
        problems = [result]
    else:
        problems, said = result
    return Result(seed, problems, said, time.monotonic() - begun)


def run_all(seeds: Iterable[int], processes: int, keep: bool = False) -> Iterator[Result]:
    """The results, in order of the seeds."""
    return in_order(lambda seed: run_one(seed, keep), seeds, processes)


def _inside(seed: int, base: Path) -> int:
    """In the namespace of the run: the result as the last line of stdout."""
    run = Run(draw(seed), base)
    try:
        run.run()
    except Exception:
        run.problems.append(traceback.format_exc())
    print("\n" + json.dumps([run.problems, run.said]), end="")
    return 0


def _run_with_shell(seed: int) -> int:
    """A run, and then a shell in its namespace and directory."""
    with tempfile.TemporaryDirectory(prefix=f"xget-oddities-{seed}-", ignore_cleanup_errors=True) as base:
        run = [sys.executable, "-m", "test.campaigns.oddities", "--inside", base, "--seed", str(seed)]
        script = 'cd "$1"; base=$2; shift 2; "$@"; echo; cd "$base"; ${SHELL:-sh}'
        done = subprocess.run([*_ALONE, "sh", "-c", script, "sh", str(ROOT), base, *run], check=False)
        remove_all(Path(base))
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m test.campaigns.oddities", description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--processes", type=int, default=2, help="how many runs at the same time")
    parser.add_argument("--keep", action="store_true", help="keep the directory of each run, without what was mounted")
    parser.add_argument("--shell", action="store_true", help="one run; then a shell where everything is still mounted")
    parser.add_argument("--verbose", action="store_true", help="print all runs")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return _inside(options.seed, options.inside)
    if options.shell:
        return _run_with_shell(options.seed)
    begun, wrong = time.monotonic(), []
    for result in run_all(range(options.seed, options.seed + options.runs), options.processes, options.keep):
        if result.problems:
            wrong.append(result.seed)
        if result.problems or options.verbose:
            print(result, flush=True)
    print(f"{options.runs} runs in {time.monotonic() - begun:.0f} s, {len(wrong)} wrong: {wrong}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

"""Measures what a start costs: a client that gets 10 KB from a master on this machine.

    python -m test.start                        20 clients
    python -m test.start --against ../before    beside another checkout, in turns: on a busy machine only this compares
    python -m test.start --write                add new modules to the lists in test/start/imports

Wall clock and processor seconds of a whole client are told, of both its processes, and how many modules they import.
Under other load look at the least, not at the median. Compiled modules must be there, as in a package.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from statistics import median

from scripts.bench.loopback import free_port, running, unwind_on_signals
from test.start.recorded import BEFORE, ROOT, imported, write_lists
from test.support.cluster import Cluster, eventually, status_of
from test.support.processes import PATIENCE
from test.support.trees import noise, write

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m test.start", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="number of clients (20)")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout to be measured in turns")
    parser.add_argument("--write", action="store_true", help="bring the lists of imports up to date")
    options = parser.parse_args()
    unwind_on_signals()
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory))
        try:
            found = imported(cluster)
        finally:
            with redirect_stdout(None):  # what the master has logged
                cluster.close()
    if options.write:
        write_lists(found, options.runs)
    else:
        measure([ROOT, *([options.against.resolve()] if options.against else [])], options.runs)
        print(", ".join(f"{process}: {len(found[process])} imports" for process in BEFORE), "(see test/start/imports)")
    return 0


def measure(checkouts: list[Path], runs: int) -> None:
    """Print the times of clients of these checkouts, whose masters are of the same one."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # the node outlives its parent, and is waited for here
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        served = Path(directory) / "served"
        served.mkdir()
        write(served / "file", noise(10_000, 1))
        commands = {}
        for checkout in checkouts:
            subprocess.run([sys.executable, "-m", "compileall", "-q", str(checkout / "xget_lib")], check=True)
            port, command = free_port(), [sys.executable, str(checkout / "xget.py"), "--config=", "-q"]
            words = ["--cache", f"{directory}/cache", "--bind", "127.0.0.1", "-p", str(port), str(served)]
            master = stack.enter_context(running([*command, *words]))
            stack.callback(master.wait, PATIENCE)
            stack.callback(master.terminate)
            eventually(lambda port=port: _serves(port), "the master does not serve")  # type: ignore[misc]
            commands[checkout] = [*command, "-n", "127.0.0.1", "-p", str(port), "--linger", "0", "."]
        times: dict[Path, list[tuple[float, float]]] = {checkout: [] for checkout in checkouts}
        for number in range(runs + 1):
            for checkout, command in commands.items():
                took = _one([*command, f"{directory}/{number}-{len(times[checkout])}-{checkouts.index(checkout)}"])
                if number:  # the first one has read the files from the disk
                    times[checkout].append(took)
    for checkout, each in times.items():
        for what, values in zip(("wall", "processor"), zip(*each, strict=True), strict=True):
            print(f"{checkout}: {what} {min(values):.3f} s at least, {median(values):.3f} s in the middle")


def _serves(port: int) -> bool:
    try:
        return status_of(port)["generation"] is not None
    except OSError:
        return False


def _one(command: list[str]) -> tuple[float, float]:
    """Seconds of one client: until it has ended, and of the processor, of both its processes."""
    begun = time.perf_counter()
    client = os.spawnv(os.P_NOWAIT, command[0], command)
    ended: dict[int, tuple[float, float]] = {}
    while len(ended) < 2:
        pid, status, usage = os.wait4(-1, 0)
        if status:
            raise SystemExit(f"status {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
        ended[pid] = time.perf_counter() - begun, usage.ru_utime + usage.ru_stime
    return ended[client][0], sum(processor for _, processor in ended.values())


if __name__ == "__main__":
    sys.exit(main())

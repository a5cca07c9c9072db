"""Compares XGet, rsync and tar for half a million small files: `python -m scripts.bench.trees`, as root.

    first transfer     one client of a master over loopback, rsync from its daemon, tar through a socket, alternating.
                       XGet syncs its files to disk, the others do not, so a sync is measured after each of them
    nothing to do      the same client again, compared with `find -ls` of its destination, alternating
    start of a master  until it logs its generation, without and with a digest cache, compared with `find -ls`
    memory             peak resident size of the processes

The page cache is warm. Medians are printed; all figures are stored in bench-results/trees. Each copy is counted, and an
incomplete one ends the run. It needs rsync, and 15 GB below --directory for 500,000 files. With --tree it uses an
existing tree, which it only reads.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from . import report
from .copying import by_rsync, by_tar, by_xget
from .loopback import PATIENCE, Master, client, finished, serving, unwind_on_signals
from .processes import peak_memory

_PROGRAMS = {"rsync": "rsync", "tar": "tar", "find": "findutils", "sync": "coreutils"}
"""What is needed, and the package that it is in."""
_RESULTS = report.DIRECTORY / "trees"
_LOOKS = 3
"""How often the short ones are measured."""
_PER_DIRECTORY = 100
_SMALLEST, _LARGEST = 1 << 10, 16 << 10
_SETTLED = 2.5
"""Seconds after which a file is old enough for its digests to be cached."""
_AIM_MEMORY = 1024
"""Bytes a file."""


@dataclass
class Measured:
    """Everything that one run has found. Seconds by what took them, and bytes of memory by process."""

    files: int
    size: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    def took(self, what: str, seconds: float) -> None:
        self.seconds.setdefault(what, []).append(seconds)
        print(f"  {what}: {seconds:.2f} s", file=sys.stderr, flush=True)

    def remember(self, process: str, size: int) -> None:
        """What one process has had; of several of a kind, or several times, the most."""
        self.memory[process] = max(size, self.memory.get(process, 0))

    def median(self, what: str) -> float:
        return median(self.seconds[what])

    def span(self, what: str) -> str:
        """The shortest and the longest."""
        return f"{min(self.seconds[what]):.2f}-{max(self.seconds[what]):.2f}"

    def ratio(self, what: str, unit: str) -> float:
        return self.median(what) / self.median(unit)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.trees", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--files", type=int, default=500_000, metavar="N", help="create this many files of 1 to 16 KiB (500000)"
    )
    parser.add_argument("--tree", type=Path, metavar="DIR", help="do not create files, but read this existing tree")
    parser.add_argument("--repeat", type=int, default=2, metavar="K", help="number of transfers of each kind (2)")
    parser.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        help="directory with enough free space (that of temporary files)",
    )
    parser.add_argument(
        "--results", type=Path, default=_RESULTS, metavar="DIR", help="directory for the results (bench-results/trees)"
    )
    given = parser.parse_args()
    for program, package in _PROGRAMS.items():
        if not shutil.which(program):
            print(f"{program} is not installed (apt-get install {package})", file=sys.stderr)
            return 2
    unwind_on_signals()
    started = report.now()
    with tempfile.TemporaryDirectory(prefix="xget-trees-", dir=given.directory) as base:
        tree = given.tree.resolve() if given.tree else _make_tree(Path(base) / "tree", given.files)
        measured = _measure(tree, Path(base), given.repeat)
    facts = {"command": sys.argv[1:], "machine": report.this_machine(), "started": started}
    path = report.write(
        report.result_path(started, given.results), facts | asdict(measured) | {"ratios": _ratios(measured)}
    )
    print(f"{_table(measured)}\n\nstored in {path}")
    return 0


# Measuring.


def _measure(tree: Path, work: Path, repeat: int) -> Measured:
    finished(["find", str(tree), "-type", "f", "-exec", "cat", "{}", "+"], PATIENCE, stdout=subprocess.DEVNULL)
    measured = Measured(*_counted(tree))
    dest = work / "xget"
    _find(tree)
    measured.took("find -ls of the tree", _find(tree))
    with serving(tree, work) as master:
        measured.took("master, no cache", master.ready)
        _remember_master(measured, master)
        _transfers(measured, tree, work, master, repeat)
        _find(dest)
        for _ in range(_LOOKS):
            measured.took("find -ls of the copy", _find(dest))
            measured.took("client, nothing to do", _timed(client(master.port, dest, "-q")))
        _remember_master(measured, master)
    _remove(dest)
    for _ in range(_LOOKS):
        measured.took("find -ls of the tree", _find(tree))
        with serving(tree, work) as master:
            if master.hashed:
                raise SystemExit(f"the digest cache was not used: {master.hashed} pieces were hashed again")
            measured.took("master, digest cache", master.ready)
    return measured


def _transfers(measured: Measured, tree: Path, work: Path, master: Master, repeat: int) -> None:
    """All three in turns, in one order and the other. The last copy of xget's stays."""
    for number in range(repeat):
        tools = ["tar", "rsync", "xget"]
        for tool in tools if number % 2 else reversed(tools):
            dest = work / tool
            _remove(dest)
            measured.took(tool, _transfer(measured, tool, tree, work, master))
            measured.took(f"{tool}: sync", _timed(["sync", "-f", str(dest)]))
            if (there := _counted(dest)) != (measured.files, measured.size):
                raise SystemExit(f"{tool} has not copied everything: {there} files and bytes")
            if tool != "xget":
                _remove(dest)


def _transfer(measured: Measured, tool: str, tree: Path, work: Path, master: Master) -> float:
    if tool == "rsync":
        return by_rsync(tree, work / tool, work)
    if tool == "tar":
        return by_tar(tree, work / tool)
    fetched = by_xget(master.port, work / tool)
    measured.remember("client", fetched.client)
    measured.remember("client's node", fetched.node)
    return fetched.seconds


def _find(directory: Path) -> float:
    return _timed(["find", str(directory), "-ls"])


def _timed(command: list[str]) -> float:
    begun = time.monotonic()
    finished(command, PATIENCE, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def _counted(directory: Path) -> tuple[int, int]:
    """Regular files and their bytes."""
    sizes = finished(["find", str(directory), "-type", "f", "-printf", "%s\n"], PATIENCE).split()
    return len(sizes), sum(map(int, sizes))


def _remove(directory: Path) -> None:
    """Remove what is ours, if it is there, and wait until the disk has heard of it."""
    finished(["rm", "-rf", str(directory)], PATIENCE)
    finished(["sync", "-f", str(directory.parent)], PATIENCE)


def _remember_master(measured: Measured, master: Master) -> None:
    for name, pid in (("master", master.pid), ("nursery", master.nursery)):
        measured.remember(name, peak_memory(pid))
    for number, pid in enumerate(master.workers()):
        measured.remember(f"worker {number}", peak_memory(pid))


def _make_tree(root: Path, files: int) -> Path:
    content = random.Random(1)
    noise = content.randbytes(1 << 20)
    for number in range(files):
        directory = root / f"{number // _PER_DIRECTORY // 50:03}" / f"{number // _PER_DIRECTORY:05}"
        if number % _PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        length = content.randint(_SMALLEST, _LARGEST)
        start = content.randint(0, len(noise) - length)
        with open(os.path.join(directory, f"file-{number % _PER_DIRECTORY:03}.txt"), "wb") as file:
            file.write(noise[start : start + length])
    finished(["sync", "-f", str(root)], PATIENCE)
    time.sleep(_SETTLED)
    return root


# Telling.


def _ratios(measured: Measured) -> dict[str, float]:
    """The ratios that have an aim. `x: sync` includes the sync after both."""
    own, own_synced = measured.median("xget"), measured.median("xget") + measured.median("xget: sync")
    ratios = {}
    for tool in ("rsync", "tar"):
        ratios[tool] = measured.median(tool) / own
        ratios[f"{tool}: sync"] = (measured.median(tool) + measured.median(f"{tool}: sync")) / own_synced
    for what, unit in _CHECKS:
        ratios[what] = measured.ratio(what, unit)
    return ratios


_CHECKS = {
    ("client, nothing to do", "find -ls of the copy"): 3.0,
    ("master, digest cache", "find -ls of the tree"): 2.0,
    ("master, no cache", "find -ls of the tree"): None,
}
"""What is compared, and how many times as long the first may take."""


def _table(measured: Measured) -> str:
    ratios = _ratios(measured)
    lines = [
        f"{measured.files:,} files, {measured.size:,} bytes",
        "",
        f"{'first transfer':22} {'seconds':>8} {'from-to':>15} {'and sync':>8}  times xget's  both with sync  aim",
    ]
    for tool, aim in (("xget", None), ("rsync", 5.0), ("tar", 0.5)):
        seconds = measured.median(tool)
        line = f"{tool:22} {seconds:8.2f} {measured.span(tool):>15} {seconds + measured.median(f'{tool}: sync'):8.2f}"
        if aim is not None:
            line += f"  {ratios[tool]:12.2f}  {ratios[f'{tool}: sync']:14.2f}  at least {aim:g}"
        lines.append(line)
    lines += ["", f"{'':22} {'seconds':>8} {'from-to':>15} {'find -ls':>8}  times find's  aim"]
    for (what, unit), most in _CHECKS.items():
        line = f"{what:22} {measured.median(what):8.2f} {measured.span(what):>15} {measured.median(unit):8.2f}"
        lines.append(f"{line}  {ratios[what]:12.2f}" + (f"  under {most:g}" if most else ""))
    lines += ["", f"{'memory at peak':22} {'MiB':>8} {'a file':>8}  aim"]
    lines += [
        f"{process:22} {size / 2**20:8.1f} {size / measured.files:8.0f}  at most {_AIM_MEMORY} bytes a file"
        for process, size in measured.memory.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

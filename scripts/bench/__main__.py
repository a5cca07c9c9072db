"""The command line of the benchmark: which cases, which tools, how often."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

from . import isolation, report
from .cases import Case, Loss, Result
from .payload import expected_size
from .roster import OTHERS, TOOLS
from .tools import Nginx, XGet

_EXAMPLES = """
examples:
  scripts/bench/run --nodes 16,32                          one file of 128 MiB over links of 25 Mbit/s
  scripts/bench/run --nodes 16 --tree 5000                 5,000 files of 4 to 64 KiB
  scripts/bench/run --nodes 16 --every 1 --slow --kill     without conditions, then with each of these conditions
  scripts/bench/run --nodes 4,8,16 --against all           XGet and all other tools that are installed
  scripts/bench/run picture bench-results/*.json --to docs/benchmark.svg
"""


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _tools(text: str) -> list[str]:
    names = OTHERS if text == "all" else [word for word in text.split(",") if word and word != "none"]
    for name in names:
        if name not in TOOLS:
            raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(TOOLS)}")
    return names


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench/run",
        description="Measures the time to copy one payload to N nodes, in units of one curl over one idle link.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--nodes", type=_numbers, default=[16], metavar="N,...", help="number of receiving nodes (16)")
    add("--rate", type=float, default=25.0, metavar="MBIT", help="rate of every link in Mbit/s, in each direction (25)")
    add("--size", type=float, default=128.0, metavar="MIB", help="size of the file in MiB (128)")
    add("--tree", type=int, default=0, metavar="FILES", help="copy this many files of 4 to 64 KiB instead of one file")
    add("--every", type=float, default=0.0, metavar="S", help="also measure: nodes start S seconds apart")
    add("--slow", action="store_true", help="also measure: the link of one node has a tenth of the rate")
    add("--kill", action="store_true", help="also measure: the processes of a quarter of the nodes are killed halfway")
    add(
        "--cut",
        action="store_true",
        help="also measure: the links of a quarter of the nodes are cut halfway, as in a power failure",
    )
    add(
        "--no-plain",
        action="store_true",
        help="do not measure the case without these conditions (--kill then kills after half a unit)",
    )
    add(
        "--against",
        type=_tools,
        default=[],
        metavar="TOOL,...",
        help=f"measure other tools too: {','.join(OTHERS)}, or all",
    )
    add("--only", action="store_true", help="measure only the tools of --against, not XGet")
    add("--repeat", type=int, default=1, metavar="K", help="measure each case K times and print medians (1)")
    add(
        "--limit",
        type=float,
        default=0.0,
        metavar="S",
        help="stop a case after S seconds (10 units per node + 60 s)",
    )
    add("--minutes", type=float, default=120.0, metavar="M", help="start no further case after M minutes (120)")
    return parser


def _conditions(given: argparse.Namespace) -> Iterator[tuple[float, bool, Loss]]:
    if not given.no_plain:
        yield 0.0, False, ""
    if given.every:
        yield given.every, False, ""
    if given.slow:
        yield 0.0, True, ""
    if given.kill:
        yield 0.0, False, "kill"
    if given.cut:
        yield 0.0, False, "cut"


def _cases(given: argparse.Namespace, tools: list[str], unit: float) -> Iterator[Case]:
    """The requested cases, without those that a tool does not support."""
    for nodes in given.nodes:
        for every, slow, loss in _conditions(given):
            for tool in tools:
                if every and TOOLS[tool].needs_all:
                    continue
                limit = given.limit or 60 + unit * (nodes if tool in ("nginx", "rsync") else 10) * 1.5 + every * nodes
                bits, size = int(given.rate * 1e6), int(given.size * 2**20)
                yield Case(tool, nodes, bits, size, given.tree, every, slow, loss, unit / 2 if loss else 0.0, limit)


def _installed(tools: list[str]) -> list[str]:
    """The tools that are installed. For each of the others, prints how to install it."""
    found = []
    for name in tools:
        if package := TOOLS[name].missing():
            print(f"{name} is omitted: not installed (apt-get install {package})", file=sys.stderr)
        else:
            found.append(name)
    return found


def _measure(case: Case, what: str) -> Result:
    print(f"{what}: {case.tool}, N={case.nodes}{', ' * bool(case.condition)}{case.condition} ...", end="", flush=True)
    result = isolation.measure(case)
    print(f" {result.total:.2f} s" if result.total else " -", report.why_invalid(result), flush=True)
    return result


def _unit(run: report.Run, given: argparse.Namespace) -> bool:
    """Measure the unit: one curl, of a file as large as the payload. Returns whether there is a unit now."""
    size = expected_size(int(given.size * 2**20), given.tree)
    ideal = size * 8 / (given.rate * 1e6)
    run.units.append(_measure(Case(Nginx.name, 1, int(given.rate * 1e6), size, limit=60 + 4 * ideal), "unit"))
    run.store()
    return run.unit is not None


def _halfway(case: Case, run: report.Run) -> Case:
    """The same case, with the loss at half the time that the tool needs without it, if that is known."""
    plain = [result.total for result in run.plain(case) if result.total]
    return replace(case, loss_after=plain[-1] / 2) if case.loss and plain else case


def _bench(given: argparse.Namespace, words: list[str]) -> int:
    if why := isolation.obstacle() or (
        TOOLS[Nginx.name].missing()
        and "nginx and curl are required to measure the unit (apt-get install nginx-light curl)"
    ):
        print(f"scripts/bench/run: cannot measure here: {why}", file=sys.stderr)
        return 2
    tools = ([] if given.only else [XGet.name]) + _installed(given.against)
    began = time.monotonic()
    run = report.Run.begin(words)
    for number in range(given.repeat):
        if not _unit(run, given):
            print("the unit could not be measured, see above", file=sys.stderr)
            return 1
        assert run.unit is not None
        for case in _cases(given, tools, run.unit):
            if time.monotonic() - began > given.minutes * 60:
                print(
                    f"omitted because {given.minutes:g} minutes are over: {case.tool}, N={case.nodes} {case.condition}"
                )
                continue
            run.results.append(_measure(_halfway(case, run), f"{number + 1} of {given.repeat}"))
            run.store()
    print(f"\n{report.table(run)}\n\nstored in {run.path}")
    return 0 if all(result.valid for result in (*run.units, *run.results)) else 1


def _picture(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench/run picture", description="Draws the time against the number of nodes."
    )
    parser.add_argument("results", nargs="+", type=Path, help="result files in bench-results")
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("benchmark.svg"),
        help="write to this .svg or .png file (benchmark.svg)",
    )
    given = parser.parse_args(words)
    from scripts.bench import picture  # its packages are needed only here

    try:
        picture.draw([report.Run.load(path) for path in given.results], given.to)
    except (OSError, ValueError, LookupError) as error:
        print(f"scripts/bench/run: no picture: {error}", file=sys.stderr)
        return 1
    print(given.to)
    return 0


def _ended(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main(words: list[str]) -> int:
    # As an exception, so that all running processes are ended.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    try:
        return _picture(words[1:]) if words[:1] == ["picture"] else _bench(_arguments().parse_args(words), words)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

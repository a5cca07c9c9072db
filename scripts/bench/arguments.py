"""The command line of the benchmark: which measurements, which tools, how often."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from .named import NAMED, UNSHAPED, Condition, Measurement
from .roster import OTHERS, TOOLS

_UNITS = {"": 1e6, "mbit": 1e6, "gbit": 1e9}
_LEAST_RATE = 1e5
_EXAMPLES = """
examples:
  scripts/bench/run --case image,start                     these measurements, with the tools that are installed
  scripts/bench/run --case all --minutes 600               all measurements
  scripts/bench/run --case image --nodes 4 --size 8        the same, but smaller, to try it
  scripts/bench/run --case unshaped --rate 10gbit          the same at another rate
  scripts/bench/run --nodes 16,32                          one file of 128 MiB over links of 25 Mbit/s
  scripts/bench/run --nodes 16 --tree 5000                 5,000 files of 4 to 64 KiB
  scripts/bench/run --nodes 16 --every 1 --slow --kill     without conditions, then with each of these conditions
  scripts/bench/run --nodes 4,8,16 --against all           XGet and all other tools that are installed
  scripts/bench/run table bench-results/X.json             the tables of a run again
  scripts/bench/run picture bench-results/*.json --to docs/benchmark.svg

measurements (--case):
"""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(_number, text.split(",")))


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text or 'nothing'} is not a number above 0")
    return int(text)


def _milliseconds(text: str) -> tuple[float, ...]:
    return tuple(_amount(word) / 1000 for word in text.split(","))


def _amount(text: str) -> float:
    if not re.fullmatch(r"\d*\.?\d+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text or 'nothing'} is not an amount, such as 8 or 0.5")
    return float(text)


def rate(text: str) -> int:
    """Bits per second: a number of Mbit/s, or with a unit (25mbit, 10gbit), or `unshaped`."""
    if text == "unshaped":
        return UNSHAPED
    parts = re.fullmatch(r"(\d+(?:\.\d*)?)([a-z]*)", text.lower(), re.ASCII)
    bits = float(parts[1]) * _UNITS.get(parts[2], 0) if parts else 0.0
    if bits < _LEAST_RATE:
        raise argparse.ArgumentTypeError(f"{text} is not a rate, such as 25, 25mbit, 10gbit or unshaped")
    return int(bits)


def _tools(text: str) -> tuple[str, ...]:
    return _known(OTHERS if text == "all" else [word for word in text.split(",") if word != "none"], TOOLS)


def _named(text: str) -> tuple[str, ...]:
    return _known(NAMED if text == "all" else text.split(","), NAMED)


def _known(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name or 'nothing'} is not one of {', '.join(known)}")
    return tuple(names)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="scripts/bench/run",
        description="Measures the time to copy one payload to N nodes, in units of one curl over one idle link.",
        epilog=_EXAMPLES + "\n".join(f"  {name:14} {one.what}" for name, one in NAMED.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--case", type=_named, metavar="NAME,...", help="measure what has these names (see below), or all of it")
    add("--nodes", type=_numbers, metavar="N,...", help="number of receiving nodes (16)")
    add("--rate", type=rate, metavar="RATE", help="rate of every link in each direction: Mbit/s, 10gbit, unshaped (25)")
    add("--size", type=_amount, metavar="MIB", help="size of the file in MiB (128)")
    add("--tree", type=_number, metavar="FILES", help="copy so many files of 4 to 64 KiB instead of one file")
    add("--latency", type=_milliseconds, metavar="MS,...", help="milliseconds one way between any two machines (0)")
    add("--processes", type=_numbers, metavar="N,...", help="worker processes of the head (0: the default of XGet)")
    add("--every", type=_amount, default=0.0, metavar="S", help="also measure: nodes start S seconds apart")
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
        metavar="TOOL,...",
        help=f"measure other tools too: {','.join(OTHERS)}, all or none (those that suit the --case; without it, none)",
    )
    add("--only", action="store_true", help="measure only the tools of --against, not XGet")
    add("--repeat", type=_number, default=1, metavar="K", help="measure each case K times and print medians (1)")
    add(
        "--limit",
        type=_amount,
        default=0.0,
        metavar="S",
        help="stop a case after S seconds (10 units per node + 60 s)",
    )
    add("--minutes", type=_amount, default=120.0, metavar="M", help="start no further case after M minutes (120)")
    return made


def chosen_conditions(given: argparse.Namespace) -> list[Condition]:
    wanted: list[tuple[bool, Condition]] = [
        (not given.no_plain, (0.0, False, "")),
        (bool(given.every), (given.every, False, "")),
        (given.slow, (0.0, True, "")),
        (given.kill, (0.0, False, "kill")),
        (given.cut, (0.0, False, "cut")),
    ]
    return [condition for is_wanted, condition in wanted if is_wanted]


def chosen_measurements(given: argparse.Namespace) -> list[Measurement]:
    """What to measure, with what the options change."""
    options: dict[str, Any] = {
        "nodes": given.nodes,
        "rates": None if given.rate is None else (given.rate,),
        "size": None if given.size is None else int(given.size * 2**20),
        "files": given.tree,
        "latencies": given.latency,
        "processes": given.processes,
        "against": given.against,
    }
    changes = {name: value for name, value in options.items() if value is not None}
    return [replace(one, **changes) for one in ([NAMED[name] for name in given.case or ()] or [Measurement()])]

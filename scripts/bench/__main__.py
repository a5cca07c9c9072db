"""The command of the benchmark: measures what `arguments` says, one case after the other, and prints the tables."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import FrameType

from . import isolation, report, table
from .arguments import chosen_conditions, chosen_measurements, parser
from .cases import Case, Result
from .named import Measurement
from .roster import TOOLS
from .tools import XGet


def _installed(tools: Iterable[str]) -> list[str]:
    """The tools that are installed. For each of the others, prints how to install it."""
    found = []
    for name in tools:
        if package := TOOLS[name].missing():
            print(f"{name} is omitted: not installed (apt-get install {package})", file=sys.stderr)
        else:
            found.append(name)
    return found


class _Bench:
    """One run of the command."""

    def __init__(self, given: argparse.Namespace, words: list[str]) -> None:
        self.run = report.Run.begin(words)
        self._given = given
        self._measurements = chosen_measurements(given)
        self._ends = time.monotonic() + given.minutes * 60
        wanted = dict.fromkeys(tool for one in self._measurements for tool in (one.unit, *one.against))
        self._installed = _installed(wanted)

    def measure(self) -> None:
        for number in range(self._given.repeat):
            units: set[Case] = set()
            for measurement in self._measurements:
                for group in measurement.groups():
                    if group not in units:
                        self._unit(measurement, group)
                        units.add(group)
                    self._cases(measurement, group, f"{number + 1} of {self._given.repeat}")

    def _unit(self, measurement: Measurement, group: Case) -> None:
        if self._has_time(what := f"unit of {group.payload}, {group.link}"):
            result = self._measure(measurement.unit_of(group), what)
            self.run.units.append(report.Unit(group, result))
            self.run.store()

    def _cases(self, measurement: Measurement, group: Case, what: str) -> None:
        unit = self.run.unit(group)
        if unit is None:
            return
        tools = [tool for tool in measurement.against if tool in self._installed]
        if not self._given.only:
            tools.insert(0, XGet.name)
        for case in measurement.cases(group, unit, tools, chosen_conditions(self._given), self._given.limit):
            if self._has_time(f"{what}: {table.title(case)}"):
                self.run.results.append(self._measure(self._halfway(case), what))
                self.run.store()

    def _has_time(self, what: str) -> bool:
        if time.monotonic() < self._ends:
            return True
        print(f"omitted because {self._given.minutes:g} minutes are over: {what}")
        return False

    def _halfway(self, case: Case) -> Case:
        """The same case, with the loss at half the time that the tool needs without it, if that is known."""
        plain = [result.total for result in self.run.plain(case) if result.total]
        return replace(case, loss_after=plain[-1] / 2) if case.loss and plain else case

    def _measure(self, case: Case, what: str) -> Result:
        print(f"{what}: {table.title(case)} ...", end="", flush=True)
        result = isolation.measure(case)
        print(f" {result.total:.2f} s" if result.total else " -", result.limit or table.why_invalid(result), flush=True)
        return result


def _bench(given: argparse.Namespace, words: list[str]) -> int:
    why = isolation.obstacle()
    for unit in {one.unit for one in chosen_measurements(given)}:
        if package := TOOLS[unit].missing():
            why = why or f"{unit} is required to measure the unit (apt-get install {package})"
    if why:
        print(f"scripts/bench/run: cannot measure here: {why}", file=sys.stderr)
        return 2
    bench = _Bench(given, words)
    bench.measure()
    run = bench.run
    print(f"\n{table.table(run)}\n\nstored in {run.path}")
    return 0 if all(result.valid for result in (*(unit.result for unit in run.units), *run.results)) else 1


def _table(words: list[str]) -> int:
    arguments = argparse.ArgumentParser(prog="scripts/bench/run table", description="Prints the tables of a run again.")
    arguments.add_argument("result", type=Path, help="result file in bench-results")
    arguments.add_argument("--into", type=Path, metavar="FILE", help="replace the tables in this document instead")
    given = arguments.parse_args(words)
    try:
        text = table.table(report.Run.load(given.result))
        if given.into:
            table.into(given.into, text)
        else:
            print(text)
    except (OSError, ValueError, LookupError) as error:
        print(f"scripts/bench/run: no table: {error}", file=sys.stderr)
        return 1
    return 0


def _picture(words: list[str]) -> int:
    arguments = argparse.ArgumentParser(
        prog="scripts/bench/run picture", description="Draws the time against the number of nodes."
    )
    arguments.add_argument("results", nargs="+", type=Path, help="result files in bench-results")
    arguments.add_argument(
        "--to",
        type=Path,
        default=Path("benchmark.svg"),
        help="write to this .svg or .png file (benchmark.svg)",
    )
    given = arguments.parse_args(words)
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
        if words[:1] == ["picture"]:
            return _picture(words[1:])
        if words[:1] == ["table"]:
            return _table(words[1:])
        return _bench(parser().parse_args(words), words)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

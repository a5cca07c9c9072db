"""Results, stored as JSON: one file a run. `table` and `picture` show them."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from .cases import FULL, Case, Result
from .roster import TOOLS
from .tools import CHECKOUT

DIRECTORY = CHECKOUT / "bench-results"


def this_machine() -> dict[str, Any]:
    """What a result depends on."""
    return {"processors": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}


def now() -> str:
    """When a run starts: ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def result_path(started: str, directory: Path = DIRECTORY) -> Path:
    """Where this process stores its result: each kind of results has a directory of its own."""
    return directory / f"{started.replace(':', '').replace('+0000', 'Z')}-{os.getpid()}.json"


def write(path: Path, values: dict[str, Any]) -> Path:
    """Store a result, whole or not at all. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path


@dataclass(frozen=True, slots=True)
class Unit:
    """What is 1.0 for a group of cases (`Case.group`)."""

    group: Case
    result: Result

    @classmethod
    def decode(cls, values: dict[str, Any]) -> Self:
        return cls(Case(**values["group"]), Result.decode(values["result"]))


@dataclass
class Run:
    """All that one command measured."""

    command: list[str]
    units: list[Unit] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    started: str = ""

    @classmethod
    def begin(cls, command: Sequence[str]) -> Self:
        return cls(list(command), machine=this_machine(), started=now())

    @property
    def path(self) -> Path:
        return result_path(self.started)

    def store(self) -> Path:
        """Write what there is so far, whole or not at all."""
        return write(self.path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises OSError, and ValueError or LookupError for what is no run."""
        values = json.loads(path.read_text(encoding="utf-8"))
        try:
            units = [Unit.decode(one) for one in values["units"]]
            results = [Result.decode(one) for one in values["results"]]
            return cls(values["command"], units, results, values["machine"], values["started"])
        except TypeError as error:
            raise ValueError(f"{path} is not a result of this version") from error

    def groups(self) -> list[Case]:
        """In the order in which they were measured."""
        return list(dict.fromkeys([*(unit.group for unit in self.units), *(one.case.group() for one in self.results)]))

    def units_of(self, case: Case) -> list[Result]:
        """The results that are 1.0 for a case."""
        return [unit.result for unit in self.units if unit.group == case.group()]

    def unit(self, case: Case) -> float | None:
        """The unit of a case in seconds: the median. None if none succeeded."""
        taken = [result.total for result in self.units_of(case) if result.total is not None and not result.failures]
        return statistics.median(taken) if taken else None

    def plain(self, case: Case) -> list[Result]:
        """Results of the same case without any special condition."""
        return [
            result
            for result in self.results
            if result.case.plain() == case.plain() and not (result.case.every or result.case.slow or result.case.loss)
        ]


def medians(results: Iterable[Result]) -> list[Result]:
    """For every case the result in the middle; those that failed count as slowest."""
    cases: dict[Case, list[Result]] = {}
    for result in results:
        # What is not a condition of the measurement differs a little from one time to the next.
        cases.setdefault(replace(result.case, loss_after=0.0, limit=0.0), []).append(result)
    ordered = (sorted(several, key=lambda one: (bool(one.failures), one.total or 0)) for several in cases.values())
    return [several[(len(several) - 1) // 2] for several in ordered]


Curves = dict[str, dict[int, float]]
"""Multiple of the unit by tool and number of nodes."""


def curves(runs: Sequence[Run]) -> Curves:
    """The medians of all valid plain results that the processors did not limit. Raises ValueError where runs differ in
    what they brought, or how."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    payloads = {result.case.group() for run in runs for result in run.results}
    if len(payloads) != 1:
        raise ValueError(
            "these runs have different rates or payloads, or no results: they cannot be shown in one picture"
        )
    for run in runs:
        for result in run.results:
            unit = run.unit(result.case)
            if result.valid and result.busy <= FULL and result.total and unit and not result.case.condition:
                found[result.case.tool][result.case.nodes].append(result.total / unit)
    return {
        tool: {nodes: statistics.median(several) for nodes, several in sorted(found[tool].items())}
        for tool in TOOLS
        if tool in found
    }

"""Results: stored as JSON, one file a run, and shown as a table in units of one link."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from .cases import BUSY_LIMIT, Case, Result
from .roster import TOOLS
from .tools import CHECKOUT

DIRECTORY = CHECKOUT / "bench-results"
_HEADINGS = ("tool", "N", "condition", "all", "median", "slowest", "copies", "cpu", "memory", "busy", "")
_LEFT = ("tool", "condition", "")
_LEGEND = """\
all      time from the first start until the last node is complete, in units; killed and cut off nodes are not counted
median   time of a node from its own start; killed, cut off and slow nodes are not counted. The same for `slowest`
copies   bytes sent over the head's link, divided by bytes of content; one copy with headers is 1.05
cpu      processor seconds: master/workers/all clients/network stack of the kernel (of the whole machine)
memory   peak MiB of one process: head/client
busy     load of all processors; in brackets: the share of intervals of 0.5 s in which no processor was idle"""


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


@dataclass
class Run:
    """All that one command measured."""

    command: list[str]
    units: list[Result] = field(default_factory=list)
    """One curl from nginx over one idle link."""
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
        return write(self.path, asdict(self) | {"unit": self.unit})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises OSError, and ValueError or LookupError for what is no run."""
        values = json.loads(path.read_text(encoding="utf-8"))
        units, results = ([Result.decode(one) for one in values[key]] for key in ("units", "results"))
        return cls(values["command"], units, results, values["machine"], values["started"])

    @property
    def unit(self) -> float | None:
        """The unit in seconds: the median of the curls. None if none succeeded."""
        taken = [result.total for result in self.units if result.total is not None and not result.failures]
        return statistics.median(taken) if taken else None

    def plain(self, case: Case) -> list[Result]:
        """Valid results of the same case without any special condition."""
        return [result for result in self.results if result.case.plain() == case.plain() == result.case]


def why_invalid(result: Result) -> str:
    """Why a result must not be quoted; empty if it is valid."""
    if result.failures:
        more = f" (and {len(result.failures) - 1} more)" if len(result.failures) > 1 else ""
        return f"FAILED: {result.failures[0]}{more}"
    return "" if result.valid else f"INVALID: processors {result.busy:.0%} busy, they may have been the limit"


def table(run: Run) -> str:
    """The run as a table. Of a case that ran more than once, the median run is shown."""
    if run.unit is None:
        return f"no unit: {why_invalid(run.units[-1]) if run.units else 'not measured'}"
    medians = _medians(run.results)
    rows = [_HEADINGS, *(_row(run, run.unit, result) for result in medians)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if heading in _LEFT else text.rjust(width)
            for text, width, heading in zip(row, widths, _HEADINGS, strict=True)
        ).rstrip()
        for row in rows
    ]
    wrong = [f"{_title(one.case)}: {why_invalid(one)}" for one in medians if one.failures]
    if any(not one.valid and not one.failures for one in (*medians, *run.units)):
        wrong.append(
            f"INVALID: processors more than {BUSY_LIMIT:.0%} busy, they may have been the limit"
            " (use a lower --rate or fewer --nodes, or stop other programs)"
        )
        wrong += ["this applies to the unit, too"] if not all(unit.valid for unit in run.units) else []
    unit = f"1.0 = {run.unit:.2f} s, one curl of the same content over one idle link (median of {len(run.units)})"
    return "\n".join([*lines, "", unit, *_comparisons(run, medians), *wrong, "", _LEGEND])


def _title(case: Case) -> str:
    return f"{case.tool}, N={case.nodes}{', ' * bool(case.condition)}{case.condition}"


def _medians(results: Iterable[Result]) -> list[Result]:
    """For every case the result in the middle; those that failed count as slowest."""
    cases: dict[Case, list[Result]] = {}
    for result in results:
        cases.setdefault(result.case, []).append(result)
    ordered = (sorted(several, key=lambda one: (bool(one.failures), one.total or 0)) for several in cases.values())
    return [several[(len(several) - 1) // 2] for several in ordered]


def _row(run: Run, unit: float, result: Result) -> tuple[str, ...]:
    case, times = result.case, result.times()
    seconds = [*(result.cpu.get(kind, 0.0) for kind in ("master", "worker", "client")), result.softirq]
    cpu = "/".join(f"{one:.1f}" for one in seconds)
    head = max(result.memory.get("master", 0), result.memory.get("worker", 0))
    memory = "/".join(f"{size / 2**20:.0f}" for size in (head, result.memory.get("client", 0)))
    busy = f"{result.busy:.0%} ({result.saturated:.0%})"
    multiples = (
        f"{result.total / unit:.2f}" if result.total else "-",
        f"{statistics.median(times) / unit:.2f}" if times else "-",
        f"{times[-1] / unit:.2f}" if len(times) == len(case.ordinary) else "-",
    )
    verdict = "" if result.valid else why_invalid(result).partition(":")[0]
    return (case.tool, str(case.nodes), case.condition, *multiples, f"{result.copies:.2f}", cpu, memory, busy, verdict)


def _comparisons(run: Run, medians: list[Result]) -> list[str]:
    """How much a slow link or lost nodes cost the others."""
    lines = []
    for result in medians:
        case = result.case
        plain = _medians(run.plain(case))
        if not (case.slow or case.loss) or not plain or len(result.times()) < len(case.ordinary):
            continue
        without = [taken for node in case.ordinary if (taken := plain[0].seconds[node]) is not None]
        if without:
            ratio = result.times()[-1] / max(without)
            lines.append(f"{_title(case)}: the other nodes took {ratio:.2f} times as long as without it")
    return lines


Curves = dict[str, dict[int, float]]
"""Multiple of the unit by tool and number of nodes."""


def curves(runs: Sequence[Run]) -> Curves:
    """The medians of all valid plain results. Raises ValueError where runs differ in what they brought, or how."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    payloads = {(result.case.rate, result.case.size, result.case.files) for run in runs for result in run.results}
    if len(payloads) != 1:
        raise ValueError(
            "these runs have different rates or payloads, or no results: they cannot be shown in one picture"
        )
    for run in runs:
        for result in run.results:
            if result.valid and result.total and run.unit and not result.case.condition:
                found[result.case.tool][result.case.nodes].append(result.total / run.unit)
    return {
        tool: {nodes: statistics.median(several) for nodes, several in sorted(found[tool].items())}
        for tool in TOOLS
        if tool in found
    }

"""Results as tables in Markdown, which can be read on a terminal, and put into a document.

One table for each payload and network. The unit stands in its first row. A document has a place for them between two
comments; `into` replaces what is there.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from .cases import Case, Result
from .report import Run, medians

_HEADINGS = (
    *("tool", "N", "condition", "time", "seconds", "median", "slowest", "copies", "wire"),
    *("CPU s/client", "CPU s/GiB", "memory", "busy", "link/CPU/latency", "limited by"),
)
_LEFT = ("tool", "condition", "limited by")
LEGEND = """\
- time: from the first start until the last node is complete, in units, and in seconds. Killed and cut off nodes are not
  counted.
- median, slowest: time of a node from its own start, in units. Killed, cut off and slow nodes are not counted.
- copies: bytes sent over the head's link, divided by bytes of content. One copy with headers is 1.05.
- wire: bytes that all machines sent, divided by the number of nodes and by the bytes of content; in an update, by the
  bytes of the files that have changed.
- CPU s/client: processor seconds of the processes of a node, until the last node was complete.
- CPU s/GiB: processor seconds of the processes of the head and all nodes, for each GiB that a node has got; not for
  less than 1 MiB.
- memory: peak MiB of one process, head/client.
- busy: load of all processors of this machine.
- link/CPU/latency: percent of the time of the last node. Link: its link received, or the head's link sent, at its full
  rate. CPU: of the rest, its processes, or one of the head, ran or waited for a processor. Latency: neither, so it
  waited for answers. In short intervals, parts of them are counted.
- limited by: link, if that is at least 90 %; else the larger of the other two."""
_BULK = 1 << 20
"""Bytes of content from which on it says something what a GiB of it would need."""
_DISTURBED = 0.1
"""Share of all processors that other programs may use."""
_BEGIN, _END = "<!-- scripts/bench/run table: begin -->", "<!-- scripts/bench/run table: end -->"


def table(run: Run) -> str:
    """The whole run. Of a case that ran more than once, the median run is shown."""
    blocks = [_group(run, group) for group in run.groups()]
    shown = medians(run.results)
    said = [*_comparisons(run, shown), *_round_trips([*medians(unit.result for unit in run.units), *shown])]
    said += _disturbed(run, shown)
    wrong = [f"{title(one.case)}: {why_invalid(one)}" for one in shown if not one.valid]
    notes = "\n".join(f"- {line}" for line in (*said, *wrong))
    return "\n\n".join(block for block in (*blocks, notes, LEGEND) if block)


def title(case: Case) -> str:
    """A case in a few words, without its payload."""
    return f"{case.tool}, N={case.nodes}{', ' * bool(case.condition)}{case.condition}"


def why_invalid(result: Result) -> str:
    """Why a result must not be quoted; empty if it is valid."""
    if result.valid:
        return ""
    more = f" (and {len(result.failures) - 1} more)" if len(result.failures) > 1 else ""
    return f"FAILED: {result.failures[0] if result.failures else 'no node was done'}{more}"


def into(document: Path, text: str) -> None:
    """Replace the tables in a document. Raises OSError, and ValueError if it has no place for them."""
    before, begin, rest = document.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{document} has no lines {_BEGIN} and {_END}")
    document.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", encoding="utf-8")


def _group(run: Run, group: Case) -> str:
    """The table of one payload and network."""
    unit, units = run.unit(group), run.units_of(group)
    heading = f"{group.payload}, {group.link}"
    if unit is None:
        return f"{heading}: no unit: {why_invalid(units[-1]) if units else 'not measured'}"
    how = "one rsync" if units[0].case.tool == "rsync" else "one curl of as much in one file"
    measured = f"{heading}: 1.0 is {unit:.3g} s, {how} over one idle link (median of {len(units)})."
    shown = [*medians(units), *medians(one for one in run.results if one.case.group() == group)]
    rows = [_HEADINGS, *(_row(unit, result, is_unit=number == 0) for number, result in enumerate(shown))]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| "
        + " | ".join(
            text.ljust(width) if heading in _LEFT else text.rjust(width)
            for text, width, heading in zip(row, widths, _HEADINGS, strict=True)
        )
        + " |"
        for row in rows
    ]
    ruler = (
        "-" * width if heading in _LEFT else "-" * (width - 1) + ":"
        for heading, width in zip(_HEADINGS, widths, strict=True)
    )
    return "\n".join([measured, "", lines[0], "| " + " | ".join(ruler) + " |", *lines[1:]])


def _row(unit: float, result: Result, *, is_unit: bool) -> tuple[str, ...]:
    case, times = result.case, result.times()
    head = max(result.memory.get("master", 0), result.memory.get("worker", 0))
    shares = result.shares
    return (
        case.tool + " (unit)" * is_unit,
        str(case.nodes),
        case.condition,
        f"{result.total / unit:.2f}" if result.total else "-",
        f"{result.total:.3g}" if result.total else "-",
        f"{statistics.median(times) / unit:.2f}" if times else "-",
        f"{times[-1] / unit:.2f}" if len(times) == len(case.ordinary) else "-",
        f"{result.copies:.2f}",
        f"{result.wire:.3f}",
        f"{result.processor_a_client:.2f}",
        f"{result.processor_a_gib:.3g}" if result.payload >= _BULK else "-",
        "/".join(f"{size / 2**20:.0f}" for size in (head, result.memory.get("client", 0))),
        f"{result.busy:.0%}",
        "/".join(f"{share:.0%}"[:-1] for share in (shares.link, shares.processor, shares.latency)) if shares else "-",
        result.limit if result.valid else "FAILED",
    )


def _comparisons(run: Run, shown: Iterable[Result]) -> list[str]:
    """How much a slow link or lost nodes cost the others."""
    lines = []
    for result in shown:
        case = result.case
        plain = medians(run.plain(case))
        if not (case.slow or case.loss) or not plain or len(result.times()) < len(case.ordinary):
            continue
        without = [taken for node in case.ordinary if (taken := plain[0].seconds[node]) is not None]
        if without:
            ratio = result.times()[-1] / max(without)
            lines.append(f"{title(case)}: the other nodes took {ratio:.2f} times as long as without it")
    return lines


def _disturbed(run: Run, shown: Iterable[Result]) -> list[str]:
    """Whether the figures say something about this machine rather than about the tools."""
    processors = run.machine["processors"]
    shares = [one.others(processors) for one in (*(unit.result for unit in run.units), *shown)]
    disturbed = [share for share in shares if share > _DISTURBED]
    if not disturbed:
        return []
    return [
        f"DISTURBED: other programs used up to {max(disturbed):.0%} of the processors during {len(disturbed)} of"
        f" {len(shares)} measurements; stop them, and measure again"
    ]


def _round_trips(shown: Iterable[Result]) -> list[str]:
    """How many round trips one after the other explain what latency costs."""

    def alike(result: Result) -> tuple[str, str, int]:
        return title(result.case), result.case.payload, result.case.rate

    lines = []
    for _, several in groupby(sorted((one for one in shown if one.total), key=alike), alike):
        ordered = sorted(several, key=lambda one: one.case.latency)
        first, last = ordered[0], ordered[-1]
        more = last.case.latency - first.case.latency
        if more and first.total and last.total:
            trips = (last.total - first.total) / (2 * more)
            lines.append(
                f"{title(first.case)}, {first.case.payload}: {trips:.1f} round trips one after the other"
                f" ({first.total:.3g} s with {first.case.latency * 1e3:g} ms one way,"
                f" {last.total:.3g} s with {last.case.latency * 1e3:g} ms)"
            )
    return lines

"""What is made of results: what limited them, tables, pictures, and the measurements that have a name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from argparse import ArgumentTypeError
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from scripts.bench import report, table
from scripts.bench.arguments import chosen_measurements, parser, rate
from scripts.bench.cases import Case, Result, Shares
from scripts.bench.limits import Limits
from scripts.bench.named import NAMED
from scripts.bench.network import Traffic
from scripts.bench.roster import TOOLS
from scripts.bench.tools import CHECKOUT

RATE = 8_000_000
"""A million bytes a second."""
CASE = Case("xget", 2, RATE, 1 << 20)


def result(case: Case = CASE, total: float | None = 1.0, **changes: Any) -> Result:
    return replace(Result(case, [total] * case.nodes, total, case.size, busy=0.5), **changes)


def unit(case: Case = CASE, total: float | None = 1.0, **changes: Any) -> report.Unit:
    return report.Unit(case.group(), result(replace(case, tool="nginx", nodes=1), total, **changes))


def run_of(*results: Result, units: list[report.Unit]) -> report.Run:
    return report.Run([], units, list(results), {"processors": 2})


def rows(text: str) -> list[list[str]]:
    """The cells of all rows, without headings."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in cells if row[1].isdecimal()]


# What limited it.


def shares(
    *looks: tuple[int, int, dict[int, tuple[str, float]]], rates: dict[str, int] | None = None, seconds: float = 1.0
) -> Shares | None:
    """Of node0, after looks that are some seconds apart: bytes that the head has sent and the node has received, and
    what processes have wanted."""
    none = Traffic(0, 0)
    limits = Limits(rates or {"head": RATE, "node0": RATE}, {"head": none, "node0": none}, {}, 0.0)
    for number, (sent, received, wanted) in enumerate(looks, 1):
        limits.look(["node0"], {"head": Traffic(sent, 0), "node0": Traffic(0, received)}, wanted, number * seconds)
    return limits.shares("node0")


MILLION = 1_000_000


def test_a_full_link_is_the_limit_whatever_the_processors_do() -> None:
    found = shares((MILLION, MILLION, {7: ("node0", 1.0)}))
    assert found == Shares(1.0, 0.0, 0.0)
    assert found.limit == "link"


def test_the_link_of_the_head_counts_too() -> None:
    found = shares((MILLION, 10, {}))
    assert found is not None
    assert found.limit == "link"


def test_of_the_time_without_the_link_processes_have_the_part_for_which_they_wanted_a_processor() -> None:
    found = shares((0, MILLION // 2, {7: ("node0", 0.3), 8: ("node0", 0.3)}), (0, MILLION // 2, {7: ("node0", 0.3)}))
    assert found == Shares(0.25, 0.15, 0.6)
    assert found.limit == "latency"


def test_processes_of_the_head_do_not_add_up_since_each_has_its_own_processor() -> None:
    found = shares((0, 0, {1: ("head", 0.4), 2: ("head", 0.7)}))
    assert found == Shares(0.0, 0.7, 0.3)
    assert found.limit == "processor"


def test_more_than_one_processor_is_one() -> None:
    assert shares((0, 0, {7: ("node0", 3.0)})) == Shares(0.0, 1.0, 0.0)


def test_a_link_without_a_limit_is_never_the_limit() -> None:
    found = shares((MILLION, MILLION, {}), rates={"head": 0, "node0": 0})
    assert found == Shares(0.0, 0.0, 1.0)


def test_what_a_process_did_before_the_measurement_does_not_count() -> None:
    none = {"head": Traffic(0, 0), "node0": Traffic(0, 0)}
    limits = Limits({"head": RATE, "node0": RATE}, none, {1: ("head", 50.0)}, 0.0)
    assert limits.shares("node0") is None
    limits.look(["node0"], none, {1: ("head", 50.25)}, 1.0)
    assert limits.shares("node0") == Shares(0.0, 0.25, 0.75)


def test_a_node_that_is_done_waits_for_nothing() -> None:
    none = {name: Traffic(0, 0) for name in ("head", "node0", "node1")}
    limits = Limits(dict.fromkeys(none, RATE), none, {}, 0.0)
    limits.look(["node0", "node1"], none | {"node0": Traffic(0, MILLION)}, {}, 1.0)
    limits.look(["node1"], none | {"node0": Traffic(0, MILLION)}, {}, 2.0)
    assert limits.shares("node0") == Shares(1.0, 0.0, 0.0)
    assert limits.shares("node1") == Shares(0.0, 0.0, 1.0)


# Results.


def test_a_result_survives_being_stored() -> None:
    stored = result(cpu={"client": 1.5}, shares=Shares(0.5, 0.25, 0.25), failures=["x"])
    assert Result.decode(json.loads(stored.encode())) == stored
    assert Result.decode(json.loads(result().encode())) == result()


def test_failures_make_a_result_invalid_and_busy_processors_do_not() -> None:
    assert result(busy=1.0).valid
    assert not result(failures=["node0 lied"]).valid
    assert not result(total=None).valid


def test_bytes_and_processor_seconds_are_for_each_node() -> None:
    one = result(head_sent=3 << 20, sent=4 << 20, cpu={"client": 6.0, "worker": 1.0, "master": 1.0, "benchmark": 9.0})
    assert (one.copies, one.wire, one.processor_a_client) == (3.0, 2.0, 3.0)
    assert one.processor_a_gib == 8.0 / (2 / 1024)


# Tables.


def test_the_table_shows_multiples_of_the_unit_and_the_cost_of_a_slow_node() -> None:
    case = replace(CASE, nodes=4)
    slow = replace(case, slow=True)
    run = run_of(
        result(case, 3.0), Result(slow, [3.3, 3.3, 3.3, 20.0], 20.0, case.size, busy=0.5), units=[unit(total=2.0)]
    )
    shown = table.table(run)
    first, plain, slowed = rows(shown)
    assert first[:5] == ["nginx (unit)", "1", "", "1.00", "2"]
    assert plain[:7] == ["xget", "4", "", "1.50", "3", "1.50", "1.50"]
    assert slowed[:7] == ["xget", "4", "one slow", "10.00", "20", "1.65", "1.65"]
    assert "the other nodes took 1.10 times as long as without it" in shown


def test_payloads_and_networks_have_tables_and_units_of_their_own() -> None:
    later, other = replace(CASE, latency=0.01), replace(CASE, size=1 << 21)
    units = [unit(total=2.0), unit(later, 4.0), unit(other, 8.0)]
    shown = table.table(run_of(result(), result(later, 8.0), result(other, 4.0), units=units))
    assert [row[3] for row in rows(shown) if row[0] == "xget"] == ["0.50", "2.00", "0.50"]
    for heading in (
        "1 MiB, 8 Mbit/s: 1.0 is 2 s",
        "1 MiB, 8 Mbit/s, 10 ms one way: 1.0 is 4 s",
        "2 MiB, 8 Mbit/s: 1.0 is 8 s",
    ):
        assert heading in shown


def test_two_latencies_give_the_number_of_round_trips() -> None:
    later = replace(CASE, latency=0.01)
    shown = table.table(run_of(result(total=1.0), result(later, 1.12), units=[unit(), unit(later)]))
    assert "xget, N=2, one file of 1 MiB: 6.0 round trips one after the other" in shown


def test_of_several_runs_the_median_is_shown() -> None:
    run = run_of(*(result(replace(CASE, limit=seconds), seconds) for seconds in (9.0, 1.0, 2.0)), units=[unit()])
    assert [row[3] for row in rows(table.table(run))] == ["1.00", "2.00"]


def test_other_programs_are_told() -> None:
    """Of two processors, which were 90 % busy for 10 s, ours had 5 s."""
    ours = {"client": 4.0, "benchmark": 0.5}
    run = run_of(result(total=10.0, busy=0.9, cpu=ours, softirq=0.5), units=[unit(busy=0.0)])
    assert "other programs used up to 65% of the processors during 1 of 2 measurements" in table.table(run)
    assert "DISTURBED" not in table.table(run_of(result(busy=0.05), units=[unit(busy=0.0)]))


def test_a_small_content_has_no_figure_for_a_gibibyte() -> None:
    small = replace(CASE, size=10 << 10)
    used = {"client": 2.0}
    assert rows(table.table(run_of(result(cpu=used), units=[unit()])))[1][9:11] == ["1.00", "1.02e+03"]
    assert rows(table.table(run_of(result(small, cpu=used), units=[unit(small)])))[1][9:11] == ["1.00", "-"]


def test_without_a_unit_the_table_says_why() -> None:
    run = run_of(units=[unit(total=None, failures=["nginx is gone"])])
    assert "no unit: FAILED: nginx is gone" in table.table(run)


def test_a_stored_run_is_shown_the_same_and_put_into_a_document(tmp_path: Path) -> None:
    run = run_of(result(shares=Shares(0.5, 0.25, 0.25)), units=[unit()])
    stored = report.write(tmp_path / "run.json", asdict(run))
    document = tmp_path / "document.md"
    document.write_text(f"before\n{table._BEGIN}\nold\n{table._END}\nafter\n")
    command = [sys.executable, "-m", "scripts.bench", "table", str(stored), "--into", str(document)]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=60)
    text = document.read_text()
    assert table.table(run) in text
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    document.write_text("no place")
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_picture_is_made_of_plain_results_of_one_payload_that_the_processors_did_not_limit() -> None:
    run = run_of(
        *(result(total=seconds) for seconds in (3.0, 4.0, 9.0)),
        result(total=1.0, failures=["truncated"]),
        result(total=1.0, busy=0.95),
        result(replace(CASE, slow=True), 1.0),
        result(replace(CASE, tool="rsync", nodes=4), 8.0),
        units=[unit(total=2.0)],
    )
    assert report.curves([run]) == {"xget": {2: 2.0}, "rsync": {4: 4.0}}
    run.results.append(result(replace(CASE, size=1)))
    with pytest.raises(ValueError, match="different"):
        report.curves([run])


# What is measured.


@pytest.mark.parametrize(
    ("text", "bits"),
    [("25", 25_000_000), ("0.5", 500_000), ("25mbit", 25_000_000), ("10Gbit", 10_000_000_000), ("unshaped", 0)],
)
def test_a_rate_is_a_number_of_megabits_or_has_a_unit(text: str, bits: int) -> None:
    assert rate(text) == bits


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "1e9", "nan", "10kbit", ".", "1.2.3"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a rate"):
        rate(text)


@pytest.mark.parametrize(
    "words", ["--nodes 0", "--nodes x,2", "--size -1", "--case gone", "--against gone", "--latency x"]
)
def test_a_bad_argument_is_named_in_the_last_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words.split())
    assert ended.value.code == 2
    option, value = words.split()
    last = capsys.readouterr().err.splitlines()[-1]
    assert option in last
    assert value.split(",")[0] in last


@pytest.mark.parametrize("name", NAMED)
def test_every_named_measurement_has_a_unit_and_cases_with_xget_first(name: str) -> None:
    measurement = NAMED[name]
    for group in measurement.groups():
        assert group.group() == group, "its results would find no unit"
        one = measurement.unit_of(group)
        assert (one.nodes, one.rate, one.latency) == (1, group.rate, group.latency)
        cases = list(measurement.cases(group, 1.0, ["xget", *measurement.against], [(0.0, False, "")], 0.0))
        assert cases[0].tool == "xget"
        assert {case.nodes for case in cases} == set(measurement.nodes)
        assert {case.group() for case in cases} == {group}
        assert {case.tool for case in cases} == {"xget", *measurement.against}, "a tool that is never measured"


def test_options_change_a_named_measurement() -> None:
    words = "--case image,update-many --nodes 2 --size 8 --tree 100 --rate 10gbit --latency 1,20 --against none"
    image, update = chosen_measurements(parser().parse_args(words.split()))
    assert (image.nodes, image.size, image.latencies, image.against) == ((2,), 8 << 20, (0.001, 0.02), ())
    assert image.rates == update.rates == (10_000_000_000,)
    (group, _) = update.groups()
    assert (group.files, group.changed) == (100, 100), "more cannot change than there are"
    assert update.unit == "rsync"


def test_tools_are_not_asked_for_what_they_cannot_do() -> None:
    def tools(name: str, conditions: Any = ((0.0, False, ""),), **changes: Any) -> set[tuple[str, int]]:
        measurement = replace(NAMED[name], **changes)
        cases = measurement.cases(next(measurement.groups()), 1.0, list(TOOLS), conditions, 0.0)
        return {(case.tool, case.processes) for case in cases}

    multicast = {("udpcast", 0), ("uftp", 0)}
    assert multicast <= tools("image")
    assert not multicast & tools("image", conditions=((1.0, False, ""),)), "all nodes must be there from the begin"
    assert not multicast & tools("unshaped"), "they must be told a rate"
    assert ("nginx", 0) not in tools("update")
    assert {("xget", 1), ("xget", 2), ("xget", 4)} == {one for one in tools("processes") if one[0] == "xget"}
    assert not [one for one in tools("processes") if not one[0].startswith("xget")]


def test_the_help_lists_every_named_measurement() -> None:
    shown = parser().format_help()
    assert [name for name in NAMED if not re.search(rf"^  {name} ", shown, re.MULTILINE)] == []

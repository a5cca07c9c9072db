"""Findings as lines and as JSON, the exit status of all, and the deadline of what may block."""

from __future__ import annotations

import ast
import json
import re
import threading

import pytest

from test.support.cluster import ROOT
from xget_lib.doctor.findings import exit_status, note, ok, problem, summary, summary_as_json, within
from xget_lib.errors import Exit


def test_a_finding_is_one_line() -> None:
    assert ok("name", "head is 10.0.0.1").line == "ok       name          head is 10.0.0.1"
    line = problem("port", "refused", "start it", Exit.UNREACHABLE).line
    assert line == "PROBLEM  port          refused (start it)"


def test_a_problem_as_json_has_what_to_do_and_an_exit_status() -> None:
    facts = {"check": "port", "result": "problem", "what": "refused", "do": "start it", "exit": 3}
    assert json.loads(problem("port", "refused", "start it", Exit.UNREACHABLE).as_json()) == facts
    assert json.loads(ok("user", "root").as_json()) == {"check": "user", "result": "ok", "what": "root"}
    assert json.loads(note("user", "x", "y").as_json())["do"] == "y"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], Exit.OK),
        ([Exit.FAILED], Exit.FAILED),
        ([Exit.DESTINATION, Exit.FAILED], Exit.DESTINATION),
        ([Exit.DESTINATION, Exit.UNREACHABLE], Exit.UNREACHABLE),
        ([Exit.NOT_ADMITTED, Exit.DESTINATION, Exit.USAGE], Exit.USAGE),
    ],
)
def test_the_exit_status_is_that_of_the_first_problem_that_a_run_would_meet(
    statuses: list[Exit], expected: Exit
) -> None:
    found = [ok("a", "b"), note("c", "d"), *(problem("e", "f", "g", status) for status in statuses)]
    assert exit_status(found) == expected


def test_the_summary_counts() -> None:
    found = [ok("a", "b"), note("c", "d"), problem("e", "f", "g", Exit.DESTINATION)]
    assert summary(found) == "1 problem, 1 note, 1 ok"
    assert json.loads(summary_as_json(found)) == {"exit": 6, "problems": 1, "notes": 1, "ok": 1}


def test_what_blocks_is_given_up_and_what_fails_fails() -> None:
    released = threading.Event()
    try:
        with pytest.raises(TimeoutError):
            within(0.01, released.wait)
    finally:
        released.set()
    assert within(20, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(20, lambda: 1 // 0)


def test_every_check_has_a_row_in_the_manual_and_every_row_a_check() -> None:
    made = set()
    for path in (ROOT / "xget_lib/doctor").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name in ("ok", "note", "problem"):
                made.add(ast.literal_eval(node.args[0]))
            elif isinstance(node, ast.Call) and name == "replace":
                made.update(ast.literal_eval(each.value) for each in node.keywords if each.arg == "check")
    table = (ROOT / "docs/operations.md").read_text().partition("| check |")[2].partition("\n\n")[0]
    listed = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == made

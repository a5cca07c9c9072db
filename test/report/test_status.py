"""The status as text: of this version, of other versions, and from malicious servers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xget_lib.errors import ProtocolViolation
from xget_lib.report.status import table

GENERATION = "ab" * 32
MASTER: dict[str, Any] = {
    "role": "master",
    "pid": 7,
    "path": "/srv",
    "seconds": 7300,
    "generation": GENERATION,
    "files": 3,
    "bytes": 2048,
    "chunks": 10,
    "sent": 1536,
    "workers": [{"pid": 8, "connections": 2, "sent": 1024}],
    "children": [
        {"address": "10.0.0.1", "port": 20005, "generation": GENERATION, "held": 5, "seconds": 90, "follows": True},
        {"address": "10.0.0.2", "port": 20005, "generation": "cd" * 32, "held": 5, "seconds": 600},
        {"address": "10.0.0.3", "port": 20005, "generation": "", "held": 0, "seconds": 0},
    ],
}


def test_the_status_of_a_master() -> None:
    assert table(MASTER).splitlines() == [
        "master of /srv, process 7, up 2 h, sent 1.5 KiB",
        "generation abababababababab: 3 files, 2.0 KiB",
        "worker 8: 2 connections, sent 1.0 KiB",
        "3 nodes serving",
        "  10.0.0.1 port 20005: 50 % (5 of 10 chunks), registered 90 s ago, follows",
        "  10.0.0.2 port 20005: another generation, registered 10 min ago",
        "  10.0.0.3 port 20005: no content yet, registered 0 s ago",
    ]


def test_the_status_of_a_child() -> None:
    child = {key: MASTER[key] for key in ("pid", "path", "seconds", "generation", "files", "bytes", "chunks", "sent")}
    assert table({**child, "role": "child", "held": 10}).splitlines()[-1] == "holds 100 % (10 of 10 chunks)"
    assert table({**child, "held": 10, "follows": True}).splitlines()[-1].endswith("chunks), follows the master")
    assert table({**child, "held": 10, "outdated": True}).endswith("chunks), its files are of an earlier generation")
    assert "worker" not in table(child) and "serving" not in table(child)


def test_c_clients_are_listed_if_there_are_any() -> None:
    client = {"address": "10.0.0.9", "port": 43067, "files": 1, "seconds": 12.5}
    assert "C client" not in table(MASTER) + table({**MASTER, "c_clients": []})
    assert table({**MASTER, "c_clients": [client, {**client, "files": 7}]}).splitlines()[-3:] == [
        "2 C clients serving",
        "  10.0.0.9 port 43067: 1 file, registered 12 s ago",
        "  10.0.0.9 port 43067: 7 files, registered 12 s ago",
    ]
    assert "1 C client serving" in table({**MASTER, "c_clients": [client]})


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"generation": None}, "no snapshot yet"),
        ({"serial": 7}, "generation abababababababab: 3 files, 2.0 KiB, signed with serial 7"),
        ({"serial": None}, "generation abababababababab: 3 files, 2.0 KiB"),
        ({"children": []}, "0 nodes serving"),
        ({"nursery_problem": "process 9 hangs"}, "PROBLEM: process 9 hangs"),
        ({"children": MASTER["children"][:1]}, "1 node serving"),
        ({"chunks": 0, "held": 0}, "holds 100 % (0 of 0 chunks)"),
    ],
)
def test_single_lines(changed: dict[str, Any], line: str) -> None:
    assert line in table({**MASTER, **changed}).splitlines()


def test_unknown_and_missing_fields_of_other_versions_are_ignored() -> None:
    assert table({}).splitlines()[1:] == ["no snapshot yet"]
    assert "holds 3 chunks" in table({"held": 3, "new": {}})


def test_control_characters_are_escaped() -> None:
    children = [{**MASTER["children"][0], "address": "\x1b]0;a\x07"}]
    assert "\x1b" not in table({**MASTER, "path": "\x1b[2J\r\n", "role": "\x1b", "children": children})


@pytest.mark.parametrize(
    "status",
    [{"seconds": "x"}, {"workers": 7}, {"workers": [{}]}, {"children": [7]}, {"generation": 7}, {"sent": None}],
)
def test_an_invalid_status_is_a_protocol_violation(status: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation, match="status"):
        table(status)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(sorted(MASTER)), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*MASTER, "held"]), _JSON))
def test_any_object_is_formatted_or_refused(changed: dict[str, Any]) -> None:
    try:
        shown = table({**MASTER, **changed})
    except ProtocolViolation:
        return
    assert all(line.isprintable() for line in shown.split("\n"))


def test_nodes_that_are_not_well_are_shown_as_such_and_how_runs_ended() -> None:
    child = MASTER["children"][0]
    children = [
        {**child, "state": "complete"},
        {**child, "state": "downloading", "lagging": "nothing new for 40 s"},
        {**child, "state": "failed", "why": "disk full"},
    ]
    run = {"address": "10.0.0.9", "port": 1, "state": "failed", "why": "x", "held": 1, "seconds": 2.5, "fetched": 2048}
    ended = [{**run, "seconds_ago": 60}] * 11 + [{**run, "state": "done", "why": "", "seconds_ago": 1}]
    assert table({**MASTER, "children": children, "ended": ended}).splitlines()[4:] == [
        "  10.0.0.1 port 20005: 50 % (5 of 10 chunks), registered 90 s ago, follows",
        "  10.0.0.1 port 20005: LAGGING (nothing new for 40 s), 50 % (5 of 10 chunks), registered 90 s ago, follows",
        "  10.0.0.1 port 20005: failed (disk full), 50 % (5 of 10 chunks), registered 90 s ago, follows",
        "the last runs that ended, 10 of 12:",
        *["  10.0.0.9 port 1: failed: x, 60 s ago, after 2 s, 2.0 KiB fetched"] * 9,
        "  10.0.0.9 port 1: done, 1 s ago, after 2 s, 2.0 KiB fetched",
    ]


def test_the_runs_of_one_host_do_not_displace_those_of_others() -> None:
    run = {"port": 1, "state": "done", "seconds": 2.5, "fetched": 2048, "seconds_ago": 1}
    ended = [{**run, "address": f"10.0.0.{host}"} for host in (1, 2, 3, *[9] * 50)]
    shown = [line.split()[0] for line in table({**MASTER, "ended": ended}).splitlines()[-10:]]
    assert shown == ["10.0.0.1", "10.0.0.2", "10.0.0.3", *["10.0.0.9"] * 7]

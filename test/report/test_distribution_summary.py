"""A distribution in a few lines: what is counted, who is named, and that it stays short."""

from __future__ import annotations

import json
from typing import Any

from xget_lib.report.distribution import (
    COMPLETE,
    DOWNLOADING,
    FAILED,
    INTERRUPTED,
    LOST,
    OUTDATED,
    Distribution,
    NodeStatus,
)
from xget_lib.report.distribution_summary import NAMED, summarise

GENERATION = "ab" * 32


def node(number: int, state: str = DOWNLOADING, held: int = 0, **given: Any) -> NodeStatus:
    return NodeStatus(f"10.0.0.{number}", 4000, f"n{number}", state, GENERATION, held, 1.0, **given)


def of(*nodes: NodeStatus) -> Distribution:
    return Distribution(GENERATION, 10, 1000, nodes)


def test_what_is_counted() -> None:
    summary = summarise(
        of(
            node(1, COMPLETE, 10, fetched=100, from_master=60),
            node(2, DOWNLOADING, 5, fetched=50, from_master=10, rate=7.0),
            node(3, OUTDATED, 10),
            node(4, COMPLETE, 10, left=3.0, fetched=100),
            node(5, FAILED, 5, left=3.0, why="disk full"),
        )
    )
    assert (summary.nodes, summary.percent, summary.rate) == (3, 75.0, 7.0)
    assert summary.states == {COMPLETE: 1, DOWNLOADING: 1, OUTDATED: 1}
    assert summary.left == {COMPLETE: 1, FAILED: 1}
    assert (summary.fetched, summary.from_master) == (250, 70)


def test_failures_are_grouped_by_their_reason_the_commonest_first() -> None:
    failed = [node(number, FAILED, why="disk full") for number in range(1, 6)]
    odd = [node(100 + number, FAILED, why=f"odd {number:02}") for number in range(12)]
    summary = summarise(of(*odd, *failed))
    assert (summary.failures[0].why, summary.failures[0].nodes) == ("disk full", 5)
    assert summary.failures[0].named == tuple(f"n{number} (10.0.0.{number} port 4000)" for number in (1, 2, 3))
    assert (len(summary.failures), summary.other_failures) == (NAMED, 3)


def test_a_node_that_did_not_say_why_it_ended_has_a_reason_too() -> None:
    summary = summarise(of(node(50, INTERRUPTED), node(51, LOST, left=1.0), node(52, FAILED)))
    assert [each.why for each in summary.failures] == [
        "interrupted",
        "the connection ended during the download",
        "without a reason",
    ]


def test_the_slowest_are_those_that_have_least_then_those_that_took_longest() -> None:
    running = [node(number, DOWNLOADING, number) for number in (3, 1, 2)]
    done = [node(10 + number, COMPLETE, 10, took=float(number)) for number in range(30)]
    named = [each.node.split()[0] for each in summarise(of(*done, *running)).slowest]
    assert named == ["n1", "n2", "n3", "n39", "n38", "n37", "n36", "n35", "n34", "n33"]


def test_stragglers_are_counted_and_the_worst_named() -> None:
    lagging = [node(number, DOWNLOADING, number % 10, lagging="nothing new for 40 s") for number in range(30)]
    summary = summarise(of(*lagging, node(99, DOWNLOADING, 1)))
    assert summary.lagging == 30
    assert [each.percent for each in summary.stragglers] == [0, 0, 0, 10, 10, 10, 20, 20, 20, 30]
    assert summary.stragglers[0].why == "nothing new for 40 s"


def test_without_nodes_nothing_is_per_cent() -> None:
    summary = summarise(of())
    assert (summary.nodes, summary.percent, summary.slowest) == (0, None, ())


def test_the_summary_of_many_nodes_is_short() -> None:
    why = "x" * 300
    nodes = (node(n, FAILED, why=f"{n}{why}", lagging=why, took=1.0, left=n % 2 or None) for n in range(2000))
    assert len(json.dumps(summarise(of(*nodes)).as_json())) < 32 * 1024

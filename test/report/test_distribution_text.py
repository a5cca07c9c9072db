"""The summary and the tree as text."""

from __future__ import annotations

import random
from typing import Any

import pytest

from test.report.test_distribution_summary import node, of
from xget_lib.report.distribution import COMPLETE, DOWNLOADING, FAILED, Distribution, NodeStatus
from xget_lib.report.distribution_summary import summarise
from xget_lib.report.distribution_text import summary_lines, tree_lines


def lines(*nodes: NodeStatus) -> list[str]:
    return list(summary_lines(summarise(of(*nodes)).as_json()))


def test_the_lines_of_a_summary() -> None:
    assert lines(
        node(1, COMPLETE, 10, fetched=2048, from_master=1024, took=2.5),
        node(2, DOWNLOADING, 5, rate=1024.0, lagging="nothing new for 40 s"),
        node(3, FAILED, left=1.0, why="disk full"),
    ) == [
        "2 nodes, 75 % done, 1.0 KiB/s: 1 complete, 1 downloading",
        "left: 1 failed",
        "fetched: 1.0 KiB from the master, 1.0 KiB from other nodes",
        "failures:",
        "  1 node: disk full (n3 (10.0.0.3 port 4000))",
        "lagging: 1 node",
        "  n2 (10.0.0.2 port 4000): downloading, 50 %, 1.0 KiB/s: nothing new for 40 s",
    ]


def test_of_many_nodes_the_slowest_are_named() -> None:
    many = [node(number, COMPLETE, 10, took=float(number)) for number in range(11)]
    assert lines(*many)[-11:-8] == [
        "slowest: 10 of 11 nodes",
        "  n10 (10.0.0.10 port 4000): complete, 100 %, took 10.0 s",
        "  n9 (10.0.0.9 port 4000): complete, 100 %, took 9.0 s",
    ]


def test_lists_say_what_they_leave_out() -> None:
    failed = [node(number, FAILED, why=f"reason {number % 12:02}") for number in range(36)]
    shown = lines(*failed, *(node(100 + number, DOWNLOADING) for number in range(12)))
    assert "  6 nodes: other reasons" in shown
    assert (
        "  3 nodes: reason 00 (n0 (10.0.0.0 port 4000), n12 (10.0.0.12 port 4000), n24 (10.0.0.24 port 4000))" in shown
    )
    assert "slowest: 10 of 48 nodes" in shown


def test_of_few_nodes_none_is_the_slowest() -> None:
    assert lines(node(1, COMPLETE, 10)) == ["1 node, 100 % done: 1 complete"]


def test_no_nodes() -> None:
    assert lines() == ["0 nodes"]


def gave(number: int, count: int) -> tuple[tuple[str, int, int]]:
    return ((f"10.0.0.{number}", 4000, count),)


def test_the_tree_hangs_each_node_below_the_server_that_gave_it_most() -> None:
    distribution = of(
        node(1, COMPLETE, 10, from_master=2048),
        node(2, COMPLETE, 10, from_master=10, sources=gave(1, 1024)),
        node(3, DOWNLOADING, 5, sources=gave(2, 512), left=1.0),
        node(4, DOWNLOADING, 5, from_master=100, sources=gave(1, 99)),
        node(5, DOWNLOADING, 0, sources=gave(77, 5)),
    )
    assert list(tree_lines(distribution)) == [
        "master",
        "├─ n1 (10.0.0.1 port 4000): complete, 100 %, 2.0 KiB from the master",
        "│  └─ n2 (10.0.0.2 port 4000): complete, 100 %, 10 B from the master, 1.0 KiB from 10.0.0.1 port 4000",
        "│     └─ n3 (10.0.0.3 port 4000): downloading, left, 50 %, 512 B from 10.0.0.2 port 4000",
        "├─ n4 (10.0.0.4 port 4000): downloading, 50 %, 100 B from the master, 99 B from 10.0.0.1 port 4000",
        "└─ n5 (10.0.0.5 port 4000): downloading, 0 %, 5 B from 10.0.0.77 port 4000",
    ]


def test_nodes_that_name_each_other_are_all_in_the_tree() -> None:
    distribution = of(
        node(1, sources=gave(2, 50)),
        node(2, from_master=7, sources=gave(1, 50)),
        node(3, sources=gave(3, 50)),
        node(4, sources=gave(1, 50)),
    )
    assert [line.split(":")[0].rstrip() for line in tree_lines(distribution)] == [
        "master",
        "├─ n2 (10.0.0.2 port 4000)",
        "│  └─ n1 (10.0.0.1 port 4000)",
        "│     └─ n4 (10.0.0.4 port 4000)",
        "└─ n3 (10.0.0.3 port 4000)",
    ]


@pytest.mark.parametrize("seed", range(20))
def test_each_node_is_in_the_tree_once(seed: int) -> None:
    chance = random.Random(seed)
    nodes = [
        node(number, from_master=chance.randrange(50), sources=gave(chance.randrange(40), chance.randrange(50)))
        for number in range(40)
    ]
    assert sorted(line.split("─ ")[1].split()[0] for line in list(tree_lines(of(*nodes)))[1:]) == sorted(
        each.name for each in nodes
    )


def test_a_long_chain_is_printed_too() -> None:
    chain: list[Any] = [node(0, from_master=1)]
    chain += [
        NodeStatus("10.0.0.0", 4000 + number, "", DOWNLOADING, "", 0, 0, sources=(("10.0.0.0", 3999 + number, 9),))
        for number in range(1, 2000)
    ]
    assert len(list(tree_lines(Distribution("", 1, 1, tuple(chain))))) == 2001

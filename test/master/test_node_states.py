"""The state of each node, of what it registers: this version, older ones, those that have left."""

from __future__ import annotations

import time
from typing import Any

import pytest

from xget_lib.master.node_states import distribution_of, lag_text
from xget_lib.report.distribution import (
    COMPLETE,
    DOWNLOADING,
    FAILED,
    INTERRUPTED,
    LOST,
    OUTDATED,
    WAITING,
    NodeStatus,
)
from xget_lib.report.distribution_summary import summarise
from xget_lib.swarm.former_nodes import FormerNode
from xget_lib.swarm.messages import Registration
from xget_lib.swarm.node_progress import Lag
from xget_lib.swarm.tracker import Node

NEW, OLD = b"n" * 32, b"o" * 32


def registration(generation: bytes = NEW, held: int = 3, identity: str = "a", **given: Any) -> Registration:
    return Registration(4711, generation, held, identity=identity, **given)


def present(last: Registration, *, complete: bool = False, **given: Any) -> NodeStatus:
    node = Node("10.0.0.1", last, 5.0, complete, given.pop("changed", None), given.pop("lag", None), **given)
    (status,) = distribution_of(NEW, 10, 1000, [node], [], 20.0).nodes
    return status


def left(last: Registration, *, whole: bool = False) -> NodeStatus:
    (status,) = distribution_of(NEW, 10, 1000, [], [FormerNode("10.0.0.1", last, whole, 12.0)], 20.0).nodes
    return status


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (registration(b"", 0), WAITING),
        (registration(), DOWNLOADING),
        (registration(held=10), DOWNLOADING),
        (registration(ended="done", in_place=True), COMPLETE),
        (registration(held=10, ended="done", in_place=True), COMPLETE),
        (registration(ended="failed", why="disk full"), FAILED),
        (registration(ended="interrupted"), INTERRUPTED),
        (registration(OLD), WAITING),
        (registration(OLD, ended="done", in_place=True), OUTDATED),
        (registration(OLD, ended="done", in_place=True, follows=True), WAITING),
    ],
)
def test_the_state_of_a_node_that_is_connected(last: Registration, state: str) -> None:
    assert present(last, complete=last.held == 10).state == state


def test_a_node_that_serves_what_has_not_changed_does_not_have_the_new_generation_in_place() -> None:
    """It serves the files that are the same, of a generation that it has not downloaded (`Node.rebase`)."""
    assert present(registration(NEW, 3, ended="done")).state == OUTDATED
    assert present(registration(NEW, 10, ended="done"), complete=True).state == OUTDATED


def test_of_an_older_version_a_node_that_holds_everything_is_complete() -> None:
    assert present(registration(held=10, identity=""), complete=True).state == COMPLETE
    assert left(registration(held=10, identity=""), whole=True).state == COMPLETE


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (registration(ended="done", in_place=True), COMPLETE),
        (registration(), LOST),
        (registration(held=10), LOST),
        (registration(b"", 0), LOST),
        (registration(ended="failed", why="disk full"), FAILED),
        (registration(ended="interrupted"), INTERRUPTED),
        (registration(OLD, ended="done", in_place=True), OUTDATED),
        (registration(OLD, ended="done", in_place=True, follows=True), OUTDATED),
    ],
)
def test_the_state_of_a_node_that_has_left(last: Registration, state: str) -> None:
    assert left(last, whole=last.held == 10).state == state


def test_the_facts_of_a_node() -> None:
    last = registration(
        name="n1", fetched=30, from_master=10, sources=(("10.0.0.2", 4000, 20),), milliseconds=2500, follows=True
    )
    lag = Lag(40.0, stalled=True)
    assert present(last, changed=15.0, lag=lag, rate=7.4) == NodeStatus(
        *("10.0.0.1", 4711, "n1", DOWNLOADING, NEW.hex(), 3, 15.0, None, True, 30, 10, 7),
        sources=(("10.0.0.2", 4000, 20),),
        changed=5.0,
        lagging="nothing new for 40 s",
    )
    assert left(registration(ended="done", milliseconds=2500)).took == 2.5
    assert (left(registration()).left, left(registration()).took) == (8.0, None)


def test_a_lag_in_words() -> None:
    assert lag_text(Lag(3.2, stalled=False)) == "3 s later than half of the nodes"


def test_without_a_generation_nobody_is_complete() -> None:
    node = Node("10.0.0.1", registration(b"", 0), 5.0, complete=False, changed=None, lag=None)
    distribution = distribution_of(b"", 0, 0, [node], [], 20.0)
    assert [each.state for each in distribution.nodes] == [WAITING]
    assert summarise(distribution).percent == 0


def measure(count: int = 10_000) -> None:
    """Prints how long it takes to make, sum up and encode a distribution, and how many bytes it has."""
    nodes = [
        Node(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", registration(name=f"node{n}", fetched=n), n, False, 1.0, None)
        for n in range(count)
    ]
    begun = time.perf_counter()
    distribution = distribution_of(NEW, 10, 1000, nodes, [], 2.0 * count)
    made = time.perf_counter()
    summary = summarise(distribution)
    summed = time.perf_counter()
    length = len(distribution.encode())
    encoded = time.perf_counter()
    print(
        f"{count} nodes: made in {made - begun:.3f} s, summed up in {summed - made:.3f} s,"
        f" encoded in {encoded - summed:.3f} s ({length} bytes); states {dict(summary.states)}"
    )


if __name__ == "__main__":
    measure()

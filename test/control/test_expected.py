"""--expect: which nodes are meant, and what has become of them."""

from __future__ import annotations

from typing import Any

from test.report.test_distribution_summary import GENERATION, node
from xget_lib.control.expected import MISSING, compare
from xget_lib.report.distribution import COMPLETE, DOWNLOADING, FAILED, OUTDATED, Distribution, NodeStatus


def named(name: str, state: str = COMPLETE, address: str = "10.0.0.1", **given: Any) -> NodeStatus:
    return NodeStatus(address, 4000, name, state, GENERATION, 0, 0.0, **given)


def states(expected: list[str], *nodes: NodeStatus) -> dict[str, tuple[str, ...]]:
    return compare(expected, Distribution(GENERATION, 10, 1000, nodes)).states


def test_a_node_is_found_by_its_name_its_short_name_and_its_address() -> None:
    nodes = (named("n1.cluster"), named("", address="::ffff:10.0.0.2"), named("", address="2001:db8::1"))
    assert states(["n1", "n1.cluster", "10.0.0.2", "2001:db8:0::1"], *nodes) == {
        COMPLETE: ("n1", "n1.cluster", "10.0.0.2", "2001:db8:0::1")
    }
    assert states(["n1.other", "2001:db8::2"], *nodes) == {MISSING: ("n1.other", "2001:db8::2")}


def test_those_without_the_generation_come_first() -> None:
    found = compare(
        ["a", "b", "c", "d"], Distribution(GENERATION, 10, 1000, (named("b"), named("c", OUTDATED), named("d", FAILED)))
    )
    assert list(found.states) == [MISSING, OUTDATED, COMPLETE, FAILED] or list(found.states)[:2] == [MISSING, OUTDATED]
    assert not found.met
    assert found.problem == "1 missing, 1 outdated, 1 failed"
    assert next(found.lines()) == f"expected: 1 of 4 have generation {GENERATION[:16]}"


def test_all_must_have_it_and_there_must_be_something_to_have() -> None:
    assert compare(["a"], Distribution(GENERATION, 10, 1000, (named("a"),))).met
    assert not compare(["a"], Distribution("", 0, 0, (named("a"),))).met


def test_who_has_left_with_the_generation_has_it() -> None:
    assert states(["a"], named("a", left=5.0)) == {COMPLETE: ("a",)}


def test_of_several_with_a_name_the_connected_count_and_of_these_the_worst() -> None:
    assert states(["a"], named("a", left=5.0), named("a", DOWNLOADING)) == {DOWNLOADING: ("a",)}
    assert states(["a"], named("a"), named("a", FAILED, "10.0.0.9")) == {FAILED: ("a",)}
    assert states(["a"], named("a"), named("a", FAILED, left=1.0)) == {COMPLETE: ("a",)}


def test_a_node_of_an_unknown_state_is_not_complete() -> None:
    assert states(["n1"], node(1, "dancing")) == {}

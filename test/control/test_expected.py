"""--expect: which nodes are meant, and what has become of them."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from test.report.test_distribution_summary import GENERATION, node
from xget_lib.control.expected import MISSING, compare, expand
from xget_lib.errors import UsageError
from xget_lib.report.distribution import COMPLETE, DOWNLOADING, FAILED, OUTDATED, Distribution, NodeStatus


def named(name: str, state: str = COMPLETE, address: str = "10.0.0.1", **given: Any) -> NodeStatus:
    return NodeStatus(address, 4000, name, state, GENERATION, 0, 0.0, **given)


def states(expected: list[str], *nodes: NodeStatus) -> dict[str, tuple[str, ...]]:
    return compare(expected, Distribution(GENERATION, 10, 1000, nodes)).states


def test_names_and_addresses_are_read_without_clustershell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "__import__", no_clustershell(builtins.__import__))
    assert expand("n1,head.cluster,10.0.0.1,fe80::1%eth0,n1") == ["n1", "head.cluster", "10.0.0.1", "fe80::1%eth0"]
    for text in ("n[1-3]", "a b", "@all", "n1,,n2", ""):
        with pytest.raises(UsageError, match="needs ClusterShell"):
            expand(text)


def no_clustershell(usual: Any) -> Any:
    def imports(name: str, *rest: Any) -> Any:
        if name.startswith("ClusterShell"):
            raise ImportError(name)
        return usual(name, *rest)

    return imports


def test_a_set_of_nodes_is_clustershells() -> None:
    pytest.importorskip("ClusterShell")
    assert expand("n[1-3],head!n2") == ["head", "n1", "n3"]
    with pytest.raises(UsageError, match="--expect n"):
        expand("n[1-")
    with pytest.raises(UsageError, match="0 nodes"):
        expand("n1!n1")


def test_what_is_missing_is_folded_where_that_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [f"n{number}" for number in range(1, 201)]
    distribution = Distribution(GENERATION, 10, 1000, (named("n1"),))
    monkeypatch.setattr(builtins, "__import__", no_clustershell(builtins.__import__))
    assert compare(expected, distribution).folded[MISSING].endswith("n100, n101, …")
    monkeypatch.undo()
    pytest.importorskip("ClusterShell")
    assert compare(expected, distribution).folded[MISSING] == "n[2-200]"
    assert compare(["fe80::1"], distribution).folded[MISSING] == "fe80::1"


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

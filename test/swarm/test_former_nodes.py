"""Who has left a master: what remains known, and what is forgotten."""

from __future__ import annotations

import pytest

from xget_lib.swarm import former_nodes
from xget_lib.swarm.former_nodes import FormerNode, FormerNodes
from xget_lib.swarm.messages import DONE, FAILED, Registration

GENERATION = bytes(32)


def registration(identity: str = "a", **given: str) -> Registration:
    return Registration(4711, GENERATION, 3, identity=identity, **given)  # type: ignore[arg-type]  # texts only


def test_a_node_is_remembered_as_it_was_last() -> None:
    former = FormerNodes()
    former.left("h", "10.0.0.1", registration(ended=FAILED), 7.0, whole=False)
    assert list(former) == [FormerNode("10.0.0.1", registration(ended=FAILED), False, 7.0)]
    former.left("h", "10.0.0.1", registration(ended=DONE), 8.0, whole=True)
    assert [(each.whole, each.left) for each in former] == [(True, 8.0)]


def test_a_node_that_comes_back_has_not_left() -> None:
    former = FormerNodes()
    former.left("h", "10.0.0.1", registration("a"), 0.0, whole=True)
    former.left("h", "10.0.0.1", registration("b"), 0.0, whole=True)
    former.came("other", registration("a"))
    former.came("h", registration("a"))
    assert [each.registration.identity for each in former] == ["b"]
    former.came("h", registration("b"))
    assert list(former) == []


def test_nodes_that_do_not_say_who_they_are_differ_by_their_port() -> None:
    former = FormerNodes()
    for port in (2000, 2001):
        former.left("h", "10.0.0.1", Registration(port, GENERATION, 3), 0.0, whole=True)
    assert len(list(former)) == 2


def test_a_host_that_claims_many_nodes_displaces_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former_nodes, "_OF_ONE_HOST", 3)
    monkeypatch.setattr(former_nodes, "_HOSTS", 2)
    former = FormerNodes()
    former.left("first", "10.0.0.1", registration("x"), 0.0, whole=True)
    for number in range(10):
        former.left("h", "10.0.0.2", registration(f"{number}"), 0.0, whole=True)
    assert [each.registration.identity for each in former] == ["x", "7", "8", "9"]
    former.left("third", "10.0.0.3", registration("y"), 0.0, whole=True)
    assert [each.registration.identity for each in former] == ["7", "8", "9", "y"]


def test_the_host_that_no_node_has_left_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former_nodes, "_HOSTS", 2)
    former = FormerNodes()
    for host in ("first", "second", "first", "third"):
        former.left(host, host, registration("x"), 0.0, whole=True)
    assert [each.address for each in former] == ["first", "third"]

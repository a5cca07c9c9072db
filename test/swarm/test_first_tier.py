"""A few nodes take from the master at once; the others ask their peers, and not for ever."""

from __future__ import annotations

from random import Random

from xget_lib.swarm.first_tier import FirstTier, ManifestSources, patience


def test_the_first_few_are_admitted_and_stay_members() -> None:
    tier = FirstTier(2)
    assert [tier.admit(key, key) for key in (5, 6, 7, 5, 7)] == [True, True, False, True, False]


def test_a_node_that_leaves_makes_room_for_another() -> None:
    tier = FirstTier(1)
    assert tier.admit(5, 5)
    tier.leave(6)  # never was a member
    assert not tier.admit(6, 6)
    tier.leave(5)
    assert tier.admit(6, 6)
    assert not tier.admit(5, 5)


def test_a_host_with_many_nodes_makes_room_for_those_of_other_hosts() -> None:
    tier = FirstTier(4)
    assert [tier.admit(key, "many") for key in range(6)] == [True] * 4 + [False] * 2
    assert [tier.admit(key, key) for key in (10, 11, 12, 13)] == [True, True, True, False]
    assert not tier.admit(6, "many")
    assert [tier.admit(key, key) for key in (10, 11, 12)] == [True] * 3


def test_all_peers_are_asked_in_each_round_and_the_master_last() -> None:
    sources = ManifestSources({"a", "b", "c"}, 1000, Random(1), now=10.0)
    rounds = [{sources.next(10.0 + second / 10) for _ in range(3)} for second in range(3)]
    assert rounds == [{"a", "b", "c"}] * 3
    assert sources.next(20.0) is None


def test_a_large_manifest_is_waited_for_longer() -> None:
    assert ManifestSources({"a"}, 60_000_000, Random(1), now=10.0).next(35.0) == "a"


def test_a_node_without_peers_asks_the_master() -> None:
    assert ManifestSources((), 1000, Random(1), now=10.0).next(10.0) is None


def test_nodes_do_not_all_turn_to_the_master_at_once() -> None:
    source = Random(1)
    waits = [patience(source) for _ in range(100)]
    assert 0 < min(waits) < 1.2 * min(waits) < 0.8 * max(waits)

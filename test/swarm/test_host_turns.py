"""Hosts take turns, and none can take what is another's."""

from __future__ import annotations

import pytest

from xget_lib.swarm.host_turns import Host, HostTurns


def asking(turns: HostTurns, key: str) -> Host:
    """A host that asks without end."""
    host = turns.join(key)
    host.first[len(key), 0] = None
    turns.place(host)
    return host


def granted(turns: HostTurns, most: int, count: int) -> list[object]:
    """The hosts that get so many chunks one after the other."""
    keys: list[object] = []
    for _ in range(count):
        host = turns.next(most)
        if host is None:
            break
        turns.granted(host)
        keys.append(host.key)
    return keys


def test_the_host_with_fewest_comes_first() -> None:
    turns = HostTurns()
    for key in "abc":
        asking(turns, key)
    assert granted(turns, 6, 10) == ["a", "b", "c", "a", "b", "c"]


def test_a_host_that_had_everything_when_it_was_alone_takes_nothing_from_one_that_comes_later() -> None:
    turns = HostTurns()
    asking(turns, "a")
    assert granted(turns, 6, 10) == ["a"] * 6
    asking(turns, "b")
    assert granted(turns, 6, 10) == ["b"] * 3


def test_what_is_stuck_counts_against_its_own_host_only() -> None:
    turns = HostTurns()
    hosts = [asking(turns, key) for key in "ab"]
    assert granted(turns, 2, 10) == ["a", "b"]
    turns.stuck(hosts[0])
    assert granted(turns, 2, 10) == ["b"]
    turns.ended(hosts[0], 0.0, stuck=True)
    assert granted(turns, 2, 10) == ["a"]


def test_a_host_that_asks_alone_goes_on_when_its_chunks_are_stuck() -> None:
    turns = HostTurns()
    host = asking(turns, "a")
    assert granted(turns, 2, 10) == ["a", "a"]
    turns.stuck(host)
    assert granted(turns, 2, 10) == ["a"]


def test_a_host_for_which_there_was_nothing_lets_others_go_first() -> None:
    turns = HostTurns()
    first, second = asking(turns, "a"), asking(turns, "b")
    assert turns.next(2) is first
    turns.pass_turn(first)
    assert turns.in_vain
    assert turns.next(2) is second
    turns.pass_turn(second)
    assert turns.next(2) is None and not turns.in_vain
    turns.end_round()
    assert turns.next(2) is first


def test_hosts_that_take_chunks_slowly_have_no_more_of_the_time_than_others() -> None:
    """Each chunk of one host takes a second, and each of the other a tenth."""
    turns = HostTurns()
    hosts = {asking(turns, "slow"): 1.0, asking(turns, "fast"): 0.1}
    spent = dict.fromkeys(("slow", "fast"), 0.0)
    for _ in range(220):
        host = turns.next(1)
        assert host is not None
        turns.granted(host)
        turns.ended(host, hosts[host], stuck=False)
        spent[str(host.key)] += hosts[host]
    assert spent["slow"] == pytest.approx(spent["fast"], abs=1.0)


def test_a_host_that_begins_to_ask_has_no_credit_for_the_time_before() -> None:
    turns = HostTurns()
    for key in "ab":
        host = asking(turns, key)
        turns.granted(host)
        turns.ended(host, 100.0, stuck=False)
    late = asking(turns, "late")
    for _ in range(2):
        assert turns.next(1) is not None
        turns.granted(late)
        turns.ended(late, 1.0, stuck=False)
    assert granted(turns, 1, 1) == ["a"]


def test_a_host_that_leaves_and_comes_again_has_its_account_again() -> None:
    turns = HostTurns()
    host = asking(turns, "leaving")
    asking(turns, "staying")
    turns.granted(host)
    turns.ended(host, 0.9, stuck=False)
    host.first.clear()
    turns.place(host)
    turns.leave(host)
    asking(turns, "leaving")
    assert granted(turns, 1, 1) == ["staying"]


def test_hosts_of_nodes_that_have_ended_are_forgotten() -> None:
    turns = HostTurns()
    host = turns.join("a")
    assert turns.join("a") is host
    turns.leave(host)
    turns.leave(host)
    assert not turns
    assert turns.join("a") is not host

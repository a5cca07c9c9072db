"""Which nodes the master names to others: a host that nobody reaches is named a bounded number of times."""

from __future__ import annotations

from xget_lib.swarm.named_nodes import AGAIN, IN_VAIN, NamedNodes

HOUR = 3600.0


def test_a_host_that_nobody_reaches_is_named_to_a_bounded_number_of_nodes_whatever_it_does() -> None:
    named = NamedNodes()
    count = 0
    for node in range(4000):  # each with a connection and a port of its own, one after the other
        for asker in range(10_000, 11_000):
            count += named.may_name(node, "victim", asker, f"host {asker}", 0.0)
        named.ended(node)
    assert count == IN_VAIN
    again = sum(named.may_name(5000, "victim", asker, f"host {asker}", HOUR) for asker in range(10_000, 20_000))
    assert again == min(IN_VAIN, HOUR / AGAIN)


def test_what_a_node_has_heard_it_may_hear_again() -> None:
    named = NamedNodes()
    for _ in range(10 * IN_VAIN):
        assert named.may_name(1, "a", 2, "b", 0.0)


def test_a_node_that_another_host_reached_is_named_to_all_and_was_withheld_from_some() -> None:
    named = NamedNodes()
    heard = [named.may_name(1, "a", asker, f"host {asker}", 0.0) for asker in range(100, 200)]
    assert sum(heard) == IN_VAIN
    assert named.reached(1, "a", "host 100", 1.0)
    assert all(named.may_name(1, "a", asker, f"host {asker}", 1.0) for asker in range(100, 10_000))
    assert not named.reached(1, "a", "host 101", 1.0)


def test_a_host_whose_nodes_are_reached_may_have_more_of_them_named() -> None:
    named = NamedNodes()
    reached = 0
    for round_ in range(12):  # in each, those that are named are reached
        unnamed = range(reached, 2000)
        new = [node for node in unnamed if named.may_name(node, "gateway", 9000 + node, f"host {node}", float(round_))]
        for node in new:
            named.reached(node, "gateway", "elsewhere", float(round_))
        reached += len(new)
    assert reached == 2000


def test_a_host_whose_nodes_come_and_go_does_not_use_up_the_times_that_another_is_named() -> None:
    named = NamedNodes()
    for asker in range(1000, 5000):  # each is gone before it has connected to anybody
        named.may_name(1, "new", asker, "hostile", asker / 100)
        named.ended(asker)
    assert sum(named.may_name(1, "new", asker, f"host {asker}", 50.0) for asker in range(6000, 7000)) > IN_VAIN / 2


def test_hosts_that_hear_of_another_in_vain_may_hear_of_it_again_later() -> None:
    named = NamedNodes()
    hours = 200
    heard = sum(named.may_name(1, "a", asker, "b", asker * AGAIN) for asker in range(60 * hours))
    assert heard > 60 * hours * 0.9


def test_nodes_of_one_host_are_always_named_to_each_other_and_do_not_vouch_for_each_other() -> None:
    named = NamedNodes()
    assert all(named.may_name(1, "a", asker, "a", 0.0) for asker in range(100, 100 + 2 * IN_VAIN))
    assert not named.reached(1, "a", "a", 0.0)
    assert sum(named.may_name(1, "a", asker, f"host {asker}", 0.0) for asker in range(1000, 2000)) == IN_VAIN

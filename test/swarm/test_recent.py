"""The last of what hosts cause, shared by them."""

from __future__ import annotations

from xget_lib.swarm.recent import RecentByHost


def test_the_oldest_goes_where_each_host_has_one() -> None:
    recent: RecentByHost[int] = RecentByHost(3)
    for number in range(5):
        recent.add(number, number)
    assert list(recent) == [2, 3, 4]


def test_a_host_that_causes_much_displaces_only_its_own() -> None:
    recent: RecentByHost[str] = RecentByHost(10)
    for name in "abc":
        recent.add(name, name)
    for number in range(100):
        recent.add("loud", f"loud {number}")
    recent.add("d", "d")
    assert list(recent) == ["a", "b", "c", *(f"loud {number}" for number in range(94, 100)), "d"]


def test_of_hosts_with_as_many_each_loses_in_its_turn() -> None:
    recent: RecentByHost[str] = RecentByHost(4)
    for word in ("a1", "a2", "b1", "b2", "c1", "c2"):
        recent.add(word[0], word)
    assert list(recent) == ["a2", "b2", "c1", "c2"]

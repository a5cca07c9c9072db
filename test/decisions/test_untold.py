"""News for the nodes: who comes hears at once, the others together, and not more often than the master can say it."""

from __future__ import annotations

import pytest

from xget_lib.swarm.untold import Untold


@pytest.fixture
def untold() -> Untold:
    return Untold(pause=1.0, each=0.1, most=20.0)


def test_nobody_is_to_be_told_of_nothing(untold: Untold) -> None:
    assert untold.wait(0.0) is None
    assert untold.take(0.0) == set()


def test_the_first_news_are_told_at_once_and_once(untold: Untold) -> None:
    untold.add({1, 2}, {2, 3})
    assert untold.wait(5.0) == 0.0
    assert untold.take(5.0) == {1, 2, 3}
    assert untold.wait(5.0) is None
    assert untold.take(50.0) == set()


def test_changes_are_gathered_for_as_long_as_many_were_told(untold: Untold) -> None:
    untold.add(range(50))
    assert len(untold.take(0.0)) == 50
    untold.add({1})
    untold.add({2})
    assert untold.wait(0.0) == 5.0
    assert untold.take(4.9) == set()
    assert untold.take(5.0) == {1, 2}
    untold.add({1})
    assert untold.wait(5.0) == 1.0  # two take no longer than the pause


def test_it_never_takes_longer_than_the_most(untold: Untold) -> None:
    untold.add(range(10_000))
    untold.take(0.0)
    untold.add({1})
    assert untold.wait(0.0) == 20.0


def test_who_comes_does_not_wait_for_the_others(untold: Untold) -> None:
    untold.add(range(100))
    untold.take(0.0)
    untold.add({1, 2, 101}, {101})
    assert untold.wait(0.0) == 1.0
    assert untold.take(1.0) == {101}
    assert untold.wait(1.0) == 9.0
    assert untold.take(10.0) == {1, 2}

"""News for the nodes: who comes hears at once, the others later, and not more of them than the master can tell."""

from __future__ import annotations

import pytest

from xget_lib.swarm.announce_queue import AnnounceQueue

NOBODY: tuple[set[int], list[int]] = (set(), [])


@pytest.fixture
def untold() -> AnnounceQueue:
    return AnnounceQueue(pause=1.0, later=10.0, most=50)


def test_nobody_is_to_be_told_of_nothing(untold: AnnounceQueue) -> None:
    assert untold.wait(0.0) is None
    assert untold.take(0.0) == NOBODY


def test_who_comes_is_told_at_once_and_once(untold: AnnounceQueue) -> None:
    untold.add(5.0, {1, 2}, {2, 3})
    assert untold.wait(5.0) == 0.0
    assert untold.take(5.0) == ({2, 3}, [])
    assert untold.take(8.0) == NOBODY
    untold.add(5.5, (), {4})
    assert untold.wait(5.5) == 0.5
    assert untold.take(5.9) == NOBODY
    assert untold.take(6.0) == ({4}, [])


def test_others_hear_of_all_changes_since_the_first_together(untold: AnnounceQueue) -> None:
    untold.add(0.0, {1, 2})
    untold.add(6.0, {1, 3})
    assert untold.wait(6.0) == 4.0
    assert untold.take(9.9) == NOBODY
    assert untold.take(10.0) == (set(), [1, 2])
    assert untold.wait(10.0) == 6.0
    assert untold.take(16.0) == (set(), [3])
    assert untold.wait(16.0) is None


def test_who_was_told_at_once_is_not_told_again(untold: AnnounceQueue) -> None:
    untold.add(0.0, {1, 2})
    untold.add(1.0, {1}, {1})
    assert untold.take(1.0) == ({1}, [])
    assert untold.take(10.0) == (set(), [2])
    assert untold.wait(10.0) is None


def test_many_are_told_in_rounds_and_who_comes_does_not_wait_for_them(untold: AnnounceQueue) -> None:
    untold.add(0.0, range(120))
    assert untold.take(10.0) == (set(), list(range(50)))
    untold.add(10.0, (), {500})
    assert untold.wait(10.0) == 1.0
    assert untold.take(11.0) == ({500}, list(range(50, 100)))
    assert untold.take(12.0) == (set(), list(range(100, 120)))

"""News for the nodes: a new node gets it at once, the others later, in batches that the master can serve."""

from __future__ import annotations

import pytest

from xget_lib.swarm.announce_queue import AnnounceQueue

NOBODY: tuple[set[int], list[int]] = (set(), [])


@pytest.fixture
def queue() -> AnnounceQueue:
    return AnnounceQueue(pause=1.0, delay=10.0, batch=50)


def test_without_news_no_node_waits(queue: AnnounceQueue) -> None:
    assert queue.wait(0.0) is None
    assert queue.take(0.0) == NOBODY


def test_an_urgent_node_gets_news_at_once_and_once(queue: AnnounceQueue) -> None:
    queue.add(5.0, {1, 2}, {2, 3})
    assert queue.wait(5.0) == 0.0
    assert queue.take(5.0) == ({2, 3}, [])
    assert queue.take(8.0) == NOBODY
    queue.add(5.5, (), {4})
    assert queue.wait(5.5) == 0.5
    assert queue.take(5.9) == NOBODY
    assert queue.take(6.0) == ({4}, [])


def test_other_nodes_get_news_once_for_all_changes_within_the_delay(queue: AnnounceQueue) -> None:
    queue.add(0.0, {1, 2})
    queue.add(6.0, {1, 3})
    assert queue.wait(6.0) == 4.0
    assert queue.take(9.9) == NOBODY
    assert queue.take(10.0) == (set(), [1, 2])
    assert queue.wait(10.0) == 6.0
    assert queue.take(16.0) == (set(), [3])
    assert queue.wait(16.0) is None


def test_a_node_that_got_news_at_once_does_not_get_it_again_later(queue: AnnounceQueue) -> None:
    queue.add(0.0, {1, 2})
    queue.add(1.0, {1}, {1})
    assert queue.take(1.0) == ({1}, [])
    assert queue.take(10.0) == (set(), [2])
    assert queue.wait(10.0) is None


def test_many_get_news_in_rounds_and_an_urgent_node_does_not_wait_for_them(queue: AnnounceQueue) -> None:
    queue.add(0.0, range(120))
    assert queue.take(10.0) == (set(), list(range(50)))
    queue.add(10.0, (), {500})
    assert queue.wait(10.0) == 1.0
    assert queue.take(11.0) == ({500}, list(range(50, 100)))
    assert queue.take(12.0) == (set(), list(range(100, 120)))

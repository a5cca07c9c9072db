"""Which nodes lag, and by how much."""

from __future__ import annotations

from xget_lib.swarm import node_progress
from xget_lib.swarm.node_progress import Lag, NodeProgress


def test_a_node_that_holds_nothing_new_for_half_a_minute_lags() -> None:
    progress = NodeProgress()
    progress.holds(1, 1, 0, 0.0)
    progress.holds(1, 1, 3, 10.0)
    progress.holds(1, 1, 3, 39.0)
    assert progress.lag(1, 39.0) is None
    assert progress.lag(1, 41.0) == Lag(31.0, stalled=True)
    progress.holds(1, 1, 4, 42.0)
    assert (progress.lag(1, 43.0), progress.changed(1)) == (None, 42.0)


def test_a_node_that_takes_much_longer_than_half_of_all_lags() -> None:
    progress = NodeProgress()
    for node in range(5):
        progress.holds(node, node, 0, 0.0)
    for node in range(4):
        progress.completed(node, 10.0)
    for now in (10.0, 20.0, 30.0, 40.0, 50.0):
        progress.holds(4, 4, int(now), now)
    assert progress.lag(4, 39.0) is None
    assert progress.lag(4, 50.0) == Lag(40.0, stalled=False)


def test_nodes_do_not_lag_while_most_are_not_complete_or_no_median_is_known() -> None:
    progress = NodeProgress()
    for node in range(8):
        progress.holds(node, node, 0, 0.0)
    for node in range(3):
        progress.completed(node, 1.0)
    progress.holds(4, 4, 1, 90.0)
    assert progress.lag(4, 100.0) is None


def test_each_node_is_named_once_and_those_that_ended_are_forgotten() -> None:
    progress = NodeProgress()
    for node in (1, 2):
        progress.holds(node, node, 0, 0.0)
    progress.leave(2)
    assert progress.new_lags(31.0) == [(1, Lag(31.0, stalled=True))]
    assert progress.new_lags(40.0) == []
    assert progress
    progress.completed(1, 50.0)
    assert not progress and progress.lag(1, 100.0) is None


def test_all_nodes_of_one_host_are_compared_with_each_other_while_there_is_no_other_host() -> None:
    progress = NodeProgress()
    for node in range(8):
        progress.holds(node, "host", 0, 0.0)
    for node in range(3):
        progress.completed(node, 1.0)
    progress.holds(7, "host", 1, 90.0)
    assert progress.lag(7, 100.0) is None, "most are not complete"
    for node in range(3, 7):
        progress.completed(node, 1.0)
    assert progress.lag(7, 100.0) == Lag(99.0, stalled=False)


def test_one_host_with_many_nodes_does_not_say_how_long_a_download_takes() -> None:
    """Its nodes register, and are complete at once; or they never are."""
    progress = NodeProgress()
    for node in range(8):
        progress.holds(node, f"10.0.0.{node}", 0, 0.0)
    for node in range(100, 20_000):
        progress.holds(node, "hostile", 0, 0.0)
        progress.completed(node, 0.0)
    for now in (25.0, 50.0):
        for node in range(8):
            progress.holds(node, f"10.0.0.{node}", int(now), now)
    assert [progress.lag(node, 50.0) for node in range(8)] == [None] * 8
    for node in range(7):
        progress.completed(node, 50.0)
    assert progress.lag(7, 70.0) is None
    for node in range(20_000, 30_000):
        progress.holds(node, "hostile", 0, 70.0)
    progress.holds(7, "10.0.0.7", 90, 130.0)
    assert progress.lag(7, 150.0) == Lag(100.0, stalled=False)


def test_hosts_that_are_complete_are_forgotten_in_the_end() -> None:
    progress = NodeProgress()
    for node in range(2 * node_progress._HOSTS):
        progress.holds(node, node, 0, 0.0)
        progress.completed(node, 1.0)
    assert len(progress._hosts) == node_progress._HOSTS

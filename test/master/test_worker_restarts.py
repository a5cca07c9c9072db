"""Workers that end as soon as they start are replaced less and less often, and the log does not repeat why."""

from __future__ import annotations

from xget_lib.master.worker_restarts import WorkerRestarts


def test_a_worker_that_ended_is_replaced_at_once() -> None:
    restarts = WorkerRestarts()
    assert [restarts.pause(1, 3600.0) for _ in range(5)] == [0.0] * 5
    assert restarts.pause(1, 2.0) == 0.0


def test_the_pauses_grow_while_it_ends_young_and_each_worker_has_its_own() -> None:
    restarts = WorkerRestarts()
    assert [restarts.pause(1, 0.1) for _ in range(8)] == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert restarts.pause(2, 0.1) == 0.0
    assert restarts.pause(1, 60.0) == 0.0
    assert restarts.pause(1, 0.1) == 0.0


def test_what_cannot_be_started_is_not_tried_again_at_once() -> None:
    restarts = WorkerRestarts()
    assert [restarts.pause(1, 0.0) for _ in range(3)] == [1.0, 1.0, 2.0]


def test_the_same_reason_is_logged_once_a_minute() -> None:
    restarts = WorkerRestarts()
    assert [restarts.should_log(1, "status 1", 0.1, now) for now in (0.0, 1.0, 59.0, 61.0)] == [
        True,
        False,
        False,
        True,
    ]
    assert restarts.should_log(1, "status 2", 0.1, 61.5)
    assert restarts.should_log(2, "status 2", 0.1, 61.5), "another worker"
    assert restarts.should_log(1, "status 2", 60.0, 62.0), "a worker that lived long is news"

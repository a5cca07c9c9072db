"""Asking again, after a failure and beside an attempt that has no answer yet."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from test.support.network import quiet_hub
from xget_lib.errors import LinkLost
from xget_lib.node import attempts
from xget_lib.node.attempts import MOST, first_of, retry_for


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


class Attempts:
    """`seconds` is how long each attempt takes; what fails has a text instead of a result."""

    def __init__(self, *seconds: float, failing: tuple[int, ...] = ()) -> None:
        self._seconds = seconds
        self._failing = failing
        self.begun = 0
        self.ended: list[int] = []
        self.discarded: list[int] = []

    def __call__(self, left: float) -> int:
        number, self.begun = self.begun, self.begun + 1
        try:
            gevent.sleep(self._seconds[number])
        finally:
            self.ended.append(number)
        if number in self._failing:
            raise LinkLost("master", f"attempt {number}")
        return number

    def first(self, seconds: float) -> int:
        return first_of(self, seconds, self.discarded.append)


def test_an_answer_in_time_is_asked_for_once() -> None:
    tried = Attempts(0.01)
    assert tried.first(30) == 0 and tried.begun == 1


def test_an_attempt_without_an_answer_does_not_hold_up_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_BESIDE", 0.05)
    tried = Attempts(1000, 1000, 0)
    assert tried.first(1000) == 2
    assert sorted(tried.ended) == [0, 1, 2]


def test_a_slow_answer_counts_although_others_were_asked_meanwhile() -> None:
    tried = Attempts(1.0, 1000, 1000, 1000)
    assert tried.first(1.2) == 0


def test_there_are_never_more_than_some_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_BESIDE", 0.01)
    tried = Attempts(*[0.5] * 10, failing=tuple(range(10)))
    with pytest.raises(LinkLost, match="attempt 0"):
        tried.first(100)
    assert tried.begun == MOST


def test_a_refusal_is_final_when_nothing_else_is_asked() -> None:
    tried = Attempts(0, failing=(0,))
    with pytest.raises(LinkLost, match="attempt 0"):
        tried.first(100)
    assert tried.begun == 1


def test_results_that_come_too_late_are_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_BESIDE", 0.0)
    tried = Attempts(0.05, 0.05, 0.05, 0.05)
    assert tried.first(100) in range(4)
    assert len(tried.discarded) <= 3 and len(set(tried.discarded)) == len(tried.discarded)


def test_what_fails_is_tried_again_until_it_succeeds() -> None:
    tries = []

    def attempt(left: float) -> str:
        tries.append(left)
        if len(tries) < 3:
            raise LinkLost("master", "not yet")
        return "done"

    assert retry_for(10, attempt, LinkLost) == "done"
    assert len(tries) == 3 and tries == sorted(tries, reverse=True)


def test_another_failure_is_not_tried_again() -> None:
    def attempt(left: float) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        retry_for(10, attempt, LinkLost)
    with pytest.raises(ValueError):
        first_of(attempt, 10, lambda result: None)

"""When a master looks, and how a worker comes to watch for it. Time is what the tests say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import gevent
import pytest

from test.support.processes import PATIENCE
from xget_lib import ipc
from xget_lib.master import rescan
from xget_lib.master.change_monitor import ChangeMonitor
from xget_lib.master.rescan import RescanInterval, RescanSchedule
from xget_lib.master.workers import Pool, Worker
from xget_lib.snapshot.watch import EVERYTHING, Changes

A_FILE = Changes(directories=frozenset([b"a"]))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rescan, "time", clock)
    return clock


def due(planned: RescanSchedule) -> Changes | None:
    """What is to be looked at now, if anything is. Nothing is waited for: the clock stands."""
    waiting = gevent.spawn(planned.next)
    gevent.sleep(0)
    if not waiting.ready():
        waiting.kill()
        return None
    found = waiting.get()
    assert found is not None
    return found


def looked(clock: Clock, seconds: float = 0.1) -> RescanSchedule:
    planned = RescanSchedule()
    planned.done(seconds)
    return planned


@pytest.mark.parametrize(
    ("reason", "pause"),
    [(RescanSchedule.at_once, 0), (RescanSchedule.for_stale, 1), (RescanSchedule.for_arrival, 10)],
    ids=["at once", "stale", "arrival"],
)
def test_each_reason_has_its_patience(clock: Clock, reason: Callable[[RescanSchedule], None], pause: float) -> None:
    planned = looked(clock)
    reason(planned)
    clock.now += pause - 0.01
    assert due(planned) == (None if pause else EVERYTHING)
    clock.now += 0.02
    assert due(planned) == (EVERYTHING if pause else None)
    clock.now += 1000
    assert due(planned) is None, "one look is enough"


def test_an_earlier_reason_comes_first_and_does_for_the_later(clock: Clock) -> None:
    planned = looked(clock)
    planned.for_arrival()
    planned.for_stale()
    clock.now += 1
    assert due(planned) == EVERYTHING
    planned.done(0.1)
    clock.now += 1000
    assert due(planned) is None


def test_looks_that_take_long_are_rarer(clock: Clock) -> None:
    planned = looked(clock, seconds=4)
    planned.for_arrival()
    clock.now += 199
    assert due(planned) is None
    clock.now += 2
    assert due(planned) == EVERYTHING


def test_what_changed_is_looked_at_soon_and_nothing_else(clock: Clock) -> None:
    planned = looked(clock, seconds=0.5)
    planned.for_arrival()
    planned.for_changes(A_FILE)
    clock.now += 0.4
    assert due(planned) is None, "looking leaves as much time as it takes"
    planned.for_changes(Changes(trees=frozenset([b"b"])))
    clock.now += 0.2
    assert due(planned) == Changes(frozenset([b"a"]), frozenset([b"b"]))
    planned.done(0.5)
    clock.now += 25
    assert due(planned) == EVERYTHING, "who arrived has not been served by that"


@pytest.mark.parametrize(("rhythm", "pause"), [(RescanInterval.SELDOM, 60), (RescanInterval.OFTEN, 2)])
def test_a_rhythm_comes_again_and_again(clock: Clock, rhythm: RescanInterval, pause: float) -> None:
    planned = looked(clock)
    planned.rhythm = rhythm
    for _ in range(3):
        clock.now += pause - 0.01
        assert due(planned) is None
        clock.now += 0.02
        assert due(planned) == EVERYTHING
        planned.done(0.1)
    planned.rhythm = RescanInterval.NEVER
    clock.now += 1000
    assert due(planned) is None


def test_who_waits_is_woken_by_a_new_reason_and_by_time() -> None:
    planned = RescanSchedule()
    planned.done(0.0)
    waiting = gevent.spawn(planned.next)
    gevent.sleep(0)
    planned.for_changes(A_FILE)
    assert waiting.get(timeout=PATIENCE) == A_FILE
    planned.done(0.01)
    planned.for_stale()
    assert gevent.spawn(planned.next).get(timeout=PATIENCE) == EVERYTHING


@dataclass
class FakePool:
    """As much of a pool as a vigil uses."""

    workers: list[Any] = field(default_factory=list)
    sent: list[tuple[Any, ipc.Message]] = field(default_factory=list)

    def send(self, worker: Any, message: ipc.Message) -> None:
        assert worker in self.workers, "its channel is closed"
        self.sent.append((worker, message))


@dataclass(eq=False)
class FakeWorker:
    connections: range


class Watched:
    """A vigil over nothing. `one` and `other` are its workers."""

    def __init__(self) -> None:
        self.one, self.other = (cast(Worker, FakeWorker(range(count))) for count in (1, 2))
        self.pool = FakePool([self.other, self.one])
        self.looks = RescanSchedule()
        self.looks.done(0.0)
        self.vigil = ChangeMonitor(cast(Pool, self.pool), self.looks, b"/srv", one_file_system=True)

    def sent(self) -> list[tuple[Any, ipc.Message]]:
        sent, self.pool.sent = self.pool.sent, []
        return sent


NOTICE = ipc.Notice(b"/srv", True)
BEGUN = ipc.Changed((), (), True)
CANNOT = ipc.CannotNotice("too many")


def test_nobody_watches_before_somebody_follows_and_after() -> None:
    watched = Watched()
    watched.vigil.attend(False)
    watched.vigil.check()
    watched.vigil.again(asked=True)
    assert watched.sent() == []
    watched.vigil.attend(True)
    watched.vigil.attend(True)
    assert watched.sent() == [(watched.one, NOTICE)]
    assert (watched.looks.rhythm, watched.vigil.notices) == (RescanInterval.NEVER, False)
    watched.vigil.handle(watched.one, BEGUN)
    assert (watched.looks.rhythm, watched.vigil.notices) == (RescanInterval.SELDOM, True)
    watched.vigil.attend(False)
    assert watched.sent() == [(watched.one, ipc.StopNoticing())]
    assert watched.looks.rhythm is RescanInterval.NEVER


def test_what_is_noticed_is_looked_at() -> None:
    watched = Watched()
    watched.vigil.attend(True)
    watched.vigil.handle(watched.other, ipc.Changed((b"x",), (), False))  # it watches no more
    watched.vigil.handle(watched.one, ipc.Changed((b"a",), (b"b",), False))
    assert watched.looks.next() == Changes(frozenset([b"a"]), frozenset([b"b"]))


def test_another_watches_when_one_is_gone() -> None:
    watched = Watched()
    watched.vigil.attend(True)
    watched.vigil.handle(watched.one, BEGUN)
    watched.sent()
    watched.vigil.check()
    assert watched.sent() == []
    watched.pool.workers.remove(watched.one)
    watched.vigil.check()
    assert watched.sent() == [(watched.other, NOTICE)]
    assert not watched.vigil.notices


def test_followers_may_end_with_the_worker_that_watches() -> None:
    watched = Watched()
    watched.vigil.attend(True)
    watched.pool.workers.remove(watched.one)
    watched.sent()
    watched.vigil.attend(False)
    assert watched.sent() == []
    watched.vigil.attend(True)
    assert watched.sent() == [(watched.other, NOTICE)]


def test_the_first_worker_that_comes_watches() -> None:
    watched = Watched()
    watched.pool.workers = []
    watched.vigil.attend(True)
    assert watched.sent() == []
    watched.pool.workers = [watched.one]
    watched.vigil.check()
    assert watched.sent() == [(watched.one, NOTICE)]


def test_what_cannot_be_watched_is_tried_again_when_somebody_asks(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.vigil.attend(True)
    watched.vigil.handle(watched.one, CANNOT)
    assert watched.looks.rhythm is RescanInterval.OFTEN
    watched.sent()
    watched.vigil.check()
    watched.vigil.again(asked=False)
    assert watched.sent() == [], "not at every change"
    watched.vigil.again(asked=True)
    assert watched.sent() == [(watched.one, NOTICE)]
    watched.vigil.handle(watched.one, BEGUN)
    assert watched.vigil.notices

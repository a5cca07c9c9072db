"""When a master scans again, and which worker watches for changes. The tests set the clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import gevent
import pytest

from test.support.processes import PATIENCE
from xget_lib import ipc
from xget_lib.master import rescan
from xget_lib.master.rescan import ChangeMonitor, RescanInterval, RescanSchedule, ScanReason
from xget_lib.master.worker_process import WorkerProcess
from xget_lib.master.workers import WorkerPool


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


def is_due(schedule: RescanSchedule) -> bool:
    """Whether a scan is due now, and begins then. Nothing is waited for: the clock stands."""
    waiting = gevent.spawn(schedule.wait)
    gevent.sleep(0)
    if waiting.ready():
        return True
    waiting.kill()
    return False


def scanned(clock: Clock, seconds: float = 0.1) -> RescanSchedule:
    """A schedule whose last scan has just ended, after so many seconds."""
    schedule = RescanSchedule()
    schedule.done(seconds)
    return schedule


@pytest.mark.parametrize(
    ("reason", "delay"),
    [
        (ScanReason.REQUEST, 0),
        (ScanReason.FILE_CHANGED, 0.2),
        (ScanReason.DIRECTORY_CHANGED, 0.1),
        (ScanReason.NOBODY_FOLLOWS, 1),
        (ScanReason.STILL_CHANGING, 2),
    ],
)
def test_each_reason_has_its_delay(clock: Clock, reason: ScanReason, delay: float) -> None:
    schedule = scanned(clock)
    schedule.request(reason)
    clock.now += max(0, delay - 0.01)
    assert is_due(schedule) == (not delay)
    clock.now += 0.02
    assert is_due(schedule) == bool(delay)
    clock.now += 1000
    assert not is_due(schedule), "one scan is enough"


def test_the_earliest_reason_counts_and_one_scan_is_enough_for_all(clock: Clock) -> None:
    schedule = scanned(clock)
    schedule.request(ScanReason.STILL_CHANGING)
    schedule.request(ScanReason.FILE_CHANGED)
    clock.now += 1
    assert is_due(schedule)
    schedule.done(0.1)
    clock.now += 1000
    assert not is_due(schedule)


def test_scans_that_take_long_are_rarer(clock: Clock) -> None:
    schedule = scanned(clock, seconds=4)
    schedule.request(ScanReason.NOBODY_FOLLOWS)
    clock.now += 39
    assert not is_due(schedule)
    clock.now += 2
    assert is_due(schedule)


def test_scans_because_of_changes_leave_as_much_time_as_they_take(clock: Clock) -> None:
    schedule = scanned(clock, seconds=0.5)
    schedule.request(ScanReason.DIRECTORY_CHANGED)
    clock.now += 0.4
    assert not is_due(schedule)
    clock.now += 0.2
    assert is_due(schedule)


@pytest.mark.parametrize(("interval", "seconds"), [(RescanInterval.SELDOM, 60), (RescanInterval.OFTEN, 2)])
def test_an_interval_causes_scans_again_and_again(clock: Clock, interval: RescanInterval, seconds: float) -> None:
    schedule = scanned(clock)
    schedule.repeat(interval)
    for _ in range(3):
        clock.now += seconds - 0.01
        assert not is_due(schedule)
        clock.now += 0.02
        assert is_due(schedule)
        schedule.done(0.1)
    schedule.repeat(RescanInterval.NEVER)
    clock.now += 1000
    assert not is_due(schedule)


def test_a_waiting_scan_is_woken_by_a_new_reason_and_by_time() -> None:
    schedule = RescanSchedule()
    schedule.done(0.0)
    waiting = gevent.spawn(schedule.wait)
    gevent.sleep(0)
    schedule.request(ScanReason.DIRECTORY_CHANGED)
    waiting.get(timeout=PATIENCE)
    schedule.done(0.01)
    schedule.request(ScanReason.FILE_CHANGED)
    gevent.spawn(schedule.wait).get(timeout=PATIENCE)


@dataclass
class FakePool:
    """As much of a pool as a monitor uses."""

    workers: list[Any] = field(default_factory=list)
    sent: list[tuple[Any, ipc.Message]] = field(default_factory=list)

    def send(self, worker: Any, message: ipc.Message) -> bool:
        assert worker in self.workers, "its channel is closed"
        self.sent.append((worker, message))
        return True

    def others_answer(self, worker: Any) -> bool:
        return worker.is_late and not all(each.is_late for each in self.workers)


@dataclass(eq=False)
class FakeWorker:
    connections: range
    is_late: bool = False


class Watched:
    """A monitor of nothing. `one` and `other` are its workers."""

    def __init__(self) -> None:
        self.one, self.other = (cast(WorkerProcess, FakeWorker(range(count))) for count in (1, 2))
        self.pool = FakePool([self.other, self.one])
        self.schedule = RescanSchedule()
        self.schedule.done(0.0)
        self.monitor = ChangeMonitor(cast(WorkerPool, self.pool), self.schedule, b"/srv", one_file_system=True)

    def sent(self) -> list[tuple[Any, ipc.Message]]:
        sent, self.pool.sent = self.pool.sent, []
        return sent


ORDER = ipc.WatchDirectory(b"/srv", True)


def test_a_worker_watches_and_followers_cause_a_scan_now_and_then() -> None:
    watched = Watched()
    watched.monitor.worker_started()
    watched.monitor.worker_started()
    assert watched.sent() == [(watched.one, ORDER)]
    assert not watched.monitor.watching
    watched.monitor.changed(watched.one)
    assert (watched.schedule.interval, watched.monitor.watching) == (RescanInterval.NEVER, True)
    watched.monitor.set_followed(True)
    assert watched.schedule.interval is RescanInterval.SELDOM
    watched.monitor.set_followed(False)
    assert (watched.schedule.interval, watched.sent()) == (RescanInterval.NEVER, [])


def test_the_worker_is_asked_at_once_if_something_changed_as_soon_as_it_watches() -> None:
    watched = Watched()
    watched.monitor.worker_started()
    assert not watched.monitor.check(), "it does not watch yet"
    watched.monitor.changed(watched.one)
    watched.sent()
    assert watched.monitor.check()
    assert watched.sent() == [(watched.one, ipc.CheckDirectory())]


@pytest.mark.parametrize(("followed", "seconds"), [(True, 0.1), (False, 1.0)])
def test_a_change_causes_a_scan_if_the_worker_that_watches_reports_it(
    clock: Clock, followed: bool, seconds: float
) -> None:
    watched = Watched()
    watched.monitor.set_followed(followed)
    watched.monitor.worker_started()
    watched.schedule.done(0.1)
    watched.monitor.changed(watched.other)  # it watches no longer
    clock.now += 2
    assert not is_due(watched.schedule)
    watched.schedule.done(0.1)
    watched.monitor.changed(watched.one)
    clock.now += seconds - 0.01
    assert not is_due(watched.schedule)
    clock.now += 0.02
    assert is_due(watched.schedule)


def test_another_worker_watches_when_one_has_died() -> None:
    watched = Watched()
    watched.monitor.worker_started()
    watched.monitor.changed(watched.one)
    watched.sent()
    watched.monitor.worker_started()
    assert watched.sent() == []
    assert not watched.monitor.lost()
    watched.pool.workers.remove(watched.one)
    assert watched.monitor.lost()
    assert not watched.monitor.lost(), "it is said once"
    assert not watched.monitor.check()
    watched.monitor.worker_started()
    assert watched.sent() == [(watched.other, ORDER)]
    assert not watched.monitor.watching


def test_another_worker_watches_while_one_does_not_answer() -> None:
    watched = Watched()
    watched.monitor.worker_started()
    watched.monitor.changed(watched.one)
    watched.sent()
    cast(FakeWorker, watched.one).is_late = True
    assert watched.monitor.lost()
    assert watched.sent() == [(watched.other, ORDER)]
    watched.monitor.changed(watched.one)
    assert not watched.monitor.watching
    cast(FakeWorker, watched.other).is_late = True
    assert not watched.monitor.lost(), "nobody else would answer"
    assert watched.sent() == []


def test_if_there_is_no_worker_the_first_that_starts_watches() -> None:
    watched = Watched()
    watched.pool.workers = []
    watched.monitor.worker_started()
    assert watched.sent() == []
    watched.pool.workers = [watched.one]
    watched.monitor.worker_started()
    assert watched.sent() == [(watched.one, ORDER)]


@pytest.mark.parametrize(("took", "trusted"), [(0.09, 0), (0.2, 2), (30, 300)])
def test_inotify_alone_is_not_trusted_for_long_and_not_at_all_where_a_scan_is_cheap(
    clock: Clock, took: float, trusted: float
) -> None:
    schedule = scanned(clock, took)
    assert schedule.is_cheap == (not trusted)
    for seconds in (0, 1.9, 299):
        schedule.done(took)
        clock.now += seconds
        assert schedule.trusts_watch == (seconds < trusted)


def test_scans_for_clients_that_come_all_the_time_leave_most_of_a_core_to_others(clock: Clock) -> None:
    schedule = scanned(clock, 0.08)
    schedule.request(ScanReason.CLIENT_ARRIVED)
    clock.now += 0.2
    assert not is_due(schedule)
    clock.now += 0.05
    assert is_due(schedule)


@pytest.mark.parametrize("can_watch", [True, False])
def test_the_first_scan_waits_until_the_directory_is_watched_or_cannot_be(can_watch: bool) -> None:
    watched = Watched()
    watched.monitor.worker_started()
    waiting = gevent.spawn(watched.monitor.wait, PATIENCE)
    gevent.sleep(0)
    assert not waiting.ready()
    if can_watch:
        watched.monitor.changed(watched.one)
    else:
        watched.monitor.failed(watched.one, "why")
    waiting.get(timeout=PATIENCE / 2)
    Watched().monitor.wait(0)  # no longer than that


def test_what_cannot_be_watched_is_tried_again_when_somebody_asks(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.monitor.set_followed(True)
    watched.monitor.worker_started()
    watched.monitor.failed(watched.one, "too many")
    followed = watched.schedule.interval
    assert followed is RescanInterval.OFTEN
    watched.monitor.set_followed(False)
    not_followed = watched.schedule.interval
    assert not_followed is RescanInterval.NEVER, "a scan is made for each client"
    watched.sent()
    watched.monitor.worker_started()
    watched.monitor.retry(asked=False)
    assert watched.sent() == [], "not at every change"
    watched.monitor.retry(asked=True)
    assert watched.sent() == [(watched.one, ORDER)]
    watched.monitor.changed(watched.one)
    assert watched.monitor.watching

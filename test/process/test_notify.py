"""What a service manager is told, on a real socket, and that nobody else gets its variables."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.service_manager import ServiceManager
from xget_lib.process import notify
from xget_lib.process.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServiceManager]:
    abstract = f"xget-test-{os.getpid()}" if request.param == "abstract" else None
    manager = ServiceManager(tmp_path, watchdog=6.0, abstract=abstract)
    yield manager
    manager.close()


def test_each_message_is_one_datagram_of_lines(manager: ServiceManager) -> None:
    notifier = Notifier.take(dict(manager.environment))
    notifier.ready("a generation", main_pid=77)
    notifier.reloading()
    notifier.ready("a generation")
    notifier.alive("a generation", more_seconds=1.5)
    notifier.stopping()
    lines = [manager.receive().lines for _ in range(5)]
    assert int(lines[1].pop("MONOTONIC_USEC")) > 0
    assert lines == [
        {"READY": "1", "MAINPID": "77", "STATUS": "a generation"},
        {"RELOADING": "1"},
        {"READY": "1"},
        {"WATCHDOG": "1", "EXTEND_TIMEOUT_USEC": "1500000"},
        {"STOPPING": "1"},
    ]


def test_the_status_is_told_when_it_has_changed_and_not_too_often(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = Notifier.take(dict(manager.environment))
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for moment, status in ((100.0, "a"), (101.0, "b"), (105.0, "c"), (111.0, "c"), (112.0, "two\nlines")):
        clock[0] = moment
        notifier.alive(status)
    monkeypatch.undo()
    received = [manager.receive().lines for _ in range(5)]
    assert [lines.get("STATUS") for lines in received] == ["a", None, "c", None, "two\\nlines"]
    assert all(lines["WATCHDOG"] == "1" for lines in received)


def test_the_variables_are_taken_and_only_once(manager: ServiceManager) -> None:
    environment = {**manager.environment, "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    assert Notifier.take(environment).is_wanted
    assert environment == {"HOME": "/"}
    assert not Notifier.take(environment).is_wanted


@pytest.mark.parametrize(
    ("variables", "every"),
    [
        ({}, notify.STATUS_EVERY),
        ({"WATCHDOG_USEC": "3000000"}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, notify.STATUS_EVERY),
        ({"WATCHDOG_USEC": "-3"}, notify.STATUS_EVERY),
        ({"WATCHDOG_USEC": "0"}, notify.STATUS_EVERY),
        ({"WATCHDOG_USEC": "3600000000"}, notify.STATUS_EVERY),
    ],
)
def test_a_watchdog_hears_more_often_than_it_must(variables: dict[str, str], every: float) -> None:
    assert Notifier.take(dict(variables)).every == every


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1", "/nowhere/at/all", "@nobody-there"])
def test_without_a_service_manager_nothing_happens(address: str) -> None:
    notifier = Notifier.take({"NOTIFY_SOCKET": address})
    notifier.ready("status")
    notifier.alive("status")
    notifier.stopping()

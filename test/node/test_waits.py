"""The lines about what a node waits for: the first after some seconds without progress, then few."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from test.support.network import quiet_hub, until
from xget_lib.node import waits as waits_module
from xget_lib.node.waits import Waits
from xget_lib.report.waiting import Wait

NEWS = Wait("news", "the master", "the download begins then", "it is hashing")


class Lines:
    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, event: str, **facts: Any) -> None:
        assert event == "stall"
        self.told.append(facts["message"])


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(waits_module, "FIRST", 0.02)
    with quiet_hub():
        yield


def test_a_line_says_what_is_waited_for_from_whom_since_when_and_what_happens_next() -> None:
    text = (
        r"waiting for news from the master for 65 s \(since \d\d:\d\d:\d\d\): it is hashing; the download begins then"
    )
    assert re.fullmatch(text, NEWS.line(65.2))
    assert re.fullmatch(r"waiting for a from b for 5 s \(since [\d:]+\); then", Wait("a", "b", "then").line(5))


def test_the_first_line_comes_after_some_time_and_the_next_a_minute_later() -> None:
    lines = Lines()
    waits = Waits(lines)
    with waits.on(lambda: NEWS):
        until(lambda: lines.told)
        gevent.sleep(0.2)
    with waits.on(lambda: Wait("another thing", "somebody", "it goes on")):
        gevent.sleep(0.2)
    assert len(lines.told) == 1


def test_a_long_wait_is_told_again_and_says_how_it_stands_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits_module, "APART", 0.05)
    lines = Lines()
    numbers = iter(range(100))
    with Waits(lines).on(lambda: Wait(f"file {next(numbers)}", "the disk", "it goes on")):
        until(lambda: len(lines.told) == 2)
    assert [line.split(" from ")[0] for line in lines.told] == ["waiting for file 0", "waiting for file 1"]


def test_progress_is_no_reason_for_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits_module, "FIRST", 0.3)
    lines = Lines()
    waits = Waits(lines)
    with waits.on(lambda: NEWS):
        for _ in range(50):
            gevent.sleep(0.01)
            waits.progress()
    assert lines.told == []


def test_nothing_is_told_where_nothing_is_waited_for() -> None:
    lines = Lines()
    waits = Waits(lines)
    with waits.on(lambda: NEWS), waits.on(lambda: NEWS):
        pass
    gevent.sleep(0.1)
    assert lines.told == []

"""The feed: looked up rarely, whoever asks and however often; pages get everything once, and then what changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from test.page.nodes import distribution_of, master_status, node
from test.support.network import until
from xget_lib.page import feed as module
from xget_lib.page.feed import Busy, Feed
from xget_lib.report.distribution import DOWNLOADING, Distribution
from xget_lib.report.recent_lines import RecentLines


class Looked:
    """A feed that sees what the test says, twenty times as fast as usual."""

    def __init__(self) -> None:
        self.looks = 0
        self.known = distribution_of(node(1))
        self.fails = False
        self.feed = Feed(self.look, RecentLines())

    def look(self) -> tuple[dict[str, Any], Distribution]:
        self.looks += 1
        if self.fails:
            raise ValueError("something that nobody foresaw")
        return master_status(self.known), self.known


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looked]:
    monkeypatch.setattr(module, "EVERY", 0.05)
    monkeypatch.setattr(module, "IDLE", 0.5)
    looked = Looked()
    yield looked
    looked.feed.close()


def parsed(event: bytes) -> tuple[str, dict[str, Any]]:
    name, data = event.decode().removesuffix("\n\n").split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def next_change(stream: Iterator[bytes], *fields: str) -> dict[str, Any]:
    """The next change that has these fields."""
    while True:
        name, facts = parsed(next(stream))
        assert name == "change"
        if set(fields) <= set(facts):
            return facts


def test_many_who_ask_at_once_cost_one_look(looked: Looked) -> None:
    asking = [gevent.spawn(looked.feed.latest) for _ in range(50)]
    gevent.joinall(asking, raise_error=True)
    assert looked.looks == 1


def test_a_page_gets_everything_and_then_what_changes(looked: Looked) -> None:
    stream = looked.feed.watch()
    name, facts = parsed(next(stream))
    assert (name, facts["names"], facts["cells"]) == ("all", ["node1"], "c_")
    looked.known = distribution_of(node(1), node(2, DOWNLOADING, held=0, fetched=5, from_master=5))
    change = next_change(stream, "names")
    assert (change["names"], change["cells"]) == ({"1": "node2"}, "c_d0")
    flows = change.get("flows") or next_change(stream, "flows")["flows"]
    assert flows["flows"] == [[-1, 0, 5]]
    assert "cells" not in next_change(stream, "sample")


def test_a_page_that_does_not_read_begins_anew(looked: Looked) -> None:
    stream = looked.feed.watch()
    next(stream)
    until(lambda: looked.looks > 12)
    assert list(stream) == []


def test_there_are_not_too_many_pages(looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCHERS", 1)
    stream = looked.feed.watch()
    next(stream)
    with pytest.raises(Busy):
        looked.feed.watch()
    stream.close()  # type: ignore[attr-defined]  # a generator
    next(looked.feed.watch())


def test_while_nobody_looks_it_is_looked_up_rarely(looked: Looked) -> None:
    looked.feed.latest()
    before = looked.looks
    gevent.sleep(0.3)
    assert looked.looks == before
    until(lambda: looked.looks > before)


def test_an_error_that_nobody_foresaw_makes_a_page_late_and_no_more(looked: Looked) -> None:
    looked.fails = True
    asking = gevent.spawn(looked.feed.latest)
    until(lambda: looked.looks > 0)
    looked.fails = False
    assert asking.get(timeout=5).known is looked.known


def test_all_of_a_node_is_told_to_who_points_at_it(looked: Looked) -> None:
    looked.feed.latest()
    found = looked.feed.node(0)
    assert found is not None
    assert (found["place"], found["share"]) == ("node1 (10.0.0.1 port 40000)", 1.0)
    assert looked.feed.node(1) is None

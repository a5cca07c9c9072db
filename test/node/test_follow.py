"""Following the master's generations, with a node whose updates end as the test says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

import gevent
import pytest
from gevent.event import Event

from test.support.network import quiet_hub, until
from xget_lib.errors import Exit, Incomplete, LinkLost, NotServed, NotTrusted, PartlyRefused, UsageError, XGetError
from xget_lib.node import follow
from xget_lib.node.follow import Follower, rebase
from xget_lib.report.events import NOTHING

DONE = {**NOTHING, "generation": "ab" * 32, "notes": ["a note"]}


class Newer:
    """An Event that records how long each wait may take; each ends only by `set`."""

    def __init__(self) -> None:
        self.pauses: list[float | None] = []
        self._event = Event()
        self.set = self._event.set
        self.clear = self._event.clear

    def wait(self, timeout: float | None = None) -> None:
        self.pauses.append(timeout)
        self._event.wait()


class Node:
    """Plays `node.Node` and its child. Each update calls the next of `updates`."""

    def __init__(self, *updates: Callable[[], dict[str, Any]]) -> None:
        self.newer = Newer()
        self.failures: list[XGetError] = []
        self.refused: list[XGetError] = []
        self.child = self
        self.stopped = Event()
        self.hearing: gevent.Greenlet[..., Any] | None = None
        self._updates = list(updates)

    @property
    def outdated(self) -> bool:
        return bool(self._updates)

    @property
    def waits(self) -> int:
        return len(self.newer.pauses)

    def update(self) -> dict[str, Any]:
        return self._updates.pop(0)()

    def rebase(self) -> None:
        self.newer.clear()
        self.update()

    def fetched(self) -> dict[str, Any]:
        return {"fetched": 0}

    def name_generation(self, update: Callable[[], dict[str, Any]]) -> None:
        """The master names a new generation. Returns when the node waits for the next one."""
        waits = self.waits
        self._updates.append(update)
        self.newer.set()
        until(lambda: self.waits > waits)

    def stop(self) -> None:
        self.stopped.set()


def fail(error: Exception) -> Callable[[], dict[str, Any]]:
    def update() -> dict[str, Any]:
        raise error

    return update


def succeed() -> dict[str, Any]:
    return DONE


@pytest.fixture(autouse=True)
def bounded(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO, "xget")
    with quiet_hub():
        yield


def started(node: Node) -> Follower:
    """A follower that has done what there was to do."""
    follower = Follower(node)  # type: ignore[arg-type]  # plays one
    until(lambda: node.waits)
    return follower


def test_a_node_updates_whenever_the_master_names_a_new_generation(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    follower = started(node)
    assert caplog.messages == []
    node.name_generation(succeed)
    assert caplog.messages[0].startswith(f"updated to generation {'ab' * 8}: 0 files")
    assert caplog.messages[1:] == ["a note"]
    node.failures = [Incomplete(b"secret", "permission denied", 0)]
    node.name_generation(succeed)
    assert caplog.messages[-1] == str(node.failures[0])
    assert node.newer.pauses == [None, None, None]
    assert follower.end() is Exit.OK


def test_a_failed_update_is_tried_again_after_pauses_that_grow_until_one_succeeds() -> None:
    node = Node(fail(LinkLost("master", "gone")))
    follower = started(node)
    for _ in range(3):
        node.name_generation(fail(LinkLost("master", "gone")))
    node.name_generation(succeed)
    node.name_generation(fail(LinkLost("master", "gone")))
    for pause, longest in zip(node.newer.pauses, (1, 2, 4, 8, None, 1), strict=True):
        assert pause is None if longest is None else pause is not None and longest / 2 <= pause <= longest
    assert follower.end() is Exit.OK


def test_what_the_destination_refused_is_tried_again_and_told_when_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Node()
    node.refused = node.failures = [PartlyRefused([(b"one", "busy"), (b"two", "busy")])]
    follower = started(node)
    told = ["updated", "a note", "one: busy", "two: busy"]
    for _ in range(2):
        node.name_generation(succeed)
        assert [message.partition(" to ")[0] for message in caplog.messages] == told
    node.refused = node.failures = [PartlyRefused([(b"two", "busy")])]
    node.name_generation(succeed)
    assert caplog.messages[-1] == "two: busy" and len(caplog.messages) == 7
    node.refused = node.failures = []
    node.name_generation(succeed)
    for pause, longest in zip(node.newer.pauses, (1, 2, 4, 8, None), strict=True):
        assert pause is None if longest is None else pause is not None and longest / 2 <= pause <= longest
    assert follower.end() is Exit.OK


@pytest.mark.parametrize("error", [NotServed(b"path"), NotTrusted(bytes(32), "why"), UsageError("no")])
def test_what_only_another_generation_can_put_right_is_not_tried_again(
    error: XGetError, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(fail(error))
    follower = started(node)
    assert node.newer.pauses == [None]
    node.name_generation(succeed)
    assert caplog.messages[0] == f"update failed: {error}"
    assert caplog.messages[1].startswith("updated")
    assert follower.end() is Exit.OK


def test_the_end_interrupts_an_update() -> None:
    begun, ended = Event(), Event()

    def update() -> dict[str, Any]:
        begun.set()
        try:
            Event().wait()
        finally:
            ended.set()
        return DONE

    node = Node(update)
    follower = Follower(node)  # type: ignore[arg-type]  # plays one
    begun.wait()
    assert follower.end() is Exit.OK
    assert ended.is_set() and not node.stopped.is_set()


def test_an_update_that_does_not_end_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_STOP_WITHIN", 0.05)
    begun, release, ended = Event(), Event(), Event()

    def update() -> dict[str, Any]:
        begun.set()
        try:
            Event().wait()
        finally:
            release.wait()
            ended.set()
        return DONE

    follower = Follower(Node(update))  # type: ignore[arg-type]  # plays one
    begun.wait()
    assert follower.end() is Exit.OK
    assert not ended.is_set()
    release.set()
    ended.wait()


def test_a_bug_in_an_update_stops_the_child_server() -> None:
    with quiet_hub() as printed:
        node = Node(fail(KeyError("a bug")))
        follower = Follower(node)  # type: ignore[arg-type]  # plays one
        node.stopped.wait()
        assert "a bug" in printed.getvalue()
        printed.truncate(0)
    assert follower.end() is Exit.FAILED


def test_a_bug_in_what_hears_the_master_stops_the_child_server() -> None:
    """It would never hear of another generation."""
    with quiet_hub() as printed:
        node = Node()
        node.hearing = gevent.spawn({}.pop, "a bug")
        follower = Follower(node)  # type: ignore[arg-type]  # plays one
        node.stopped.wait()
        assert "a bug" in printed.getvalue()
        printed.truncate(0)
    assert follower.end() is Exit.FAILED


def test_without_following_what_is_the_same_is_served_in_each_new_generation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(follow, "_REBASE_WITHIN", 0)
    node = Node()
    rebasing = gevent.spawn(rebase, cast(Any, node))
    until(lambda: node.waits)
    node.name_generation(fail(LinkLost("master", "gone")))
    assert caplog.messages == ["cannot serve the new generation: master: gone"]
    node.name_generation(succeed)
    assert not node.outdated and len(caplog.messages) == 1
    rebasing.kill()

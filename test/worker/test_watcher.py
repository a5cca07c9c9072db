"""A worker's watch: when it reports a change to the master, and when it gives up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.queue import Queue

from test.support.processes import PATIENCE
from xget_lib import ipc
from xget_lib.worker import watcher
from xget_lib.worker.watcher import DirectoryWatcher


class Watched:
    """A directory, its watcher, and what that sends to the master."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.sent: Queue[ipc.Message] = Queue()
        self.watcher = DirectoryWatcher(self.sent.put)

    def begin(self) -> None:
        self.watcher.begin(ipc.WatchDirectory(bytes(self.path), False))

    def next(self) -> ipc.Message:
        return self.sent.get(timeout=PATIENCE)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(watcher, "_SILENCE", 0.01)
    watched = Watched(tmp_path / "served")
    yield watched
    watched.watcher.end()
    gevent.sleep(0)


def test_the_first_report_says_that_it_watches_and_each_change_is_reported(watched: Watched) -> None:
    watched.begin()
    assert watched.next() == ipc.Changed()
    for number in range(2):
        (watched.path / "file").write_bytes(b"%d" % number)
        assert watched.next() == ipc.Changed()
    assert watched.sent.empty()


def test_changes_that_come_together_are_reported_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.begin()
    watched.next()
    monkeypatch.setattr(watcher, "_SILENCE", 0.2)
    for number in range(20):
        (watched.path / f"file{number}").write_bytes(b"content")
        gevent.sleep(0)
    assert watched.next() == ipc.Changed()
    assert watched.sent.empty()


def test_a_directory_that_replaces_the_watched_one_is_watched(watched: Watched) -> None:
    watched.begin()
    watched.next()
    (watched.path.parent / "next").mkdir()
    watched.path.rename(watched.path.parent / "before")
    (watched.path.parent / "next").rename(watched.path)
    assert watched.next() == ipc.Changed()
    (watched.path / "file").write_bytes(b"content")
    assert watched.next() == ipc.Changed()


def test_what_cannot_be_watched_is_reported_with_the_reason(watched: Watched) -> None:
    watched.path.rmdir()
    watched.begin()
    failed = watched.next()
    assert isinstance(failed, ipc.WatchFailed)
    assert "No such file" in failed.why


def test_nothing_is_reported_after_the_end(watched: Watched) -> None:
    watched.begin()
    watched.next()
    watched.watcher.end()
    gevent.sleep(0)
    (watched.path / "file").write_bytes(b"content")
    with pytest.raises(gevent.Timeout):
        gevent.with_timeout(0.1, watched.sent.get)

"""Snapshots, with jobs done in place: what is hashed again, and what happens when files change meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import gevent
import pytest

from test.support.descriptors import open_descriptors
from test.support.downloads import manifest_of
from test.support.mounted import Mounts, do
from test.support.trees import noise, write
from xget_lib import ipc
from xget_lib.errors import Failed, SourceSuspect, StillChanging
from xget_lib.ipc.jobs import HashPieces, Request, Saved, SaveDigestCache, ScanTree
from xget_lib.master import snapshotter
from xget_lib.master.scan_progress import Progress
from xget_lib.master.snapshotter import Snapshot, Taken, take_snapshot
from xget_lib.master.workers import WorkerPool
from xget_lib.worker import jobs


class Workers:
    """A pool that does jobs in place. `before_hashing` is called before the first of an attempt."""

    size = 1

    def __init__(self) -> None:
        self.before_hashing: Callable[[], object] = lambda: None
        self.requests: list[Request] = []

    def work(self, what: str, request: Request, expected: type[Any], descriptors: Sequence[int]) -> Any:
        self.requests.append(request)
        if isinstance(request, HashPieces) and request.first == 0:
            self.before_hashing()
        answer, made = jobs.perform(ipc.Job(1, request), descriptors)
        if isinstance(answer, ipc.JobFailed):
            raise Failed(what, answer.error)
        assert isinstance(answer.result, expected)
        return answer.result, made


class Server:
    """Takes snapshots of a tree."""

    def __init__(self, root: Path, *, one_file_system: bool = False) -> None:
        self.workers = Workers()
        self._scan = ScanTree(bytes(root), one_file_system, True, False)
        self._taken: list[Snapshot] = []
        self.progress = Progress()

    def take(self, cache_path: bytes = b"/nowhere", *, force: bool = False, rehash: bool = False) -> Taken:
        former = self._taken[-1] if self._taken else None
        pool = cast(WorkerPool, self.workers)
        progress = self.progress
        taken = take_snapshot(pool, self._scan, former, cache_path, progress=progress, rehash=rehash, force=force)
        if taken.snapshot is not None:
            self._taken.append(taken.snapshot)
        return taken

    def snapshot(self, cache_path: bytes = b"/nowhere") -> Snapshot | None:
        return self.take(cache_path).snapshot

    def close(self) -> None:
        for taken in self._taken:
            taken.close()
        jobs.forget()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "served"
    root.mkdir()
    for number in range(3):
        write(root / f"file{number}", noise(100_000, number))
    return root


@pytest.fixture
def server(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(snapshotter, "_PAUSE", 0)
    gevent.spawn(int).join()  # the event loop has descriptors of its own
    gc.collect()  # descriptors of earlier tests
    before = len(open_descriptors())
    server = Server(tree)
    yield server
    server.close()
    assert len(open_descriptors()) == before, "descriptors are left"


def test_a_snapshot_is_the_manifest_of_the_directory(server: Server, tree: Path) -> None:
    taken = server.snapshot()
    assert taken is not None
    assert (taken.facts.generation, taken.facts.files, taken.hashed) == (manifest_of(tree).generation, 3, 6)


def test_without_a_change_there_is_no_other_snapshot(server: Server) -> None:
    assert server.snapshot() is not None
    assert server.snapshot() is None


def test_a_file_that_changes_while_it_is_read_costs_another_attempt(server: Server, tree: Path) -> None:
    def change_once() -> None:
        server.workers.before_hashing = lambda: None
        write(tree / "file0", noise(100_000, 9))

    server.workers.before_hashing = change_once
    taken = server.snapshot()
    assert taken is not None
    assert taken.facts.generation == manifest_of(tree).generation


def test_a_file_that_does_not_stop_changing_is_left_out_until_it_is_quiet(server: Server, tree: Path) -> None:
    numbers = iter(range(100))
    server.workers.before_hashing = lambda: write(tree / "file0", noise(100_000, next(numbers)))
    taken = server.take()
    assert taken.changing
    assert taken.snapshot is not None
    assert taken.snapshot.facts.files == 2
    assert taken.snapshot.facts.omitted == ("file0: still changing",)
    server.workers.before_hashing = lambda: None
    taken = server.take()
    assert not taken.changing
    assert taken.snapshot is not None
    assert taken.snapshot.facts.generation == manifest_of(tree).generation


def test_no_more_of_a_large_file_is_hashed_once_it_is_known_to_have_changed(
    server: Server, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshotter, "_RUN_PIECES", 1)
    write(tree / "large", noise(2_000_000, 7))
    server.workers.before_hashing = lambda: (tree / "large").touch()
    asked = server.workers.requests
    server.take()
    in_large = [request for request in asked if isinstance(request, HashPieces) and request.first >= 6]
    assert len(in_large) < 4, "of 31 pieces in each of two attempts"


def test_a_single_file_that_does_not_stop_changing_is_said_to_be_so(tree: Path) -> None:
    server = Server(tree / "file0")
    server.workers.before_hashing = (tree / "file0").touch
    with pytest.raises(StillChanging, match="file0: still changing"):
        server.take()
    server.close()


def test_a_directory_that_became_empty_is_not_published_unless_forced(server: Server, tree: Path) -> None:
    assert server.snapshot() is not None
    for path in tree.iterdir():
        path.unlink()
    with pytest.raises(SourceSuspect, match="it is empty now; still serving the former generation"):
        server.take()
    taken = server.take(force=True).snapshot
    assert taken is not None
    assert taken.facts.files == 0
    assert server.snapshot() is None, "it is no surprise any more"


def test_a_directory_that_is_gone_is_a_failure(server: Server, tree: Path) -> None:
    tree.rename(tree.parent / "elsewhere")
    with pytest.raises(Failed, match="snapshot: "):
        server.snapshot()


# What is mounted below.


@pytest.fixture
def below(tree: Path, mounts: Mounts) -> Path:
    """A file system below the directory, with a file."""
    (tree / "below").mkdir()
    (mounts.memory(tree / "below") / "file").write_bytes(b"content")
    return tree / "below"


@pytest.mark.root
def test_a_file_system_that_covers_another_one_is_not_published_unless_forced(
    server: Server, below: Path, mounts: Mounts
) -> None:
    assert server.snapshot() is not None
    mounts.memory(below)
    with pytest.raises(SourceSuspect, match="another file system is mounted at below now"):
        server.take()
    taken = server.take(force=True).snapshot
    assert taken is not None
    assert taken.facts.files == 3
    assert server.take().snapshot is None, "it is no surprise any more"


@pytest.mark.root
def test_a_file_system_that_has_lost_all_is_not_published(server: Server, below: Path) -> None:
    assert server.snapshot() is not None
    (below / "file").unlink()
    with pytest.raises(SourceSuspect, match="the file system at below is empty now"):
        server.take()


@pytest.mark.root
@pytest.mark.parametrize("one_file_system", [False, True])
def test_a_file_system_over_a_directory_that_was_not_empty_is_not_published(
    tree: Path, mounts: Mounts, one_file_system: bool
) -> None:
    (tree / "full").mkdir()
    (tree / "empty").mkdir()
    write(tree / "full" / "file", b"content")
    server = Server(tree, one_file_system=one_file_system)
    try:
        assert server.snapshot() is not None
        mounts.memory(tree / "empty")
        server.take()
        mounts.memory(tree / "full")
        with pytest.raises(SourceSuspect, match="a file system was mounted over full, which was not empty"):
            server.take()
    finally:
        server.close()


# Another run of the master.


@pytest.fixture
def cache(tmp_path: Path) -> bytes:
    return bytes(tmp_path / "cache" / "digests")


def restarted(tree: Path, cache: bytes) -> Server:
    """A server that serves what an earlier one has served, and saved in the cache."""
    earlier = Server(tree)
    taken = earlier.snapshot(cache)
    assert taken is not None
    earlier.workers.work("save", SaveDigestCache(cache), Saved, [taken.digest_cache])
    earlier.close()
    return Server(tree)


def test_a_directory_that_is_empty_after_a_restart_is_not_published_unless_forced(tree: Path, cache: bytes) -> None:
    server = restarted(tree, cache)
    for path in tree.iterdir():
        path.unlink()
    with pytest.raises(SourceSuspect, match="it is empty, and was not when it was served last; nothing is served"):
        server.take(cache)
    with pytest.raises(SourceSuspect, match="nothing is served"):
        server.take(cache, rehash=True)
    assert server.take(cache, force=True).snapshot is not None
    server.close()


@pytest.mark.root
@pytest.mark.parametrize("where", [".", "below"])
def test_a_directory_whose_file_system_is_not_mounted_after_a_restart_is_not_published(
    tree: Path, cache: bytes, mounts: Mounts, where: str
) -> None:
    (tree / where).mkdir(exist_ok=True)
    (mounts.memory(tree / where) / "file").write_bytes(b"content")
    server = restarted(tree, cache)
    do("umount", tree / where)
    try:
        with pytest.raises(SourceSuspect, match=r"the file system at .* is not mounted; nothing is served"):
            server.take(cache)
    finally:
        do("mount", "-t", "tmpfs", "none", tree / where)
        server.close()


def test_a_first_start_on_an_empty_directory_is_nothing_special(tree: Path, cache: bytes) -> None:
    for path in tree.iterdir():
        path.unlink()
    server = Server(tree)
    assert server.take(cache).snapshot is not None
    server.close()

"""One generation: what is downloaded, kept, verified and served, and what is told of it."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest

from test.support.downloads import Served, fetch, inspect, is_same
from test.support.network import quiet_hub
from test.support.nodes import Peer, configured
from test.support.trees import noise, write
from xget_lib.errors import DestinationRefused, MasterUnreachable, NotAdmitted
from xget_lib.manifest.manifest import Omitted
from xget_lib.manifest.selection import select
from xget_lib.net.listen import listen
from xget_lib.node import content_watch
from xget_lib.node import waits as waits_module
from xget_lib.node.child import Child
from xget_lib.node.generation import Generation, NodeContext, dry_run, incomplete
from xget_lib.node.master_link import MasterLink
from xget_lib.node.patience import Patience
from xget_lib.node.transfer import Transfer
from xget_lib.node.transfer_run import NewGeneration, TransferStats
from xget_lib.node.waits import Waits
from xget_lib.serve.served import EncodedManifest
from xget_lib.swarm.messages import Address, News

SIZE = 300_000
SMALL = 1000


class Node:
    """What the generations of a node need, without the node. `told` are its events."""

    def __init__(self, dest: Path, **options: Any) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.stats = TransferStats()
        self._transfer = Transfer(MasterLink("127.0.0.1", 1, serving_port=None), retries=0)
        self.child = Child(listen("127.0.0.1", 0), bytes(dest), 0, self._transfer)
        config = configured(1, **options)
        self.context = NodeContext(config, bytes(dest), self._tell, self._transfer, self.child, Waits(self._tell))

    def _tell(self, event: str, **facts: Any) -> None:
        self.told.append((event, facts))

    def facts_of(self, event: str) -> list[dict[str, Any]]:
        return [facts for told, facts in self.told if told == event]

    def generation(self, served: Served, *sources: bytes) -> Generation:
        self.child.manifest = EncodedManifest.of(served.manifest.encode())
        return Generation(self.context, served.manifest, select(served.manifest, sources or (b".",)))

    def name(self, served: Served, *peers: Address) -> None:
        self._transfer.master_named(News(served.manifest.generation, 1, peers, master_first=False))

    def held(self) -> int:
        """How many chunks are served."""
        assert self.child.served is not None
        return self.child.served.store.held.count


@pytest.fixture(autouse=True)
def bounded() -> Iterator[io.StringIO]:
    with quiet_hub() as printed:
        yield printed


@pytest.fixture
def source(tmp_path: Path) -> Served:
    (tmp_path / "served").mkdir()
    write(tmp_path / "served" / "large", noise(SIZE, 1))
    write(tmp_path / "served" / "small", noise(SMALL, 2))
    return Served(tmp_path / "served")


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


@pytest.fixture
def copied(source: Served, dest: Path) -> Path:
    """A destination with all content, sizes and times, that nobody has read."""
    shutil.copytree(source.directory, dest)
    return dest


def test_all_that_is_missing_is_fetched_and_then_served(source: Served, dest: Path) -> None:
    node = Node(dest)
    node.name(source, Peer(source.directory, source).address)
    done = node.generation(source).run(None, node.stats)
    assert is_same(source, dest)
    assert done == {
        "generation": source.manifest.generation.hex(),
        "files": 2,
        "bytes": SIZE + SMALL,
        "reused": 0,
        "unchanged": 0,
        "removed": 0,
        "notes": [],
    }
    assert node.facts_of("start")[0]["bytes"] == node.stats.fetched == SIZE + SMALL
    assert node.held() == source.layout.chunk_count


def test_only_what_was_asked_for_is_fetched(source: Served, dest: Path) -> None:
    node = Node(dest)
    node.name(source, Peer(source.directory, source).address)
    done = node.generation(source, b"small").run(None, node.stats)
    assert (done["files"], node.stats.fetched) == (1, SMALL)
    assert os.listdir(dest) == ["small"]


def test_files_that_are_accepted_by_size_and_time_are_read_before_they_are_served(source: Served, copied: Path) -> None:
    node = Node(copied)
    generation = node.generation(source)
    done = generation.run(None, node.stats)
    assert (done["reused"], node.stats.fetched, node.held()) == (SIZE + SMALL, 0, 0)
    generation.wait_until_verified()
    assert node.held() == source.layout.chunk_count
    assert node.child.served is not None and not node.child.served.store.more_may_come


def test_a_file_with_the_right_size_and_time_and_other_content_is_not_served(source: Served, copied: Path) -> None:
    write(copied / "small", noise(SMALL, 3))
    node = Node(copied)
    generation = node.generation(source)
    generation.run(None, node.stats)
    generation.wait_until_verified()
    lacking = set(source.layout.file_chunks(source.file_named(b"small")))
    assert node.held() == source.layout.chunk_count - len(lacking)
    assert (copied / "small").read_bytes() == noise(SMALL, 3)
    assert generation.wrong == {source.file_named(b"small")}


def test_the_next_run_reads_what_turned_out_to_be_wrong(source: Served, copied: Path) -> None:
    node = Node(copied)
    node.generation(source).run(None, node.stats)
    write(copied / "small", noise(SMALL, 3))
    generation = node.generation(source)
    assert generation.run(None, node.stats)["unchanged"] == 2
    generation.wait_until_verified()
    node.name(source, Peer(source.directory, source).address)
    again = node.generation(source)
    assert again.run(None, node.stats)["unchanged"] == 1
    assert (node.stats.fetched, again.wrong) == (SMALL, set())
    assert is_same(source, copied)


def test_a_distrusted_file_is_read_although_its_size_and_time_are_right(source: Served, copied: Path) -> None:
    write(copied / "small", noise(SMALL, 3))
    node = Node(copied)
    node.name(source, Peer(source.directory, source).address)
    distrusted = frozenset({source.file_named(b"small")})
    generation = Generation(node.context, source.manifest, select(source.manifest, (b".",)), None, distrusted)
    node.child.manifest = EncodedManifest.of(source.manifest.encode())
    generation.run(None, node.stats)
    assert (node.stats.fetched, is_same(source, copied)) == (SMALL, True)


def test_with_checksum_a_file_with_other_content_is_fetched(source: Served, copied: Path) -> None:
    write(copied / "small", noise(SMALL, 3))
    node = Node(copied, checksum=True)
    node.name(source, Peer(source.directory, source).address)
    done = node.generation(source).run(None, node.stats)
    assert (done["reused"], node.stats.fetched) == (SIZE, SMALL)
    assert is_same(source, copied)


def test_what_was_verified_for_the_generation_before_is_served_at_once(
    source: Served, dest: Path, tmp_path: Path
) -> None:
    node = Node(dest)
    node.name(source, Peer(source.directory, source).address)
    former = node.generation(source)
    former.run(None, node.stats)
    shutil.copytree(source.directory, tmp_path / "newer")
    write(tmp_path / "newer" / "third", noise(SMALL, 4))
    newer = Served(tmp_path / "newer")
    node.name(newer, Peer(newer.directory, newer).address)
    generation, stats = node.generation(newer), TransferStats()
    generation.run(former, stats)
    assert not generation.held.unverified
    assert (node.held(), stats.fetched) == (newer.layout.chunk_count, SMALL)


def test_files_that_nobody_reads_any_more_stay_unserved(source: Served, copied: Path) -> None:
    node = Node(copied)
    generation = node.generation(source)
    generation.run(None, node.stats)
    generation.stop_verifying()
    generation.wait_until_verified()
    assert node.held() == 0


def test_a_newer_generation_ends_the_run(source: Served, dest: Path) -> None:
    node = Node(dest)
    node.name(Served(source.directory.parent))
    with pytest.raises(NewGeneration):
        node.generation(source).run(None, node.stats)


def test_a_destination_that_is_refused_ends_the_run(source: Served, dest: Path, bounded: io.StringIO) -> None:
    dest.write_bytes(b"")
    node = Node(dest)
    with pytest.raises(DestinationRefused, match="dest: Not a directory"):
        node.generation(source).run(None, node.stats)


def fail_large_writes(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Writes to the large file fail."""
    real = os.pwrite

    def write_or_fail(fd: int, data: memoryview, offset: int) -> int:
        if os.fstat(fd).st_size == SIZE:
            raise OSError(number, os.strerror(number))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", write_or_fail)


def test_a_file_that_cannot_be_written_is_not_fetched_further(
    source: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(dest)
    node.name(source, Peer(source.directory, source).address)
    fail_large_writes(monkeypatch, errno.EFBIG)
    generation = node.generation(source)
    generation.run(None, node.stats)
    assert str(generation.failures[0]) == f"{dest}/large: File too large"
    assert os.listdir(dest) == ["small"]


def test_on_a_full_disk_what_is_complete_is_put_in_place(
    source: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with source.download(dest) as download:
        inspect(download)
        fetch(download, source, source.layout.file_pieces(source.file_named(b"small")))
    node = Node(dest)
    node.name(source, Peer(source.directory, source).address)
    fail_large_writes(monkeypatch, errno.ENOSPC)
    with pytest.raises(DestinationRefused, match="large: disk full"):
        node.generation(source).run(None, node.stats)
    assert sorted(os.listdir(dest)) == [".xget", "small"]


def test_a_path_that_is_refused_does_not_end_the_run_and_is_not_served(source: Served, dest: Path) -> None:
    (dest / "small").mkdir(parents=True)
    node = Node(dest)
    node.name(source, Peer(source.directory, source).address)
    generation = node.generation(source)
    generation.run(None, node.stats)
    assert (dest / "large").read_bytes() == (source.directory / "large").read_bytes()
    assert "small: is a directory, but the master has a file here" in str(generation.failures[0])
    file = source.file_named(b"small")
    assert not any(chunk in generation.held.store.held for chunk in source.layout.file_chunks(file))


def test_a_stall_is_told_and_ends_the_run_when_the_master_is_lost_as_well(
    source: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits_module, "FIRST", 0.02)
    monkeypatch.setattr(content_watch, "CHECK_EVERY", 0.01)
    node = Node(dest, timeout=0.2)
    with pytest.raises(MasterUnreachable):
        node.generation(source).run(None, node.stats)
    (stall,) = node.facts_of("stall")
    assert stall["message"].startswith("waiting for content from the master at 127.0.0.1 port 1 for ")
    assert node.facts_of("progress")[0] == {"bytes": 0, "fetched": 0, "peers": 0}


@pytest.mark.parametrize("error", [NotAdmitted("master", "refused"), AssertionError("a bug")])
def test_what_ends_the_watch_ends_the_download(
    source: Served, dest: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Nothing else would: the download waits for ever."""

    def check(patience: Patience, *_: Any) -> None:
        raise error

    monkeypatch.setattr(gevent.get_hub(), "NOT_ERROR", (AssertionError, gevent.GreenletExit))  # it is not printed
    monkeypatch.setattr(content_watch, "CHECK_EVERY", 0.01)
    monkeypatch.setattr(Patience, "check", check)
    with pytest.raises(type(error)) as raised:
        Node(dest).generation(source).run(None, TransferStats())
    assert raised.value is error


def test_a_dry_run_tells_each_step_and_their_sum(source: Served, copied: Path) -> None:
    (copied / "large").unlink()
    (copied / "mine").write_bytes(b"mine")
    node = Node(copied, delete=True)
    done = dry_run(node.context, source.manifest, select(source.manifest, (b".",)), [])
    steps = {facts["path"]: facts["action"] for facts in node.facts_of("step")}
    assert {"large", "mine"} <= set(steps) and "small" not in steps
    assert done["would"]["bytes"] == sum(facts["bytes"] for facts in node.facts_of("step"))
    assert done["would"][steps["large"]] == done["would"][steps["mine"]] == 1
    assert sorted(os.listdir(copied)) == ["mine", "small"]


def test_what_the_master_could_not_read_is_an_error_and_what_it_skips_is_a_note(source: Served, dest: Path) -> None:
    omitted = (
        Omitted(b"a", "Permission denied"),
        Omitted(b"b", "a socket", expected=True),
        Omitted(b"c", "a socket", expected=True),
        Omitted(b"d", "Permission denied"),
    )
    source.manifest = replace(source.manifest, omitted=omitted)
    node = Node(dest)
    node.name(source, Peer(source.directory, source).address)
    done = node.generation(source).run(None, node.stats)
    assert done["notes"] == ["b and 1 other skipped: a socket"]
    failure = incomplete(select(source.manifest, (b".",)))
    assert failure is not None and (failure.path, failure.why, failure.others) == (b"a", "Permission denied", 1)
    assert incomplete(select(source.manifest, (b"small",))) is None

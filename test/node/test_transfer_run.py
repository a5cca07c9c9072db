"""One run of a transfer: its tasks, how it ends, and what it counts."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest

from test.support.downloads import Served
from test.support.network import quiet_hub
from test.support.trees import noise, write
from xget_lib.net.link import Link, Remote
from xget_lib.node.source import ChunkRead, Source
from xget_lib.node.transfer_run import TransferRun, TransferStats
from xget_lib.swarm.actions import MASTER
from xget_lib.swarm.messages import Address

PEER = ("10.0.0.1", 1)


@pytest.fixture
def run(tmp_path: Path) -> TransferRun:
    (tmp_path / "served").mkdir()
    write(tmp_path / "served" / "file", noise(1000, 1))
    served = Served(tmp_path / "served")
    download = served.download(tmp_path / "dest")
    return TransferRun(download, served.manifest.generation, served.layout, TransferStats(), lambda chunk: None)


class IdleLink(Link):
    """A connection on which nothing happens."""

    def __init__(self) -> None:
        """Without a socket."""

    @property
    def received(self) -> int:
        return 0


def source(address: Address) -> Source:
    link = IdleLink()
    return Source(address, link, Remote(link, 1))


def read(address: Address, length: int) -> ChunkRead:
    made = ChunkRead(source(address), 0, [], memoryview(b""), lambda read, why: None)
    made.length = length
    return made


def test_bytes_are_counted_by_source_until_they_turn_out_to_be_wrong() -> None:
    stats = TransferStats()
    for address, length in ((MASTER, 10), (PEER, 5)):
        stats.add(read(address, length))
    assert (stats.fetched, stats.from_master, stats.peers) == (15, 10, {PEER: 5})
    stats.take_back(read(MASTER, 10), 7)
    assert (stats.fetched, stats.from_master) == (8, 3)


def test_a_cancelled_read_gives_its_buffer_back(run: TransferRun) -> None:
    buffer = run.take_buffer()
    assert len(buffer) == run.layout.chunk_size
    peer = source(PEER)
    ChunkRead(peer, 0, [], buffer, lambda read, why: None)
    run.cancel(peer, 1)
    run.cancel(peer, 0)
    assert run.take_buffer() is buffer


def test_the_first_outcome_counts(run: TransferRun) -> None:
    run.finish()
    run.fail(ValueError())
    assert run.outcome.get() is None


def test_a_task_that_fails_ends_the_download(run: TransferRun) -> None:
    def task() -> None:
        raise ValueError

    with quiet_hub() as printed:
        run.spawn(task)
        with pytest.raises(ValueError):
            run.outcome.get()
        gevent.sleep(0)
        printed.truncate(0)
    assert not run.tasks

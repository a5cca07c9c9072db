"""A transfer between real servers in one process: from a peer, from a master, and from those that are no good."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult

from test.support import downloads
from test.support.network import quiet_hub, until
from test.support.nodes import Master, Peer
from test.support.processes import stop_this_process
from test.support.relay import Relay
from test.support.trees import noise, write
from xget_lib.download.download import Download
from xget_lib.errors import NoGoodSource, NotAdmitted, XGetError
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.node import source as source_module
from xget_lib.node.awake import now
from xget_lib.node.master_link import Change, MasterLink
from xget_lib.node.master_slots import MasterSlots
from xget_lib.node.source import CHECK_EVERY
from xget_lib.node.transfer import Transfer
from xget_lib.node.transfer_run import NewGeneration, TransferStats
from xget_lib.swarm import slots_at_master
from xget_lib.swarm.messages import Address, News

SIZE = 300_000


class Node:
    """What downloads: `run` in a greenlet of its own."""

    def __init__(
        self, source: downloads.Served, dest: Path, master: Address = ("127.0.0.1", 1), retries: int = 0, **options: Any
    ) -> None:
        self.link = MasterLink(*master, serving_port=None)
        self.transfer = Transfer(self.link, retries)
        self.stats = TransferStats()
        self.held: list[int] = []
        self._source = source
        self.download: Download = source.download(dest, **options)

    def start(self) -> AsyncResult[None]:
        ended: AsyncResult[None] = AsyncResult()
        gevent.spawn(self._run, ended)
        return ended

    def attend_master(self) -> None:
        self.link.begin(10)
        gevent.spawn(self._attend)

    def name(self, *peers: Address, master_first: bool = False, generation: bytes | None = None) -> None:
        named = generation or self._source.manifest.generation
        self.transfer.master_named(News(named, 1, peers, master_first))

    def _attend(self) -> None:
        for event in self.link.events():
            if event is Change.CONNECTED:
                self.transfer.master_connected()

    def _run(self, ended: AsyncResult[None]) -> None:
        try:
            self._download_all()
        except (XGetError, NewGeneration) as error:
            ended.set_exception(error)
        else:
            ended.set(None)

    def _download_all(self) -> None:
        layout = self._source.layout
        lacking = Bitmap.filled(layout.chunk_count)
        with self.download:
            downloads.inspect(self.download)
            self.transfer.run(
                self.download, self._source.manifest, lacking, stats=self.stats, on_written=self.held.append
            )
            self.download.install_files(self.download.take_complete())
            self.download.finish()


@pytest.fixture
def source(tmp_path: Path) -> downloads.Served:
    (tmp_path / "served").mkdir()
    write(tmp_path / "served" / "large", noise(SIZE, 1))
    return downloads.Served(tmp_path / "served")


@pytest.fixture
def liar(tmp_path: Path, source: downloads.Served) -> Iterator[Peer]:
    """Its file has the right size and time, but other content."""
    status = os.stat(tmp_path / "served" / "large")
    (tmp_path / "lies").mkdir()
    write(tmp_path / "lies" / "large", noise(SIZE, 2))
    os.utime(tmp_path / "lies" / "large", ns=(status.st_atime_ns, status.st_mtime_ns))
    yield Peer(tmp_path / "lies", source)


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


def content(dest: Path) -> bytes:
    return (dest / "large").read_bytes()


def test_everything_comes_from_a_peer_in_its_upload_slots(tmp_path: Path, source: downloads.Served) -> None:
    peer = Peer(tmp_path / "served", source)
    node = Node(source, tmp_path / "dest")
    node.name(peer.address)
    node.start().get()
    assert content(tmp_path / "dest") == noise(SIZE, 1)
    assert (node.stats.fetched, node.stats.from_master, node.stats.peers) == (SIZE, 0, {peer.address: SIZE})
    assert sorted(node.held) == list(range(source.layout.chunk_count))


def test_what_a_liar_sent_is_fetched_from_another_peer(tmp_path: Path, source: downloads.Served, liar: Peer) -> None:
    node = Node(source, tmp_path / "dest")
    node.name(liar.address)
    running = node.start()
    until(lambda: liar.address in node.stats.peers and not node.transfer.sources)
    node.name(liar.address, Peer(tmp_path / "served", source).address)
    running.get()
    assert content(tmp_path / "dest") == noise(SIZE, 1)
    assert node.stats.fetched == SIZE


def test_a_peer_is_not_given_up_because_this_process_was_stopped(
    tmp_path: Path, source: downloads.Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "STALLED", 4.0)
    monkeypatch.setattr(source_module, "_LONGEST", 4.0)
    monkeypatch.setattr(source_module, "_LONGEST_RATE", SIZE)
    peer = Peer(tmp_path / "served", source)
    with Relay(peer.address[1], hold_after=20_000) as relay:
        node = Node(source, tmp_path / "dest")
        node.name(("127.0.0.1", relay.port))
        running = node.start()
        until(lambda: relay.holds)
        stop_this_process(5)
        began = now()
        until(lambda: now() - began > CHECK_EVERY + 0.1)
        assert node.transfer.peers == [("127.0.0.1", relay.port)]
        until(lambda: not node.transfer.peers)
        node.name(peer.address)
        running.get()
    assert content(tmp_path / "dest") == noise(SIZE, 1)


def test_chunks_that_the_master_offers_are_fetched_from_it(tmp_path: Path, source: downloads.Served) -> None:
    master = Master(tmp_path / "served", source)
    node = Node(source, tmp_path / "dest", master.address)
    node.attend_master()
    node.name(master_first=True)
    running = node.start()
    for chunk in range(source.layout.chunk_count):
        master.answer_slot(b"%d\n" % chunk)
    running.get()
    assert content(tmp_path / "dest") == noise(SIZE, 1)
    assert node.stats.from_master == SIZE


def test_a_refusal_of_the_connection_for_content_is_known_until_it_is_made(
    tmp_path: Path, source: downloads.Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection for news may go on."""
    master = Master(tmp_path / "served", source)
    node = Node(source, tmp_path / "dest", master.address)
    node.attend_master()
    node.name(master_first=True)
    refusal = NotAdmitted("master", "refused")

    def refuse(slots: MasterSlots, seconds: float) -> None:
        raise refusal

    with monkeypatch.context() as patch:
        patch.setattr(MasterSlots, "_open_content", refuse)
        running = node.start()
        master.answer_slot(b"0\n")
        until(lambda: node.link.content_refusal is refusal)
    for chunk in range(source.layout.chunk_count):
        master.answer_slot(b"%d\n" % chunk)
    running.get()
    assert node.link.content_refusal is None


def test_a_master_that_has_forgotten_a_slot_is_asked_anew(
    tmp_path: Path, source: downloads.Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots_at_master, "_OFFER_LEAST", 0.1)
    monkeypatch.setattr(slots_at_master, "_OFFER_USUAL", 0.0)
    master = Master(tmp_path / "served", source)
    node = Node(source, tmp_path / "dest", master.address)
    node.attend_master()
    node.name(master_first=True)
    running = node.start()
    until(lambda: master.backend.requests)
    forgotten, _ = master.backend.requests.popitem()
    until(lambda: master.backend.requests and forgotten not in master.backend.requests)
    chunks = cycle(range(source.layout.chunk_count))

    def answered() -> bool:
        if master.backend.requests:
            master.answer_slot(b"%d\n" % next(chunks))
        return running.ready()

    until(answered)
    running.get()
    assert content(tmp_path / "dest") == noise(SIZE, 1)


@pytest.mark.parametrize("line", [b"-1\n", b"999999999999999999999999\n", b"chunk\n"])
def test_an_offer_of_a_chunk_that_does_not_exist_costs_the_slots_and_nothing_else(
    tmp_path: Path, source: downloads.Served, line: bytes
) -> None:
    master = Master(tmp_path / "served", source)
    node = Node(source, tmp_path / "dest", master.address)
    node.attend_master()
    node.name(master_first=True)
    running = node.start()
    master.answer_slot(line)
    until(lambda: "release slot" in master.backend.said)
    for chunk in range(source.layout.chunk_count):
        master.answer_slot(b"%d\n" % chunk)
    running.get()
    assert content(tmp_path / "dest") == noise(SIZE, 1)


@pytest.mark.parametrize("retries", [0, 2])
def test_what_nobody_has_right_costs_its_file_and_all_else_is_done(tmp_path: Path, retries: int) -> None:
    right, lies, dest = tmp_path / "right", tmp_path / "lies", tmp_path / "dest"
    (right / "many").mkdir(parents=True)
    for number in range(100):
        write(right / f"many/{number}", noise(100, number))
    write(right / "large", noise(SIZE, 1))
    os.link(right / "large", right / "other name of large")
    (right / "link").symlink_to("many")
    (right / "many").chmod(0o750)
    shutil.copytree(right, lies, symlinks=True)
    for name in ("many/7", "many/8", "large"):
        status = os.stat(right / name)
        write(lies / name, noise(status.st_size, 1000))
        os.utime(lies / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    served = downloads.Served(right)
    master = Master(lies, served)
    dest.mkdir()
    write(dest / "surplus", b"x")
    node = Node(served, dest, master.address, retries=retries, delete=True)
    node.attend_master()
    node.name(master_first=True)
    running = node.start()
    offered = 0
    while not running.ready():
        if master.backend.requests:
            master.answer_slot(b"%d\n" % (offered % served.layout.chunk_count))
            offered += 1
        gevent.sleep(0.001)
    running.get()
    given_up, refused = node.download.failures
    assert isinstance(given_up, NoGoodSource) and given_up.exit_status == 5
    assert [line.split(":")[0] for line in given_up.lines] == ["large", "many/7", "many/8"]
    assert [line.split("/dest/")[1] for line in refused.lines] == [
        "other name of large: is another name of large, which was refused"
    ]
    assert sorted(os.listdir(dest)) == ["link", "many"]
    assert (dest / "many").stat().st_mode & 0o777 == 0o750
    assert {path.name for path in (dest / "many").iterdir()} == {str(number) for number in range(100)} - {"7", "8"}
    assert all(path.read_bytes() == (right / "many" / path.name).read_bytes() for path in (dest / "many").iterdir())
    assert 98 * 100 <= node.stats.fetched <= 98 * 100 + SIZE


def test_a_newer_generation_ends_the_transfer(tmp_path: Path, source: downloads.Served) -> None:
    node = Node(source, tmp_path / "dest")
    running = node.start()
    gevent.sleep(0)
    node.name(generation=b"n" * 32)
    with pytest.raises(NewGeneration):
        running.get()


def test_a_generation_that_is_not_the_newest_is_not_begun(tmp_path: Path, source: downloads.Served) -> None:
    node = Node(source, tmp_path / "dest")
    node.name(generation=b"n" * 32)
    with pytest.raises(NewGeneration):
        node.start().get()

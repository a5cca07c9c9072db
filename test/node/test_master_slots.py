"""The slots at a master's namespace: offers, the connection for content, and what makes them useless."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.event import Event
from gevent.queue import Queue

from test.support.backends import RecordingBackend, served
from test.support.downloads import Served
from test.support.network import quiet_hub, until
from test.support.swarm_server import SwarmServer, unused_address
from test.support.trees import noise, write
from xget_lib.errors import LinkLost, NinepError, XGetError
from xget_lib.net.link import Link
from xget_lib.ninep.messages import Tread
from xget_lib.node.master_slots import MasterSlots
from xget_lib.node.source import Source
from xget_lib.serve.attach import SWARM
from xget_lib.serve.synthetic import Stream
from xget_lib.swarm.actions import MASTER
from xget_lib.swarm.messages import Address


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def master(tmp_path: Path) -> SwarmServer:
    write(tmp_path / "file", noise(1000, 1))
    return SwarmServer(RecordingBackend(served(tmp_path, Served(tmp_path).manifest)))


class Node:
    """Has slots at a master. `failures` is what they failed of."""

    def __init__(self, master: SwarmServer, content: Address | None = None) -> None:
        """`content`: where content comes from, if not from the master."""
        self.control = Link.connect(*master.address, SWARM, 10)
        self.failures: list[XGetError] = []
        self.offers: Queue[bytes] = Queue()
        self.slots = MasterSlots(self.control, content or master.address, lambda slots, why: self.failures.append(why))

    def open(self, slot: int) -> None:
        opened = Event()
        self.slots.open(slot, opened.set)
        opened.wait()

    def ask(self, slot: int) -> None:
        self.slots.ask(slot, self.offers.put)


def test_each_slot_is_offered_one_chunk_after_the_other(master: SwarmServer) -> None:
    node = Node(master)
    for slot in (1, 2):
        node.open(slot)
        node.ask(slot)
    until(lambda: len(master.backend.requests) == 2)
    for line in (b"7\n", b"8\n"):
        master.answer_slot(line)
        assert node.offers.get() == line
    node.ask(1)
    master.answer_slot(b"9\n")
    assert node.offers.get() == b"9\n"
    assert node.failures == []


def test_the_master_is_told_which_chunks_are_wanted(master: SwarmServer) -> None:
    node = Node(master)
    node.open(1)
    node.slots.send_wants(b"\5")
    until(lambda: master.backend.said == [b"\5"])


def test_all_chunks_share_one_connection_for_content(master: SwarmServer) -> None:
    node = Node(master)
    used: Queue[Source] = Queue()
    node.slots.use_content(1, used.put)
    node.slots.use_content(2, lambda source: pytest.fail("cancelled"))
    node.slots.use_content(3, used.put)
    node.slots.cancel(2)
    first, second = used.get(), used.get()
    node.slots.use_content(4, used.put)
    assert first is second is used.get_nowait()
    assert first.address == MASTER and first.data.read(0, 1000, 10) == noise(1000, 1)
    assert master.accepted == 2


def test_refused_slots_fail_once_with_the_reason(master: SwarmServer) -> None:
    class Refusing(RecordingBackend):
        def request_slot(self, slot: int, answers: Stream) -> None:
            raise NinepError(errno.EMFILE, "too many slots")

    master.backend = Refusing(master.backend.served)
    node = Node(master)
    answered = Event()
    node.open(1)
    node.open(2)
    node.ask(1)
    node.ask(2)
    # The master answers in order: what it says to the slots is here when this is.
    node.control.start(Tread(0, 0, 0), lambda reply: answered.set())
    answered.wait()
    assert [(type(why), str(why)) for why in node.failures] == [(NinepError, "too many slots")]


def test_a_lost_connection_fails_all_slots_once(master: SwarmServer) -> None:
    node = Node(master)
    for slot in (1, 2):
        node.open(slot)
        node.ask(slot)
    until(lambda: len(master.backend.requests) == 2)
    master.drop_connections()
    until(lambda: node.failures)
    until(lambda: node.control.lost)
    assert [type(why) for why in node.failures] == [LinkLost]


def test_slots_fail_when_there_is_no_connection_for_content(master: SwarmServer) -> None:
    node = Node(master, content=unused_address())
    node.slots.use_content(1, lambda source: pytest.fail("connected"))
    until(lambda: node.failures)
    assert [type(why) for why in node.failures] == [LinkLost]


def test_closed_slots_are_given_back_and_report_no_failure(master: SwarmServer) -> None:
    node = Node(master)
    node.open(1)
    node.ask(1)
    until(lambda: master.backend.requests)
    connected = Event()
    node.slots.use_content(1, lambda source: connected.set())
    connected.wait()
    node.slots.close()
    until(lambda: master.backend.said == ["request slot", "release slot"] and master.connected == 1)
    node.control.close()
    node.slots.fail(LinkLost("master", "closed"))
    assert node.failures == [] and not node.offers.qsize()


def test_what_is_opened_only_after_the_close_is_given_back(master: SwarmServer) -> None:
    node = Node(master)
    node.slots.open(1, lambda: pytest.fail("opened"))
    node.slots.use_content(1, lambda source: pytest.fail("connected"))
    gevent.sleep(0)
    node.slots.close()
    until(lambda: master.accepted == 2 and master.connected == 1 and master.backend.said == ["release slot"])
    assert node.failures == []

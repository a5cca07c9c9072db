"""Messages to a worker that takes none for a while: they wait, in order, and nobody waits for them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing

import gevent
import pytest

from test.support.descriptors import open_descriptors
from test.support.processes import PATIENCE
from xget_lib import ipc
from xget_lib.errors import LinkLost
from xget_lib.master.outbox import Outbox
from xget_lib.net.blocking import wait_readable, wait_writable
from xget_lib.process.channel import Channel, pair


@pytest.fixture
def ends() -> Iterator[tuple[Outbox, Channel]]:
    """The outbox, and the worker's end."""
    ours, theirs = pair()
    for each in (ours, theirs):
        each.wait_readable, each.wait_writable = wait_readable, wait_writable
    outbox = Outbox(ours)
    with closing(ours), closing(theirs), closing(outbox), gevent.Timeout(PATIENCE, AssertionError("the test hangs")):
        yield outbox, theirs


def filled(outbox: Outbox) -> int:
    """Send grants until they wait. Returns how many."""
    count = 0
    while not outbox.waits:
        outbox.send(ipc.Grant(1, 1, count))
        count += 1
    return count


def received(worker: Channel, count: int) -> list[ipc.Message]:
    found = []
    for _ in range(count):
        message = ipc.receive(worker)
        assert message is not None
        found.append(message[0])
        for descriptor in message[1]:
            os.close(descriptor)
    return found


def test_what_waits_arrives_in_order_when_the_worker_goes_on(ends: tuple[Outbox, Channel]) -> None:
    outbox, worker = ends
    count = filled(outbox)
    for number in range(1000):
        outbox.send(ipc.Grant(2, 1, number))
    assert received(worker, count + 1000)[count:] == [ipc.Grant(2, 1, number) for number in range(1000)]
    assert not outbox.waits


def test_of_news_for_a_connection_and_of_pings_only_the_last_waits(ends: tuple[Outbox, Channel]) -> None:
    outbox, worker = ends
    count = filled(outbox)
    for number in range(100):
        outbox.send(ipc.NewsLine(1, b"%d" % number))
        outbox.send(ipc.NewsLine(2, b"%d" % number))
        outbox.send(ipc.Ping())
    last = [ipc.NewsLine(1, b"99"), ipc.NewsLine(2, b"99"), ipc.Ping()]
    assert received(worker, count + 3)[count:] == last


def test_descriptors_that_wait_are_duplicates_which_are_closed(ends: tuple[Outbox, Channel]) -> None:
    outbox, worker = ends
    before = open_descriptors()
    count = filled(outbox)
    with open("/dev/null", "rb") as null:
        outbox.send(ipc.Adopt(1, "10.0.0.1", 40000), [null.fileno()])
    assert received(worker, count + 1)[count] == ipc.Adopt(1, "10.0.0.1", 40000)
    filled(outbox)
    with open("/dev/null", "rb") as null:
        outbox.send(ipc.Adopt(2, "10.0.0.1", 40000), [null.fileno()])
    outbox.close()
    assert open_descriptors() == before


def test_what_waits_is_forgotten_with_a_worker_that_ends(ends: tuple[Outbox, Channel]) -> None:
    outbox, worker = ends
    filled(outbox)
    worker.close()
    gevent.sleep(0)
    outbox.close()
    with pytest.raises(LinkLost):
        outbox.send(ipc.Ping())


def test_a_message_for_which_the_machine_has_no_room_is_sent_later(
    ends: tuple[Outbox, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, worker = ends
    failures = [errno.ETOOMANYREFS, errno.ENOBUFS]
    send_now = Channel.send_now

    def scarce(channel: Channel, *message: object) -> bool:
        if failures:
            raise OSError(failures.pop(), "no room")
        return send_now(channel, *message)  # type: ignore[arg-type]

    monkeypatch.setattr(Channel, "send_now", scarce)
    outbox.send(ipc.Ping())
    assert received(worker, 1) == [ipc.Ping()]
    assert not failures

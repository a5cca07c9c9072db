"""The link of a server: the connections of a host send one after the other while others want it too."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from test.support.network import quiet_hub
from xget_lib.net import send_turns
from xget_lib.net.send_turns import Flow, SendTurns
from xget_lib.net.sending_hosts import SendingHosts


class FakeFlow(Flow):
    """What the kernel has of it is what a test says."""

    left = 0

    def __init__(self) -> None:
        self.sending = False


class Link:
    """A clock, and a host `a` whose connections send. `b` is served by another process, and wants the link too."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.hosts = SendingHosts(2)
        self.turns = SendTurns("a", self.hosts)

    def share(self) -> None:
        self.hosts.sent(1, "b", self.now)

    def after(self, seconds: float) -> None:
        """So much later, when all have looked at the clock."""
        self.now += seconds
        self.share()
        gevent.sleep(0.01)  # some polls; a test that is right does not depend on how many

    def starts(self, flow: Flow) -> gevent.Greenlet[..., int]:
        started: gevent.Greenlet[..., int] = gevent.spawn(self.turns.wait, flow)
        gevent.sleep(0)
        return started


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    made = Link()
    monkeypatch.setattr(send_turns, "monotonic", lambda: made.now)
    monkeypatch.setattr(send_turns, "_LOOK_EVERY", -1.0)
    monkeypatch.setattr(send_turns, "_POLL", 0.0001)
    with quiet_hub():
        yield made


def ready(started: gevent.Greenlet[..., Any]) -> bool:
    return bool(started.ready())


def test_all_connections_of_a_host_send_at_once_where_no_other_host_wants_the_link(link: Link) -> None:
    for _ in range(3):
        assert link.turns.wait(FakeFlow()) == send_turns._UNLIMITED


def test_one_connection_of_a_host_that_sends_is_not_limited(link: Link) -> None:
    link.share()
    flow = FakeFlow()
    flow.left = 1 << 22
    for _ in range(3):
        assert link.turns.wait(flow) == send_turns._UNLIMITED
        link.after(0.4)


def test_a_connection_waits_until_all_of_the_one_before_it_has_left(link: Link) -> None:
    link.share()
    first, second = FakeFlow(), FakeFlow()
    link.turns.wait(first)
    waiting = link.starts(second)
    link.after(0.01)
    assert not ready(waiting), "the first still sends"
    first.sending, first.left = False, 1
    link.after(0.01)
    assert not ready(waiting), "the kernel still sends"
    first.left = 0
    link.after(0.01)
    assert ready(waiting)


@pytest.mark.parametrize(("seconds", "moves"), [(send_turns._TURN, True), (send_turns._STALLED, False)])
def test_a_turn_is_over_after_some_time_and_sooner_if_the_peer_takes_nothing(
    link: Link, seconds: float, moves: bool
) -> None:
    link.share()
    first, second = FakeFlow(), FakeFlow()
    first.left = 1000
    link.turns.wait(first)
    waiting = link.starts(second)
    steps = 10
    for _ in range(steps - 1):
        link.after(seconds / steps)
        if moves:
            link.turns.wait(first)
        assert not ready(waiting)
    link.after(2 * seconds / steps)
    assert ready(waiting)
    again = link.starts(first)
    link.after(0.01)
    assert not ready(again), "it waits for its next turn"
    second.sending = False
    link.after(0.01)
    assert ready(again)


def test_while_others_of_the_host_wait_little_is_on_its_way(link: Link) -> None:
    link.share()
    first, second = FakeFlow(), FakeFlow()
    link.turns.wait(first)
    link.starts(second)
    first.left = 1000
    assert link.turns.wait(first) == send_turns._LEAST - 1000
    first.left = send_turns._LEAST
    more = link.starts(first)
    link.after(0.01)
    assert not ready(more)
    first.left -= 1
    link.after(0.01)
    assert more.get() == 1


def test_on_a_fast_link_more_is_on_its_way_until_it_is_slow_again(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    link.share()
    first, second = FakeFlow(), FakeFlow()
    link.turns.wait(first)
    link.starts(second)

    def room(*, drained: bool) -> int:
        """How many bytes the connection may send when the kernel has sent all that it had, or nearly nothing."""
        first.left = link.turns._most
        started = link.starts(first)
        first.left = 0 if drained else first.left - 1
        link.share()
        return int(started.get())

    assert [room(drained=True) for _ in range(3)] == [each * send_turns._LEAST for each in (2, 4, 8)]
    for _ in range(20):
        assert room(drained=True) <= send_turns._MOST
    for _ in range(20):
        first.left = link.turns._most
        link.turns._adapt(first, link.now)
    assert link.turns._most == send_turns._LEAST


def test_two_processes_that_send_to_a_host_do_so_in_turn(link: Link) -> None:
    link.now = 1000.0 + send_turns._SLICE / 4
    link.share()
    both = [link.turns, SendTurns("a", link.hosts, 1)]
    for process in range(2):
        link.hosts.sent(process, "a", link.now)
    sends = [gevent.spawn(turns.wait, FakeFlow()) for turns in both]
    sent = []
    for _ in range(20):
        link.after(send_turns._SLICE)
        now = [process for process, waiting in enumerate(sends) if ready(waiting)]
        for process in now:
            sends[process] = gevent.spawn(both[process].wait, FakeFlow())
            both[process]._current = None  # all that it sent has left
        sent.append(now)
    assert sent[2:] in ([[0], [1]] * 9, [[1], [0]] * 9)
    gevent.killall(sends)


def test_who_waits_goes_on_when_no_other_host_wants_the_link_any_more(link: Link) -> None:
    link.share()
    first, second = FakeFlow(), FakeFlow()
    link.turns.wait(first)
    waiting = link.starts(second)
    link.now += 1.5
    link.turns._begun = link.turns._progress = link.now  # the first still has its turn
    assert waiting.get() == send_turns._UNLIMITED


def test_what_the_kernel_has_of_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
        flow = Flow(ours)
        assert flow.left == 0
        ours.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += ours.send(bytes(1 << 16))
        assert 0 < flow.left < sent
        ours.close()
        assert flow.left == 0
        peer.close()

"""No host keeps the master busy, and nothing that matters is lost."""

from __future__ import annotations

from xget_lib import ipc
from xget_lib.worker.message_pace import BURST, LEAST_RATE, RATE, MessagePace


class Hosts:
    """Connection 1 is of a host that sends much; its tokens are used up. Connection 2 is of another one."""

    def __init__(self, workers: int = 1) -> None:
        self.pace = MessagePace(workers)
        self.pace.connected(1, "a", 0.0)
        self.pace.connected(2, "b", 0.0)
        while self.pace.passes(ipc.SlotAsked(1, 0, 0.0), 0.0):
            pass
        self.pace.passes(ipc.SlotClosed(1, 0), 0.0)
        self.first = ipc.SlotClosed(1, 0)
        """Waits already."""

    def flood(self, message: ipc.Message, seconds: float, each: int = 1000) -> int:
        """How many messages pass of so many in each hundredth of a second."""
        passed = 0
        for tick in range(int(seconds * 100)):
            now = tick / 100
            passed += len(self.pace.due(now))
            passed += sum(self.pace.passes(message, now) for _ in range(each))
        return passed


def test_a_host_sends_at_most_at_a_rate_after_its_burst() -> None:
    passed = Hosts().flood(ipc.SlotAsked(1, 0, 0.0), 2.0)
    assert 0.9 * RATE <= passed / 2 <= 1.1 * RATE
    many = Hosts(workers=64).flood(ipc.SlotAsked(1, 0, 0.0), 2.0)
    assert 0.8 * LEAST_RATE <= many / 2 <= 1.2 * LEAST_RATE


def test_large_messages_count_more() -> None:
    assert Hosts().flood(ipc.Wants(1, bytes(60_000)), 2.0) < RATE / 10


def test_other_hosts_are_not_affected() -> None:
    hosts = Hosts()
    assert not hosts.pace.passes(ipc.SlotAsked(1, 0, 0.0), 0.0)
    assert all(hosts.pace.passes(ipc.SlotAsked(2, slot, 0.0), 0.0) for slot in range(int(BURST)))


def test_what_waits_is_sent_later_in_order_and_only_the_last_of_its_kind() -> None:
    hosts = Hosts()
    messages = [
        ipc.Wants(1, b"old"),
        ipc.SlotAsked(1, 7, 0.0),
        ipc.PeersOpened(1),
        ipc.Wants(1, b"new"),
        ipc.SlotAsked(1, 8, 0.0),
        ipc.SlotClosed(1, 7),
    ]
    assert not any(hosts.pace.passes(message, 0.0) for message in messages)
    assert hosts.pace.waits
    assert hosts.pace.due(1.0) == [hosts.first, ipc.PeersOpened(1), ipc.Wants(1, b"new"), *messages[4:]]
    assert not hosts.pace.waits


def test_what_waits_is_bounded_by_what_is_open() -> None:
    hosts = Hosts()
    for number in range(10_000):
        hosts.pace.passes(ipc.Wants(1, b"%d" % number), 0.0)
        hosts.pace.passes(ipc.LogLine(1, f"{number}"), 0.0)
        hosts.pace.passes(ipc.StatusWanted(1, "status"), 0.0)
        hosts.pace.passes(ipc.SlotAsked(1, number % 16, 0.0), 0.0)
    assert len(hosts.pace._hosts["a"].waiting) == 3 + 16


def test_what_waits_ends_with_its_connection_and_a_new_connection_does_not_begin_anew() -> None:
    hosts = Hosts()
    hosts.pace.passes(ipc.Wants(1, b""), 0.0)
    hosts.pace.ended(1)
    assert not hosts.pace.waits
    hosts.pace.connected(3, "a", 0.0)
    assert not hosts.pace.passes(ipc.SlotAsked(3, 0, 0.0), 0.0)
    hosts.pace.ended(3)
    hosts.pace.connected(4, "a", 60.0)
    assert hosts.pace.passes(ipc.SlotAsked(4, 0, 0.0), 60.0)


def test_messages_of_the_worker_itself_always_pass() -> None:
    hosts = Hosts()
    for message in (ipc.Pong(1, 2), ipc.ConnectionClosed(1), ipc.Changed(), ipc.Stale(b"", b"")):
        assert hosts.pace.passes(message, 0.0)

"""The C clients of a master: the answers they get, from what the workers report of their connections."""

from __future__ import annotations

import pytest

from xget_lib import ipc
from xget_lib.classic import messages
from xget_lib.classic.tracker import ClassicTracker
from xget_lib.swarm.named_nodes import IN_VAIN

FILE = bytes(16)


class Master:
    """A tracker and what it sends."""

    def __init__(self, *addresses: str) -> None:
        """Connection number n comes from the n-th address, counted from 1."""
        self.addresses = dict(enumerate(addresses, start=1))
        self.said: list[tuple[int, ipc.Message]] = []
        self.tracker = ClassicTracker(self, 1)

    def address_of(self, connection: int) -> str:
        return self.addresses.get(connection, "")

    def send(self, connection: int, message: ipc.Message) -> None:
        self.said.append((connection, message))

    def ask(self, connection: int) -> bytes:
        self.tracker.handle(messages.Redirect(connection, 77, FILE))
        connection_of_answer, answer = self.said.pop()
        assert isinstance(answer, messages.Redirected)
        assert (connection_of_answer, answer.connection, answer.redirect) == (connection, connection, 77)
        return answer.text

    def serves(self, connection: int, source: str = "", source_port: int = 0, avail: int = 1) -> None:
        self.tracker.handle(messages.Available(connection, avail, FILE, 4000 + connection, source, source_port))


def test_a_client_is_sent_to_another_until_that_one_leaves() -> None:
    master = Master("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert master.ask(1) == b"me"
    master.serves(1)
    assert master.ask(2) == b"10.0.0.1!4001"
    master.serves(2, "10.0.0.1", 4001)
    master.tracker.ended(1)
    assert master.ask(3) == b"10.0.0.2!4002" or master.ask(3) == b"me"
    master.tracker.handle(messages.Unavailable(2, 1))
    assert master.ask(3) == b"me"


@pytest.mark.parametrize(
    ("asker", "server", "reachable"),
    [
        ("10.0.0.2", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "10.0.0.1", True),
        ("10.0.0.2", "fd00::1", False),
        ("fd00::2", "10.0.0.1", False),
        ("fd00::2", "fd00::1", True),
        ("fd00::2", "fe80::1", False),
        ("::1", "::1", True),
    ],
)
def test_a_client_is_not_sent_to_an_address_that_it_cannot_reach(asker: str, server: str, reachable: bool) -> None:
    """The C client knows one kind of addresses, that of its own connection."""
    master = Master(server, asker, "10.0.0.9")
    master.ask(3)  # so that the master has as many as it may
    master.serves(1)
    assert master.ask(2) == (f"{server}!4001".encode() if reachable else b"me")


def test_the_port_is_believed_and_the_address_is_that_of_the_connection() -> None:
    master = Master("10.0.0.1")
    master.serves(1, "192.0.2.66", 80)
    (client,) = master.tracker.status()["c_clients"]
    assert (client["address"], client["port"], client["files"]) == ("10.0.0.1", 4001, 1)


def test_a_client_whose_connection_has_ended_is_not_a_server() -> None:
    master = Master()
    master.serves(1)
    assert master.tracker.status()["c_clients"] == []


def test_a_node_is_named_as_long_as_it_holds_everything() -> None:
    master = Master("10.0.0.1", "10.0.0.2")
    master.tracker.node(1, "10.0.0.1", 5000, whole=False)
    assert master.ask(2) == b"me"
    master.tracker.node(1, "10.0.0.1", 5000, whole=True)
    assert master.ask(2) == b"10.0.0.1!5000"
    master.tracker.node(1, "10.0.0.1", 5000, whole=False)
    assert master.ask(2) == b"me"
    assert master.tracker.status()["c_clients"] == [], "nodes are in a list of their own"


def test_a_client_that_has_the_whole_file_frees_a_place_at_the_master() -> None:
    master = Master("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    assert master.ask(1) == b"me"
    master.serves(1)
    assert [master.ask(2), master.ask(3)] == [b"10.0.0.1!4001"] * 2
    master.tracker.handle(messages.Taken(1, FILE, True))
    assert master.ask(4) == b"me", "two read from the first; the master has nobody left"


def test_clients_are_sent_to_a_host_in_vain_a_bounded_number_of_times() -> None:
    """However many clients ask, for however many files, and however many connections and ports that host has."""
    askers = [f"10.1.{number // 200}.{number % 200 + 1}" for number in range(1000)]
    master = Master("192.0.2.1", "192.0.2.1", *askers, "10.0.0.9")
    master.ask(1003)  # so that the master has as many as it may
    master.serves(1)
    master.serves(2, avail=2)
    answers = [master.ask(3 + number) for number in range(1000) for _ in range(3)]
    assert sum(answer.startswith(b"192.0.2.1!") for answer in answers) == IN_VAIN


def test_who_is_sent_to_a_client_that_serves_opens_it_for_all() -> None:
    askers = [f"10.1.{number // 200}.{number % 200 + 1}" for number in range(200)]
    master = Master("10.0.0.1", *askers)
    master.serves(1)
    assert master.ask(2) == b"me" and master.ask(3) == b"10.0.0.1!4001"
    master.tracker.handle(messages.Taken(3, FILE, True))
    assert all(master.ask(4 + number) == b"10.0.0.1!4001" for number in range(190))


def test_clients_of_one_host_are_sent_to_each_other_without_a_bound() -> None:
    master = Master(*["10.0.0.1"] * 200)
    master.ask(1)
    master.serves(1)
    assert all(master.ask(2 + number) == b"10.0.0.1!4001" for number in range(198))

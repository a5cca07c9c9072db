"""The shell around the tracker: messages of workers become its events, its decisions reach workers and C clients."""

from __future__ import annotations

import time
from dataclasses import astuple
from logging import INFO
from typing import Any

import gevent
import pytest

from test.support.processes import PATIENCE
from xget_lib import ipc
from xget_lib.classic import messages
from xget_lib.errors import ProtocolViolation
from xget_lib.master.tracker_io import TrackerIO
from xget_lib.swarm.messages import DONE, FAILED, INTERRUPTED, News, Registration

GENERATION = bytes(32)


class Master:
    """A tracker with its shell, and what each connection was sent."""

    def __init__(self, *, nodes_are_open: bool = True) -> None:
        self.sent: list[tuple[int, ipc.Message]] = []
        self.tracker = TrackerIO(6, lambda *sent: self.sent.append(sent), nodes_are_open=nodes_are_open)
        self.tracker.published(GENERATION, 100, 10)

    def join(self, connection: int, held: int = 0) -> None:
        self.tracker.connected(connection, f"10.0.0.{connection}")
        self.register(connection, held)
        self.tracker.peers_opened(connection)

    def register(self, connection: int, held: int, **given: Any) -> None:
        registration = Registration(1000 + connection, GENERATION, held, **given)
        self.tracker.handle(ipc.NodeRegistered(connection, *astuple(registration)[:-1]))

    def status(self) -> dict[str, Any]:
        return self.tracker.status(self.tracker.distribution(1000))

    def wait_for(self, count: int) -> list[tuple[int, ipc.Message]]:
        """So many messages, as they come without anybody calling `tick`."""
        with gevent.Timeout(PATIENCE, AssertionError("nothing is sent")):
            while len(self.sent) < count:
                gevent.sleep(0.001)
        sent, self.sent = self.sent, []
        return sent


def test_news_goes_out_by_itself_when_a_node_joins() -> None:
    master = Master()
    master.join(1)
    ((connection, message),) = master.wait_for(1)
    assert isinstance(message, ipc.NewsLine)
    assert (connection, message.connection) == (1, 1)
    assert News.decode(message.line) == News(GENERATION, 100, (), master_first=True)


def test_a_slot_that_asks_is_granted_what_its_node_wants() -> None:
    master = Master()
    master.tracker.connected(1, "10.0.0.1")
    master.tracker.handle(ipc.Wants(1, b"\x00\x02"))
    master.tracker.handle(ipc.SlotAsked(1, 7, 0.0))
    assert master.wait_for(1) == [(1, ipc.Grant(1, 7, 9))]


def test_c_clients_are_sent_to_no_node_that_would_refuse_them() -> None:
    master = Master(nodes_are_open=False)
    master.tracker.connected(2, "10.0.0.2")
    master.join(1, held=10)
    master.tracker.tick()
    master.sent.clear()
    master.tracker.handle(messages.Redirect(2, 1, bytes(16)))
    (answer,) = [message for _, message in master.sent if isinstance(message, messages.Redirected)]
    assert answer.text == b"me"


def test_c_clients_are_sent_to_a_node_while_it_holds_everything() -> None:
    master = Master()
    master.tracker.connected(2, "10.0.0.2")

    def where() -> bytes:
        master.tracker.tick()
        master.tracker.handle(messages.Redirect(2, 1, bytes(16)))
        (answer,) = [message for _, message in master.sent if isinstance(message, messages.Redirected)]
        master.sent.clear()
        return answer.text

    master.join(1, held=9)
    assert where() == b"me"
    master.register(1, 10)
    assert where() == b"10.0.0.1!1001"
    master.tracker.ended(1)
    assert where() == b"me"


@pytest.mark.parametrize(
    "message", [ipc.Ping(), messages.Redirected(1, 1, b"me")], ids=lambda message: type(message).__name__
)
def test_a_message_that_no_worker_sends_is_a_protocol_error(message: ipc.Message) -> None:
    with pytest.raises(ProtocolViolation, match=f"unexpected message {type(message).__name__} from a worker"):
        Master().tracker.handle(message)


def test_the_status_lists_the_nodes() -> None:
    master = Master()
    master.join(1, held=3)
    status = master.status()
    (node,) = status.pop("children")
    del node["seconds"], node["changed"]
    expected = {"address": "10.0.0.1", "port": 1001, "held": 3, "generation": GENERATION.hex(), "follows": False}
    assert node == expected | {"state": "downloading"}
    assert status.pop("distribution")["states"] == {"downloading": 1}
    assert status.pop("totals")["ended"] == {"done": 0, "failed": 0, "interrupted": 0, "lost": 0}
    assert status == {"offered": 0, "ended": [], "c_clients": []}


def ended_nodes(master: Master) -> list[dict[str, Any]]:
    """What the status says of nodes whose runs have ended."""
    master.tracker.tick()
    ended: list[dict[str, Any]] = master.status()["ended"]
    return [{key: value for key, value in node.items() if key != "seconds_ago"} for node in ended]


def test_how_each_node_ends_is_in_the_log_and_in_the_status(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(INFO)
    master = Master()
    for connection in range(1, 5):
        master.join(connection)
    master.register(1, 10, ended=DONE, milliseconds=2500, fetched=3 << 20)
    master.register(1, 10, ended=DONE, milliseconds=2500, fetched=3 << 20)
    master.register(2, 5, ended=FAILED, why="/dest: disk full", milliseconds=1000)
    master.register(3, 5, ended=INTERRUPTED, milliseconds=1000, fetched=7)
    master.register(4, 5)
    for connection in (1, 2, 3, 4):
        master.tracker.ended(connection)
    assert [(node["address"], node["state"], node["why"]) for node in ended_nodes(master)] == [
        ("10.0.0.1", "done", ""),
        ("10.0.0.2", "failed", "/dest: disk full"),
        ("10.0.0.3", "interrupted", ""),
        ("10.0.0.4", "lost", ""),
    ]
    generation = f"generation {GENERATION.hex()[:16]}"
    assert caplog.messages == [
        f"10.0.0.1 port 1001, {generation}: done, after 2.5 s, 3.0 MiB fetched",
        f"10.0.0.2 port 1002, {generation}: failed after 1.0 s: /dest: disk full",
        f"10.0.0.3 port 1003, {generation}: interrupted, after 1.0 s, 7 B fetched",
        f"10.0.0.4 port 1004, {generation}: the connection ended during the download (it last reported 5 chunks)",
    ]


def test_the_status_says_how_a_node_that_still_serves_has_ended() -> None:
    master = Master()
    for connection, given in ((1, {"ended": DONE}), (2, {"ended": FAILED, "why": "disk full"}), (3, {})):
        master.join(connection)
        master.register(connection, 10 if connection == 1 else 5, **given)
    states = [(child["state"], child.get("why")) for child in master.status()["children"]]
    assert states == [("complete", None), ("failed", "disk full"), ("downloading", None)]


def test_a_node_that_lags_is_named_in_the_log_once_and_in_the_status(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = Master()
    master.join(1, held=3)
    begun = time.monotonic()
    for later in (31.0, 40.0):
        monkeypatch.setattr(time, "monotonic", lambda later=later: begun + later)
        master.tracker.tick()
    assert master.status()["children"][0]["lagging"] == "nothing new for 40 s"
    generation = f"generation {GENERATION.hex()[:16]}"
    assert [line for line in caplog.messages if "lags" in line] == [
        f"10.0.0.1 port 1001, {generation}: lags behind, with 3 of 10 chunks: nothing new for 31 s"
    ]


def test_the_ends_of_one_host_do_not_displace_those_of_others() -> None:
    master = Master()

    def ends(connection: int, address: str) -> None:
        master.tracker.connected(connection, address)
        master.register(connection, 1)
        master.register(connection, 1, ended=FAILED, why=address)
        master.tracker.tick()
        master.tracker.ended(connection)

    for number in range(16):
        ends(number, f"10.0.0.{number}")
    for number in range(100, 1000):
        ends(number, f"2001:db8::{number}")
    why = [each["why"] for each in master.status()["ended"]]
    assert len(why) == 100
    assert why[:16] == [f"10.0.0.{number}" for number in range(16)]

"""The shell around the tracker: messages of workers become its events, its decisions reach workers and C clients."""

from __future__ import annotations

import gevent
import pytest

from test.support.processes import PATIENCE
from xget_lib import ipc
from xget_lib.classic import messages
from xget_lib.errors import ProtocolViolation
from xget_lib.master.tracker_io import TrackerIO
from xget_lib.swarm.messages import News

GENERATION = bytes(32)


class Master:
    """A tracker with its shell, and what each connection was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, ipc.Message]] = []
        self.tracker = TrackerIO(6, lambda *sent: self.sent.append(sent))
        self.tracker.published(GENERATION, 100, 10)

    def join(self, connection: int, held: int = 0) -> None:
        self.tracker.connected(connection, f"10.0.0.{connection}")
        self.tracker.handle(ipc.NodeRegistered(connection, 1000 + connection, GENERATION, held, False))
        self.tracker.peers_opened(connection)

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
    master.tracker.handle(ipc.SlotAsked(1, 7))
    assert master.wait_for(1) == [(1, ipc.Grant(1, 7, 9))]


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
    master.tracker.handle(ipc.NodeRegistered(1, 1001, GENERATION, 10, False))
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
    status = master.tracker.status()
    (node,) = status.pop("children")
    del node["seconds"]
    expected = {"address": "10.0.0.1", "port": 1001, "held": 3, "generation": GENERATION.hex(), "follows": False}
    assert node == expected
    assert status == {"offered": 0, "c_clients": []}

"""The connection to the master: what a node hears on it, and what happens when it is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import pytest
from gevent.queue import Queue

from test.support.network import quiet_hub, until
from test.support.relay import Relay
from test.support.swarm_server import SwarmServer, unused_address
from xget_lib.errors import MasterUnreachable
from xget_lib.node.master_link import Change, MasterLink
from xget_lib.swarm.backoff import Backoff
from xget_lib.swarm.messages import REACHED_LIMIT, News, Registration, Scanning

GENERATION = b"g" * 32
NEWS = News(GENERATION, 100, (("10.0.0.1", 9007),), True)


class Master(SwarmServer):
    def send(self, line: bytes) -> None:
        """Put a line into the `peers` that is read last."""
        until(lambda: self.backend.news)
        self.backend.news[-1].put(line)
        self.retry()


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


def events(link: MasterLink) -> Queue[Change | News | Scanning]:
    happened: Queue[Change | News | Scanning] = Queue()

    def collect() -> None:
        for event in link.events():
            happened.put(event)

    gevent.spawn(collect)
    return happened


def test_news_are_events_and_the_report_is_there_first() -> None:
    master = Master()
    link = MasterLink(*master.address, serving_port=9009)
    link.set_registration(GENERATION, 3)
    link.begin(10)
    happened = events(link)
    assert happened.get() is Change.CONNECTED
    assert master.backend.said[0] == Registration(9009, GENERATION, 3)
    master.send(NEWS.encode())
    assert happened.get() == NEWS


def test_the_master_hears_once_which_peers_this_node_has_reached() -> None:
    master = Master()
    link = MasterLink(*master.address, serving_port=9009)
    link.begin(10)
    peers = [("10.0.0.1", 2000 + number) for number in range(REACHED_LIMIT + 1)]
    for peer in peers:
        link.peer_reached(peer)
    for _ in range(3):
        link.register()
    said = [each.reached for each in master.backend.said if isinstance(each, Registration)]
    assert said == [(), tuple(peers[:REACHED_LIMIT]), tuple(peers[REACHED_LIMIT:]), ()]


def test_a_line_that_is_no_news_costs_the_connection_and_a_new_one_is_made() -> None:
    master = Master()
    link = MasterLink(*master.address, serving_port=9009)
    link.begin(10)
    happened = events(link)
    assert happened.get() is Change.CONNECTED
    master.send(b"nonsense\n")
    assert happened.get() is Change.LOST
    assert happened.get() is Change.CONNECTED
    assert [type(said) for said in master.backend.said].count(Registration) == 2
    until(lambda: master.backend.said[-1] == "subscribe")
    master.send(NEWS.encode())
    assert happened.get() == NEWS


def test_a_node_hears_only_of_peers_that_it_may_connect_to() -> None:
    """Its master is on this machine, so peers may be too; it is not its own peer."""
    master = Master()
    link = MasterLink(*master.address, serving_port=9009)
    link.begin(10)
    happened = events(link)
    assert happened.get() is Change.CONNECTED
    named = (("127.0.0.1", 9009), ("127.0.0.1", 9010), ("10.0.0.1", 9009), ("fe80::1", 9009))
    master.send(News(GENERATION, 100, named).encode())
    assert happened.get() == News(GENERATION, 100, (("127.0.0.1", 9010), ("10.0.0.1", 9009)))


def test_a_flood_of_news_is_read_at_a_bounded_rate() -> None:
    master = Master()
    link = MasterLink(*master.address, serving_port=9009)
    link.begin(10)
    happened = events(link)
    assert happened.get() is Change.CONNECTED
    begun = time.monotonic()
    for number in range(11):
        master.send(News(GENERATION, number, ()).encode())
    for number in range(11):
        assert happened.get() == News(GENERATION, number, ())
    assert time.monotonic() - begun >= 0.5


def test_a_master_that_sends_no_valid_news_is_connected_to_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    former = Backoff.next

    def hasten(backoff: Backoff) -> float:
        pauses.append(former(backoff))
        return 0.01

    monkeypatch.setattr(Backoff, "next", hasten)
    master = Master()
    link = MasterLink(*master.address, serving_port=9009)
    link.begin(10)
    happened = events(link)
    for _ in range(4):
        assert happened.get() is Change.CONNECTED
        until(lambda: master.backend.said[-1] == "subscribe")
        master.send(b"nonsense\n")
        assert happened.get() is Change.LOST
    assert len(pauses) >= 3 and pauses[-1] > 2 * pauses[0]
    assert "(peers: invalid JSON)" in link.name_and_trouble


def test_a_node_that_serves_nobody_reports_nothing() -> None:
    master = Master()
    link = MasterLink(*master.address, serving_port=None)
    link.begin(10)
    link.register()
    assert master.backend.said == []
    assert link.peer_registration(GENERATION) is None


def test_a_master_that_does_not_answer_is_unreachable() -> None:
    host, port = unused_address()
    with pytest.raises(MasterUnreachable, match=f"{host} port {port}"):
        MasterLink(host, port, serving_port=None).begin(0.3)


def test_a_connection_on_which_the_master_does_not_answer_makes_way_for_one_on_which_it_does() -> None:
    """A worker of the master is stopped, and another one serves."""
    master = Master()
    with Relay(master.address[1]) as relay:
        link = MasterLink("127.0.0.1", relay.port, serving_port=9009)
        link.begin(10)
        happened = events(link)
        assert happened.get() is Change.CONNECTED
        relay.hold()
        link.probe(0)
        until(lambda: relay.holds)
        link.renew(10)
        link.renew(10)
        gevent.sleep(0.1)
        assert link.silent and link.link is not None and happened.empty()
        relay.hold_no_more()
        assert happened.get() is Change.LOST
        assert happened.get() is Change.CONNECTED
        assert not link.silent
        until(lambda: master.connected == 1)


def test_a_master_that_answers_meanwhile_keeps_its_connection() -> None:
    master = Master()
    with Relay(master.address[1]) as relay:
        link = MasterLink("127.0.0.1", relay.port, serving_port=9009)
        link.begin(10)
        first = link.link
        relay.hold()
        link.probe(0)
        until(lambda: relay.holds)
        link.renew(10)
        relay.open()
        until(lambda: not link.silent)
        until(lambda: master.accepted == 2 and master.connected == 1)
        assert link.link is first

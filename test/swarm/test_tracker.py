"""What the master decides about its nodes: news and when it is sent, the first tier, grants, complete nodes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from xget_lib.manifest.signature import Signature
from xget_lib.swarm.messages import News, Registration
from xget_lib.swarm.named_nodes import IN_VAIN
from xget_lib.swarm.tracker import (
    Action,
    Node,
    NodeComplete,
    NodeEnded,
    NodeIncomplete,
    NodeJoined,
    NodeLags,
    NodeLeft,
    SendGrant,
    SendNews,
    Tracker,
)
from xget_lib.swarm.tuning import TUNING

OLD, NEW = bytes(32), bytes([1]) * 32
CHUNKS = 10


class Master:
    """A tracker and its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.tracker = Tracker(6, TUNING, Random(1))

    def publish(self, generation: bytes) -> None:
        self.tracker.published(generation, 100, CHUNKS, self.now)

    def join(self, connection: int, generation: bytes = b"", *, held: int = 0, follows: bool = False) -> None:
        self.tracker.connected(connection, f"10.0.{connection // 200}.{connection % 200 + 1}")
        self.register(connection, generation, held=held, follows=follows)
        self.tracker.peers_opened(connection, self.now)

    def register(self, connection: int, generation: bytes, *, held: int = 0, follows: bool = False) -> None:
        self.tracker.registered(connection, Registration(1000 + connection, generation, held, follows), self.now)

    def tick(self, seconds: float = TUNING.news_pause) -> list[Action]:
        """What is decided so much later."""
        self.now += seconds
        return self.tracker.tick(self.now)

    def news(self, seconds: float = TUNING.news_pause) -> dict[int, News]:
        """The news that is sent in one round, by connection."""
        return {sent.connection: sent.news for sent in self.tick(seconds) if isinstance(sent, SendNews)}


@pytest.fixture
def master() -> Master:
    made = Master()
    made.publish(OLD)
    return made


def events(actions: Sequence[Action]) -> list[Action]:
    """Without the news."""
    return [action for action in actions if not isinstance(action, SendNews)]


def test_a_node_that_joins_gets_news_at_once_and_its_peers_get_it_later(master: Master) -> None:
    for connection in range(3):
        master.join(connection)
    news = master.news()
    assert [len(news[connection].peers) for connection in range(3)] == [0, 1, 2]
    master.join(3)
    assert set(master.news()) == {3}
    later = master.news(TUNING.news_later)
    assert {connection: len(line.peers) for connection, line in later.items()} == {0: 3, 1: 3, 2: 3}


def test_news_names_the_generation_and_where_each_peer_serves(master: Master) -> None:
    master.join(1)
    master.join(2)
    assert master.news()[2] == News(OLD, 100, (("10.0.0.2", 1001),), master_first=True)


def test_a_signature_travels_with_the_generation_and_is_news_when_it_changes(master: Master) -> None:
    first, second = Signature(1, 1, bytes(64)), Signature(2, 2, bytes(64))
    master.join(1)
    assert master.news()[1].signature is None
    for signature in (first, second, None):
        master.tracker.signed(signature, master.now)
        assert master.news()[1] == News(OLD, 100, (), signature=signature)
    master.tracker.published(NEW, 100, CHUNKS, master.now, second)
    assert master.news()[1] == News(NEW, 100, (), signature=second)
    master.tracker.published(OLD, 100, CHUNKS, master.now)
    assert master.news()[1].signature is None
    before = Master()
    before.tracker.signed(first, before.now)  # nothing is published
    assert before.news() == {}


def test_there_is_no_news_before_something_is_published() -> None:
    master = Master()
    master.join(1)
    assert master.news() == {}
    master.publish(OLD)
    assert set(master.news()) == {1}


def test_a_client_that_does_not_read_peers_gets_no_news(master: Master) -> None:
    master.tracker.connected(1, "10.0.0.1")
    master.register(1, b"")
    assert master.news() == {}


def test_a_few_take_from_the_master_until_they_have_everything(master: Master) -> None:
    for connection in range(TUNING.first_tier + 5):
        master.join(connection)
    news = master.news()
    assert sum(line.master_first for line in news.values()) == TUNING.first_tier
    master.register(next(connection for connection, line in news.items() if line.master_first), OLD, held=CHUNKS)
    master.join(1000)
    assert master.news()[1000].master_first


def test_a_node_that_joins_complete_does_not_enter_the_first_tier(master: Master) -> None:
    for connection in range(TUNING.first_tier):
        master.join(connection, OLD, held=CHUNKS)
    assert all(line.master_first for line in master.news().values())
    master.join(1000)
    assert master.news()[1000].master_first


def test_nodes_that_stay_with_an_old_generation_are_not_in_the_first_tier(master: Master) -> None:
    for connection in range(TUNING.first_tier):
        master.join(connection, OLD, held=CHUNKS)
    master.publish(NEW)
    master.join(1000)
    master.join(1001)
    news = master.news()
    assert news[1000].master_first
    assert news[1001].master_first
    assert len(news[1001].peers) == 1


def test_followers_get_each_others_addresses_with_the_new_generation(master: Master) -> None:
    for connection in range(4):
        master.join(connection, OLD, held=CHUNKS, follows=True)
    master.publish(NEW)
    master.register(2, OLD, held=CHUNKS, follows=True)  # sent before it got news of the new one
    news = master.news()
    assert sum(len(line.peers) for line in news.values()) == 6, "one node of each edge gets the other"
    master.register(2, NEW, held=3, follows=True)
    master.join(5)
    assert set(master.news()) == {5}


def test_a_master_is_followed_as_long_as_a_follower_is_there(master: Master) -> None:
    master.join(1, OLD)
    assert not master.tracker.followed
    master.join(2, OLD, follows=True)
    assert master.tracker.followed
    master.tracker.ended(2, master.now)
    assert not master.tracker.followed


def test_a_node_joins_becomes_complete_and_leaves_once_each(master: Master) -> None:
    master.join(1)
    assert events(master.tick(0.25)) == [NodeJoined("10.0.0.2", 1001)]
    master.now += 4
    for _ in range(2):
        master.register(1, OLD, held=CHUNKS)
    assert events(master.tick()) == [NodeComplete(1, "10.0.0.2", 1001, 4.25)]
    master.tracker.unregistered(1, master.now)
    master.tracker.ended(1, master.now)
    assert events(master.tick()) == [NodeLeft("10.0.0.2", Registration(1001, OLD, CHUNKS), True), NodeIncomplete(1)]
    assert master.tracker.address(1) == ""


def test_another_generation_makes_complete_nodes_incomplete_and_its_own_come_back(master: Master) -> None:
    master.join(1, OLD, held=CHUNKS)
    master.tick()
    master.publish(NEW)
    assert events(master.tick()) == [NodeIncomplete(1)]
    master.register(1, OLD, held=CHUNKS, follows=True)
    assert events(master.tick()) == [], "all chunks of another generation are not everything"
    master.publish(OLD)
    assert events(master.tick()) == [NodeComplete(1, "10.0.0.2", 1001, 0.0)]


def test_slots_are_granted_chunks_in_one_decision_for_all_that_asked(master: Master) -> None:
    for connection in (1, 2):
        master.tracker.connected(connection, "10.0.0.1")
        master.tracker.slot_asked(connection, 0, master.now)
    assert master.tick() == [SendGrant(1, 0, 0), SendGrant(2, 0, 1)]
    assert master.tracker.granted_count == 2
    master.tracker.slot_closed(1, 0, master.now)
    master.tracker.wants(2, 0b1)
    master.tracker.slot_asked(2, 0, master.now)
    assert master.tick() == [SendGrant(2, 0, 0)]


def test_what_a_node_was_granted_is_granted_to_another_when_it_ends(master: Master) -> None:
    for connection in (1, 2):
        master.tracker.connected(connection, "10.0.0.1")
    master.tracker.slot_asked(1, 0, master.now)
    assert master.tick() == [SendGrant(1, 0, 0)]
    master.tracker.ended(1, master.now)
    master.tracker.slot_asked(2, 0, master.now)
    assert master.tick() == [SendGrant(2, 0, 0)]


def test_messages_of_a_connection_that_has_ended_are_ignored(master: Master) -> None:
    master.tracker.ended(1, master.now)
    master.register(1, OLD)
    master.tracker.peers_opened(1, master.now)
    master.tracker.slot_asked(1, 0, master.now)
    master.tracker.wants(1, 0b11)
    master.tracker.slot_closed(1, 0, master.now)
    master.tracker.unregistered(1, master.now)
    assert master.tick() == []
    assert master.tracker.wait(master.now) is None


def test_it_asks_for_a_tick_when_news_is_due_and_while_a_slot_waits(master: Master) -> None:
    assert master.tracker.wait(master.now) is None
    master.join(1)
    assert master.tracker.wait(master.now) == 0.0
    master.tick()
    master.join(2)
    assert master.tracker.wait(master.now) == pytest.approx(TUNING.news_pause)
    master.tick()
    assert 0 < (master.tracker.wait(master.now) or 0) <= 5.0, "nodes that lag are looked for"
    for slot in range(3):
        master.tracker.slot_asked(1, slot, master.now)
    master.tick(0.0)
    assert 0 < (master.tracker.wait(master.now) or 0) < 1, "the slot that got nothing may get what is overdue then"


def test_the_nodes_that_serve_are_listed_with_their_last_registration(master: Master) -> None:
    master.join(1)
    master.tracker.connected(2, "10.0.0.9")
    master.register(1, OLD, held=3)
    expected = Node("10.0.0.2", Registration(1001, OLD, 3), 1000.0, complete=False, changed=1000.0, lag=None)
    assert master.tracker.nodes(master.now) == [expected]


def test_a_node_whose_run_ends_is_told_once_and_not_on_its_next_connection(master: Master) -> None:
    def register(connection: int, **given: Any) -> list[Action]:
        master.tracker.registered(connection, Registration(1001, OLD, 3, **given), master.now)
        return [action for action in master.tick() if isinstance(action, NodeEnded)]

    master.join(1)
    master.tick()
    ended = Registration(1001, OLD, 3, ended="done", milliseconds=5)
    assert register(1, ended="done", milliseconds=5) == [NodeEnded("10.0.0.2", ended)]
    assert register(1, ended="done", milliseconds=5) == []
    assert register(1) == []
    assert len(register(1, ended="failed")) == 1
    master.tracker.connected(2, "10.0.0.2")
    assert register(2, ended="done") == []


def test_runs_are_counted_by_how_they_end_and_bytes_once_whatever_connections_a_node_has(master: Master) -> None:
    def register(connection: int, **given: Any) -> None:
        master.tracker.registered(connection, Registration(1001, OLD, 3, identity="ab", **given), master.now)

    master.join(9)
    for connection in (1, 2):
        master.tracker.connected(connection, "10.0.0.2")
    register(1, fetched=100, from_master=30)
    master.tracker.ended(1, master.now)
    register(2, fetched=120, from_master=30)
    register(2, fetched=150, from_master=30, ended="done")
    master.tracker.ended(2, master.now)
    master.tracker.ended(9, master.now)
    totals = master.tracker.totals
    assert (totals.from_master, totals.from_nodes) == (30, 120)
    assert totals.ended == {"done": 1, "failed": 0, "interrupted": 0, "lost": 2}


def test_nodes_that_lag_are_looked_for_while_some_node_downloads(master: Master) -> None:
    master.join(1)
    master.join(2, OLD, held=CHUNKS)
    master.tick(0.0)
    assert 0 < (master.tracker.wait(master.now) or 0) <= 10
    (lags,) = [action for action in master.tick(31.0) if isinstance(action, NodeLags)]
    assert (lags.address, lags.held, lags.chunk_count, lags.lag.stalled) == ("10.0.0.2", 0, CHUNKS, True)
    assert not [action for action in master.tick(31.0) if isinstance(action, NodeLags)]
    master.register(1, OLD, held=3)
    master.tracker.registered(1, Registration(1001, OLD, 3, ended="done"), master.now)
    assert master.tracker.nodes(master.now + 100)[0].lag is None, "it has the part that it was asked for"


def test_nodes_that_download_learn_at_once_that_the_directory_cannot_be_read_and_when_it_can(master: Master) -> None:
    def scan(problem: str) -> None:
        master.tracker.scanned(master.now, master.now, watched=False, problem=problem, settled=0.0)

    scan("")
    master.join(1)
    master.join(2, OLD, held=CHUNKS)
    master.news()
    assert master.news() == {}
    scan("it is empty now")
    assert {key: news.freshness.problem for key, news in master.news().items()} == {1: "it is empty now"}
    scan("it is empty now")
    assert master.news() == {}
    scan("")
    assert {key: news.freshness.problem for key, news in master.news().items()} == {1: ""}


@pytest.mark.parametrize(("watched", "seconds", "age"), [(True, 59.0, 0.0), (True, 61.0, 61.0), (False, 2.0, 2.0)])
def test_a_node_learns_how_old_the_scan_is_if_it_may_not_show_what_is_there_now(
    master: Master, watched: bool, seconds: float, age: float
) -> None:
    master.tracker.scanned(master.now, master.now, watched=watched, problem="", settled=0.0)
    master.now += seconds
    master.join(1)
    assert master.news()[1].freshness.age == age


def test_nodes_of_one_host_do_not_make_others_look_late(master: Master) -> None:
    for connection in range(4):
        master.join(connection, OLD)
    for connection in range(100, 200):
        master.tracker.connected(connection, f"2001:db8::{connection}")
        for held in (0, CHUNKS):
            master.register(connection, OLD, held=held)
    lags: list[Action] = []
    for held in range(1, 5):
        lags += [action for action in master.tick(25.0) if isinstance(action, NodeLags)]
        for connection in range(4):
            master.register(connection, OLD, held=held)
    assert lags == []


def named_to(news: dict[int, News], address: str) -> set[tuple[int, int]]:
    """To which nodes an address is named, and the port."""
    return {(node, port) for node, line in news.items() for at, port in line.peers if at == address}


def test_a_host_that_nobody_reaches_is_named_a_bounded_number_of_times_however_many_nodes_it_registers() -> None:
    master = Master()
    master.publish(OLD)
    for connection in range(300):
        master.join(connection)
    master.news(TUNING.news_later)
    connection = 1000
    named: set[tuple[int, int]] = set()
    for _ in range(10):  # it comes and goes, each time with other ports
        victims = range(connection, connection + 100)
        connection += 100
        for victim in victims:
            master.tracker.connected(victim, "192.0.2.9")
            master.register(victim, OLD, held=1)
        for honest in range(300):  # these get new neighbours
            master.tracker.unregistered(honest, master.now)
            master.register(honest, OLD)
            master.tracker.peers_opened(honest, master.now)
        named |= named_to(master.news(0.1), "192.0.2.9") | named_to(master.news(TUNING.news_later), "192.0.2.9")
        for victim in victims:
            master.tracker.ended(victim, master.now)
    assert IN_VAIN <= len(named) <= IN_VAIN + (master.now - 1000.0) / 60 + 1


def test_a_node_that_another_one_has_reached_is_named_to_everybody(master: Master) -> None:
    master.tracker.connected(1, "192.0.2.9")
    master.register(1, OLD)
    for connection in range(2, 2 + IN_VAIN):  # its neighbours come and go
        master.join(connection)
        assert len(named_to(master.news(), "192.0.2.9")) == 1
        master.tracker.ended(connection, master.now)
    for connection in (100, 101):
        master.join(connection)
        assert not named_to(master.news(), "192.0.2.9")
    master.tracker.peers_reached(100, [("192.0.2.9", 1999)], master.now)  # no neighbour
    assert not named_to(master.news(TUNING.news_later), "192.0.2.9")
    master.tracker.peers_reached(100, [("192.0.2.9", 1001)], master.now)
    assert len(named_to(master.news(TUNING.news_later), "192.0.2.9")) == 2

"""What the master tells its nodes: who comes hears at once, a few take from it, followers take part from the start."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from test.support.processes import PATIENCE
from xget_lib import ipc
from xget_lib.master.tracker_io import Offered, TrackerIO
from xget_lib.swarm.messages import News
from xget_lib.swarm.tuning import TUNING

OLD, NEW = bytes(32), bytes([1]) * 32


class Master:
    """An exchange, and the last news that each connection was told."""

    def __init__(self) -> None:
        self.told: dict[int, News] = {}
        self.exchange = TrackerIO(6, self._tell)

    def come(self, connection: int, generation: bytes = b"", *, held: int = 0, follows: bool = False) -> None:
        self.exchange.arrived(connection, f"10.0.{connection // 200}.{connection % 200 + 1}")
        self.report(connection, generation, held=held, follows=follows)
        self.exchange.handle(ipc.Watch(connection))

    def report(self, connection: int, generation: bytes, *, held: int = 0, follows: bool = False) -> None:
        self.exchange.handle(ipc.Register(connection, 1000 + connection, generation, held, follows))

    def tells(self, count: int) -> dict[int, News]:
        """The news that so many are told, in one round."""
        self.told.clear()
        with gevent.Timeout(PATIENCE, AssertionError("nobody is told")):
            while len(self.told) < count:
                gevent.sleep(0.005)
        return self.told

    def _tell(self, connection: int, message: ipc.Message) -> None:
        if isinstance(message, ipc.News):
            self.told[connection] = News.decode(message.line)


@pytest.fixture
def master() -> Iterator[Master]:
    made = Master()
    made.exchange.distribute(Offered(OLD, 100, 10))
    yield made


def test_who_comes_hears_at_once_of_those_it_was_given_and_nobody_else_does(master: Master) -> None:
    for connection in range(3):
        master.come(connection)
    told = master.tells(3)
    assert [len(told[connection].peers) for connection in range(3)] == [0, 1, 2]
    master.come(3)
    assert set(master.tells(1)) == {3}


def test_a_few_take_from_the_master_until_they_have_everything(master: Master) -> None:
    for connection in range(TUNING.takers + 5):
        master.come(connection)
    told = master.tells(TUNING.takers + 5)
    assert sum(news.direct for news in told.values()) == TUNING.takers
    master.report(next(connection for connection, news in told.items() if news.direct), OLD, held=10)
    master.come(1000)
    assert master.tells(1)[1000].direct


def test_nodes_that_stay_with_an_old_generation_keep_nobody_from_the_master(master: Master) -> None:
    for connection in range(TUNING.takers):
        master.come(connection, OLD, held=10)
    master.exchange.distribute(Offered(NEW, 100, 10))
    master.come(1000)
    master.come(1001)
    told = master.tells(TUNING.takers + 2)
    assert told[1000].direct
    assert told[1001].direct
    assert len(told[1001].peers) == 1


def test_followers_are_told_of_each_other_with_the_new_generation(master: Master) -> None:
    for connection in range(4):
        master.come(connection, OLD, held=10, follows=True)
    master.exchange.distribute(Offered(NEW, 100, 10))
    master.report(2, OLD, held=10, follows=True)  # said before it heard
    told = master.tells(4)
    assert sum(len(news.peers) for news in told.values()) == 6, "each tie to one of its ends"
    master.report(2, NEW, held=3, follows=True)
    master.come(5)
    assert set(master.tells(1)) == {5}

"""The model of links: what one link carries in a second, however many share it."""

from __future__ import annotations

import pytest

from test.sim.clock import Clock
from test.sim.links import Connection, Network, Port, Request


def times(connections: list[Connection], sizes: list[int], latency: float = 0.0, block: int = 100) -> list[float]:
    """When each connection has brought as many bytes; all begin at 0."""
    clock = Clock()
    network = Network(clock, latency, block)
    ended = [0.0] * len(connections)
    for number, (connection, size) in enumerate(zip(connections, sizes, strict=True)):

        def arrived(request: Request, number: int = number) -> None:
            ended[number] = clock.now

        network.send(connection, Request(0, size, arrived))
    clock.run(lambda: False, 1e9)
    return ended


def test_an_idle_link_takes_size_by_rate_and_the_latency() -> None:
    assert times([Connection(Port(1000, 1000), Port(1000, 1000))], [1000], 0.5, 1000) == [pytest.approx(1.5)]


def test_connections_of_one_sender_share_its_link_equally() -> None:
    sender = Port(1000, 1000)
    ended = times([Connection(sender, Port(1000, 1000)) for _ in range(4)], [1000] * 4, block=10)
    assert ended == pytest.approx([4.0] * 4, rel=0.02)


def test_connections_to_one_receiver_share_its_link_equally() -> None:
    receiver = Port(1000, 1000)
    ended = times([Connection(Port(1000, 1000), receiver) for _ in range(4)], [1000] * 4, block=10)
    assert ended == pytest.approx([4.0] * 4, rel=0.05)


def test_a_slow_receiver_leaves_the_rest_of_the_senders_link_to_others() -> None:
    sender = Port(1000, 1000)
    ended = times([Connection(sender, Port(1000, 100)), Connection(sender, Port(1000, 1000))], [1000, 900], block=10)
    assert ended == pytest.approx([10.0, 1.0], rel=0.05)


def test_a_slow_sender_leaves_the_rest_of_the_receivers_link_to_others() -> None:
    receiver = Port(1000, 1000)
    ended = times(
        [Connection(Port(100, 1000), receiver), Connection(Port(1000, 1000), receiver)], [1000, 900], block=10
    )
    assert ended == pytest.approx([10.0, 1.0], rel=0.05)


def test_what_is_cancelled_before_it_began_takes_nothing() -> None:
    clock = Clock()
    network = Network(clock, 0.0, 100)
    sender, receiver = Port(1000, 1000), Port(1000, 1000)
    connection = Connection(sender, receiver)
    ended = []
    requests = [Request(number, 1000, lambda request: ended.append(request.chunk)) for number in range(2)]
    for request in requests:
        network.send(connection, request)
    network.cancel(connection, requests[1])
    clock.run(lambda: False, 1e9)
    assert ended == [0]
    assert sender.sent == 1000

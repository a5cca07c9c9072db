"""The slots of one connection at a worker: each costs the master time whenever anything happens."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from xget_lib import ipc
from xget_lib.errors import NinepError
from xget_lib.net.server import Client
from xget_lib.ninep.budget import Budget
from xget_lib.serve.swarm import SLOTS_LIMIT, Offer
from xget_lib.worker.backend import WorkerBackend


class Worker:
    """What a backend needs of its worker. `requested` are the slots that asked the master."""

    served = SimpleNamespace(generation=b"only")  # there is something to hand out

    def __init__(self) -> None:
        self.requested: list[int] = []
        self.slots = Budget("slots", per_host=SLOTS_LIMIT + 3)

    def send(self, message: ipc.Message) -> None:
        if isinstance(message, ipc.SlotAsked):
            self.requested.append(message.slot)


def test_more_slots_than_allowed_are_refused_until_one_is_closed() -> None:
    worker = Worker()
    backend = WorkerBackend(worker, Client(1, "10.0.0.1", 1))  # type: ignore[arg-type]
    offers = [Offer(backend) for _ in range(SLOTS_LIMIT + 1)]
    for offer in offers[:-1]:
        offer.read(0, 32)
    for _ in range(2):  # refused once more, and not kept waiting for what nobody was asked
        with pytest.raises(NinepError, match="too many"):
            offers[-1].read(0, 32)
    # A slot that was requested goes on.
    backend.receive(ipc.Grant(1, worker.requested[0], 5), [])
    assert offers[0].read(0, 32) == b"5\n"
    offers[0].read(0, 32)
    assert len(worker.requested) == SLOTS_LIMIT + 1
    offers[1].clunk()
    offers[-1].read(0, 32)
    assert len(worker.requested) == SLOTS_LIMIT + 2


def test_the_slots_of_all_connections_of_a_host_are_limited() -> None:
    worker = Worker()
    backends = [WorkerBackend(worker, Client(number, "10.0.0.1", 1)) for number in (1, 2)]  # type: ignore[arg-type]
    first, other = ([Offer(backend) for _ in range(SLOTS_LIMIT)] for backend in backends)
    for offer in (*first, *other[:3]):
        offer.read(0, 32)
    with pytest.raises(NinepError, match="too many slots"):
        other[3].read(0, 32)
    first[0].clunk()
    other[3].read(0, 32)
    assert worker.slots.used == worker.slots.per_host
    for offer in (*first, *other):
        offer.clunk()
    assert worker.slots.used == 0

"""The slots of one connection at a child: each costs it time whenever anything happens."""

from __future__ import annotations

import pytest

from xget_lib.errors import NinepError
from xget_lib.net.server import Client
from xget_lib.node.backend import ChildBackend
from xget_lib.serve.swarm import SLOTS_LIMIT, Turn
from xget_lib.serve.synthetic import Stream


class Child:
    """What a backend needs of its child. `requested` are the slots that were requested, in order."""

    def __init__(self) -> None:
        self.requested: list[int] = []

    def request_slot(self, slot: int, answers: Stream, client: Client) -> None:
        self.requested.append(slot)

    def release_slot(self, slot: int) -> None:
        pass


def test_more_slots_than_allowed_are_refused_until_one_is_closed() -> None:
    child = Child()
    backend = ChildBackend(child, Client(1, "10.0.0.1", 1))  # type: ignore[arg-type]
    turns = [Turn(backend) for _ in range(SLOTS_LIMIT + 1)]
    for turn in turns[:-1]:
        turn.read(0, 32)
    for _ in range(2):  # refused once more, and not kept waiting for what nobody was asked
        with pytest.raises(NinepError, match="too many"):
            turns[-1].read(0, 32)
    # A slot that was requested goes on.
    turns[0].put(b"take\n")
    assert turns[0].read(0, 32) == b"take\n"
    turns[0].read(0, 32)
    assert len(child.requested) == SLOTS_LIMIT + 1
    turns[1].clunk()
    turns[-1].read(0, 32)
    assert len(child.requested) == SLOTS_LIMIT + 2

"""How many slots, or turns, one connection may ask for: each costs thought whenever anything happens."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from xget_lib.errors import NinepError
from xget_lib.node import child
from xget_lib.serve.swarm import SLOTS_LIMIT, Offer, Turn
from xget_lib.serve.synthetic import Stream
from xget_lib.worker import backend


class Server:
    """What the desks of workers and children need of theirs; `asked` are the slots that ask."""

    served = object()  # there is something to give out

    def __init__(self) -> None:
        self.asked: list[int] = []

    def tell(self, message: object) -> None:
        slot = getattr(message, "slot", None)
        if type(message).__name__ == "Ask":
            assert slot is not None
            self.asked.append(slot)

    def ask_turn(self, slot: int, given: Stream, desk: object) -> None:
        self.asked.append(slot)

    def end_turn(self, slot: int) -> None:
        pass


@pytest.mark.parametrize("kind", ["worker", "child"])
def test_more_slots_than_allowed_are_refused_until_one_is_closed(kind: str) -> None:
    server = Server()
    made: backend.Desk | child.Desk
    files: list[Offer | Turn]
    if kind == "worker":
        made = backend.Desk(server, 1)  # type: ignore[arg-type]
        files = [Offer(made) for _ in range(SLOTS_LIMIT + 1)]
    else:
        made = child.Desk(server, "10.0.0.1")  # type: ignore[arg-type]
        files = [Turn(made) for _ in range(SLOTS_LIMIT + 1)]
    made.connection = SimpleNamespace(retry=lambda: None)  # type: ignore[assignment]
    for file in files[:-1]:
        file.read(0, 32)
    for _ in range(2):  # refused once more, and not kept waiting for what nobody was asked
        with pytest.raises(NinepError, match="too many"):
            files[-1].read(0, 32)
    # Who has asked goes on.
    files[0].put(b"5\n")
    assert files[0].read(0, 32) == b"5\n"
    files[0].read(0, 32)
    assert len(server.asked) == SLOTS_LIMIT + 1
    files[1].clunk()
    files[-1].read(0, 32)
    assert len(server.asked) == SLOTS_LIMIT + 2

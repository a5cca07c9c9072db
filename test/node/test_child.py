"""The child server: the slots of its clients, what it tells them, and how long it stays."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.backends import served
from test.support.downloads import manifest_of
from test.support.network import Peer, quiet_hub
from xget_lib.errors import NinepError
from xget_lib.fs.rooted import Root
from xget_lib.net.listen import listen
from xget_lib.net.server import Client
from xget_lib.ninep.budget import Budget
from xget_lib.ninep.messages import (
    ORDWR,
    OREAD,
    Rattach,
    Ropen,
    Rread,
    Rversion,
    Rwalk,
    Rwrite,
    Tattach,
    Topen,
    Tread,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.wire import NOFID
from xget_lib.node import child as child_module
from xget_lib.node.child import NodeBackend
from xget_lib.node.master_link import MasterLink
from xget_lib.node.transfer import Transfer
from xget_lib.serve.files import Files
from xget_lib.serve.swarm import SLOTS_LIMIT, Turn
from xget_lib.serve.synthetic import Stream
from xget_lib.swarm.messages import Registration
from xget_lib.swarm.tuning import TUNING


class Child:
    """What a backend needs of its child. `requested` are the slots that were requested, in order."""

    def __init__(self) -> None:
        self.requested: list[int] = []
        self.slots = Budget("slots", per_host=SLOTS_LIMIT + 3)

    def request_slot(self, slot: int, answers: Stream, client: Client) -> None:
        self.requested.append(slot)

    def release_slot(self, slot: int) -> None:
        pass


def test_more_slots_than_allowed_are_refused_until_one_is_closed() -> None:
    child = Child()
    made = NodeBackend(child, Client(1, "10.0.0.1", 1))  # type: ignore[arg-type]
    turns = [Turn(made) for _ in range(SLOTS_LIMIT + 1)]
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


# The child server.


@pytest.fixture
def child(tmp_path: Path) -> Iterator[child_module.Child]:
    with quiet_hub():
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        transfer = Transfer(MasterLink("127.0.0.1", 1, serving_port=port), 0)
        made = child_module.Child(listening, bytes(tmp_path), 0, transfer)
        yield made
        made.drain()


class Reader:
    """A client of the child, attached to `swarm`, that opens one file."""

    def __init__(self, port: int, name: str) -> None:
        self._peer = Peer(port)
        mode = ORDWR if name in ("turn", "peers") else OREAD
        self._peer.say(
            Tversion(65536, "9P2000"), Tattach(0, NOFID, "glenda", "swarm"), Twalk(0, 1, (name,)), Topen(1, mode)
        )
        assert [type(self._peer.hear()[1]) for _ in range(4)] == [Rversion, Rattach, Rwalk, Ropen]

    def ask(self) -> None:
        self._peer.say(Tread(1, 0, 1000))

    def answer(self) -> bytes:
        reply = self._peer.hear()[1]
        assert isinstance(reply, Rread)
        return bytes(reply.data)

    def write(self, data: bytes) -> None:
        self._peer.say(Twrite(1, 0, data), first_tag=7)
        assert isinstance(self._peer.hear()[1], Rwrite)

    def close(self) -> None:
        self._peer.close()


def test_have_is_answered_when_more_is_held(child: child_module.Child, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    content = served(tmp_path, manifest_of(tmp_path), full=False)
    reader = Reader(child.port, "have")
    reader.ask()
    child.serve(content, Files(Root(bytes(tmp_path)), lambda path: True, {}, {}))
    assert reader.answer() == content.generation + bytes(1)
    reader.ask()
    content.store.hold(1)
    child.held_changed(content.store)
    assert reader.answer() == content.generation + bytes([2])
    reader.close()


def test_an_upload_slot_is_free_again_when_its_holder_passes_or_leaves(
    child: child_module.Child,
) -> None:
    *holders, first, second = [Reader(child.port, "turn") for _ in range(TUNING.uploads + 2)]
    for holder in holders:
        holder.ask()
        assert holder.answer() == b"take\n"
    first.ask()
    holders[0].write(b"pass\n")
    assert first.answer() == b"take\n"
    second.ask()
    holders[1].close()
    assert second.answer() == b"take\n"
    second.close()


def test_a_peer_that_says_what_it_serves_is_named_with_its_address(
    child: child_module.Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[object] = []
    monkeypatch.setattr(child.transfer, "peer_registered", lambda *registration: registered.append(registration))
    reader = Reader(child.port, "peers")
    reader.write(Registration(4711, bytes(32), 0).encode())
    assert registered == [(("127.0.0.1", 4711), bytes(32))]
    reader.close()


def test_the_status_says_what_is_held(child: child_module.Child, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    content = served(tmp_path, manifest_of(tmp_path))
    child.serve(content, Files(Root(bytes(tmp_path)), lambda path: True, {}, {}))
    reader = Reader(child.port, "status")
    reader.ask()
    status = json.loads(reader.answer())
    assert (status["role"], status["generation"]) == ("download", content.generation.hex())
    assert (status["held"], status["chunks"], status["connections"]) == (1, 1, 1)
    reader.close()


def test_a_child_that_is_stopped_does_not_linger(child: child_module.Child) -> None:
    child.stop()
    child.linger(math.inf)


def test_a_child_lingers_until_nobody_has_read_for_so_long(child: child_module.Child) -> None:
    child.linger(0.01)

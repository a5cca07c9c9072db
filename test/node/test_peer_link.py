"""The two connections to a peer: a real child's namespace, and servers that break its rules."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.event import Event
from gevent.queue import Queue

from test.support.backends import RecordingBackend, served
from test.support.downloads import Served
from test.support.network import quiet_hub, until
from test.support.relay import Relay
from test.support.swarm_server import SwarmServer, unused_address
from test.support.trees import noise, write
from xget_lib.errors import LinkLost, NinepError, ProtocolViolation, XGetError
from xget_lib.ninep.file import File
from xget_lib.node import peer_link
from xget_lib.node.peer_link import PeerLink
from xget_lib.serve.swarm import child_tree
from xget_lib.serve.synthetic import Stream, SyntheticFile, Text, root
from xget_lib.swarm.messages import Registration

CHUNKS = 3


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def peer(tmp_path: Path) -> SwarmServer:
    """Serves a generation of three chunks, and holds none of them yet."""
    for number in range(CHUNKS):
        write(tmp_path / f"file {number}", noise(1 << 20, number))
    return SwarmServer(RecordingBackend(served(tmp_path, Served(tmp_path).manifest, full=False)), child_tree)


@pytest.fixture
def relay(peer: SwarmServer) -> Iterator[Relay]:
    """In front of the peer: `hold` makes it a process that is stopped."""
    with Relay(peer.address[1]) as relay:
        yield relay


def chunk_count(peer: SwarmServer) -> int:
    assert peer.backend.served is not None
    return peer.backend.served.store.layout.chunk_count


def read_have(link: PeerLink, peer: SwarmServer) -> Queue[int | XGetError]:
    """What `read_have` yields, and at last what it raises."""
    assert peer.backend.served is not None
    generation, chunks = peer.backend.served.generation, chunk_count(peer)
    heard: Queue[int | XGetError] = Queue()

    def read() -> None:
        try:
            for bits in link.read_have(generation, chunks):
                heard.put(bits)
        except (LinkLost, NinepError, ProtocolViolation) as error:
            heard.put(error)

    gevent.spawn(read)
    return heard


def test_have_is_heard_again_whenever_the_peer_holds_more(peer: SwarmServer) -> None:
    heard = read_have(PeerLink.connect(peer.address), peer)
    assert heard.get() == 0
    assert peer.backend.served is not None
    for chunk, bits in ((0, 0b1), (chunk_count(peer) - 1, 1 << chunk_count(peer) - 1 | 1)):
        peer.backend.served.store.hold(chunk)
        peer.backend.have_round += 1
        peer.retry()
        assert heard.get() == bits


@pytest.mark.parametrize(
    ("documents", "why"),
    [
        ([b"n" * 32 + b"\7"], "generation"),
        ([b"n" * 32], "generation"),  # a shorter bitmap, after which nothing comes for long
        ([b"g" * 32, b""], "length"),
        ([b""], "length"),
    ],
)
def test_a_bitmap_of_another_generation_or_length_breaks_the_protocol(documents: list[bytes], why: str) -> None:
    def tree(backend: RecordingBackend) -> File:
        answers = Stream()
        for document in documents:
            answers.put(document)
        have = SyntheticFile("have", 1, 0o444, lambda: answers)
        return root([SyntheticFile("data", 2, 0o444, lambda: Text(b"")), have])

    link = PeerLink.connect(SwarmServer(tree=tree).address)
    with pytest.raises(ProtocolViolation, match=why):
        next(link.read_have(b"g" * 32, CHUNKS))


def test_a_lost_or_ended_connection_ends_the_reading(peer: SwarmServer) -> None:
    lost, ended = PeerLink.connect(peer.address), PeerLink.connect(peer.address)
    heard_lost, heard_ended = read_have(lost, peer), read_have(ended, peer)
    assert heard_lost.get() == heard_ended.get() == 0
    ended.end()
    assert isinstance(heard_ended.get(), LinkLost)
    assert not heard_lost.qsize()
    peer.drop_connections()
    assert isinstance(heard_lost.get(), LinkLost)


def test_an_upload_slot_is_granted_when_the_peer_says_so_and_can_be_passed_on(peer: SwarmServer) -> None:
    link, granted = PeerLink.connect(peer.address), Event()
    link.request_slot(granted.set)
    until(lambda: peer.backend.requests)
    assert not granted.is_set()
    peer.answer_slot(b"take\n")
    granted.wait()
    link.pass_slot()
    until(lambda: peer.backend.said == ["request slot", "release slot"])


def mute_after(link: PeerLink, seconds: int) -> int | None:
    """Seconds after which a peer is found to be mute, if other greenlets may run in each; None if it never is."""
    for second in range(seconds):
        if link.is_mute(float(second)):
            return second
        gevent.sleep(0.005)
    return None


def test_a_peer_that_grants_no_slot_but_answers_is_busy_and_not_mute(peer: SwarmServer) -> None:
    link = PeerLink.connect(peer.address)
    link.request_slot(lambda: None)
    until(lambda: peer.backend.requests)
    assert mute_after(link, 200) is None


def test_a_peer_that_grants_no_slot_and_answers_nothing_else_is_mute(peer: SwarmServer, relay: Relay) -> None:
    link = PeerLink.connect(("127.0.0.1", relay.port))
    link.request_slot(lambda: None)
    until(lambda: peer.backend.requests)
    relay.hold()
    after = mute_after(link, 200)
    assert after is not None and 30 <= after <= 40


def test_a_peer_of_which_nothing_is_wanted_is_not_mute(relay: Relay) -> None:
    link = PeerLink.connect(("127.0.0.1", relay.port))
    relay.hold()
    assert mute_after(link, 200) is None


def test_a_peer_that_does_not_answer_when_slots_are_returned_is_given_up(peer: SwarmServer, relay: Relay) -> None:
    link = PeerLink.connect(("127.0.0.1", relay.port))
    heard = read_have(link, peer)
    assert heard.get() == 0
    relay.hold()
    for _ in range(100):
        link._turns.granted(0)  # the peer is silent
        link.pass_slot()
    assert isinstance(heard.get(), LinkLost)


def test_a_server_that_is_not_ready_in_time_is_given_up(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_link, "_CONNECT", 0.1)
    relay.hold()
    with pytest.raises(LinkLost):
        PeerLink.connect(("127.0.0.1", relay.port))


def test_a_server_without_upload_slots_grants_them_at_once() -> None:
    link, granted = PeerLink.connect(SwarmServer().address), Event()
    link.request_slot(granted.set)
    assert granted.is_set()
    link.pass_slot()


def test_a_refused_upload_slot_ends_the_link(peer: SwarmServer) -> None:
    class Refusing(RecordingBackend):
        def request_slot(self, slot: int, answers: Stream) -> None:
            raise NinepError(errno.EMFILE)

    peer.backend = Refusing(peer.backend.served)
    link = PeerLink.connect(peer.address)
    heard = read_have(link, peer)
    assert heard.get() == 0
    link.request_slot(lambda: pytest.fail("granted"))
    assert isinstance(heard.get(), LinkLost)


def test_a_peer_is_told_where_this_node_serves_and_may_refuse_to_listen(peer: SwarmServer) -> None:
    link, registration = PeerLink.connect(peer.address), Registration(9009, b"g" * 32, 0)
    link.register(registration.encode())
    assert peer.backend.said == [registration]
    link.close()
    link.register(registration.encode())


def test_an_attempt_that_fails_leaves_no_connection() -> None:
    with pytest.raises(LinkLost):
        PeerLink.connect(unused_address())
    without_files = SwarmServer(tree=lambda backend: root([]))
    with pytest.raises(NinepError):
        PeerLink.connect(without_files.address)
    assert without_files.accepted == 2
    until(lambda: not without_files.connected)

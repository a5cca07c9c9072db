"""Reading the manifest from peers and from the master: real servers, and some that are no good."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from random import Random

import gevent
import pytest

from test.support.backends import RecordingBackend
from test.support.manifests import indexed
from test.support.network import quiet_hub, until
from test.support.swarm_server import SwarmServer, unused_address
from xget_lib.errors import LinkLost, MalformedManifest, NinepError
from xget_lib.manifest.index import Index
from xget_lib.net.listen import listen
from xget_lib.node import fetch_manifest as fetching
from xget_lib.node import read_ranges
from xget_lib.serve.served import EncodedManifest
from xget_lib.serve.swarm import child_tree
from xget_lib.swarm import first_tier
from xget_lib.swarm.host_attempts import HostAttempts
from xget_lib.swarm.messages import Address, News

MANIFEST = indexed(bytes(range(256)) * 8192)  # more than one read
OTHER = indexed(bytes(range(255, -1, -1)) * 8192)
GENERATION = Index.of(MANIFEST).generation


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The master is asked after a fraction of a second without a good peer."""
    monkeypatch.setattr(first_tier, "_PATIENCE", 0.1)
    monkeypatch.setattr(first_tier, "_MANIFEST_RATE", 1e9)
    monkeypatch.setattr(fetching, "_PEER_ANSWERS", 0.1)


@pytest.fixture
def silent() -> Iterator[Address]:
    """A server whose kernel accepts connections, and that never answers."""
    with listen("127.0.0.1", 0) as listening:
        yield listening.getsockname()


def backend(manifest: bytes | None) -> RecordingBackend:
    found = RecordingBackend()
    found.manifest = None if manifest is None else EncodedManifest.of(manifest)
    return found


def master(manifest: bytes | None = MANIFEST) -> SwarmServer:
    return SwarmServer(backend(manifest))


def peer(manifest: bytes | None = MANIFEST) -> SwarmServer:
    return SwarmServer(backend(manifest), child_tree)


def fetch_manifest(news: News, address: Address, seconds: float) -> bytes | memoryview | None:
    return fetching.fetch_manifest(news, address, seconds, HostAttempts(Random(1)))


def news(*peers: Address, master_first: bool = False) -> News:
    return News(GENERATION, len(MANIFEST), peers, master_first)


def test_a_node_of_the_first_tier_reads_from_the_master_and_asks_no_peer() -> None:
    asked, idle = master(), peer()
    assert fetch_manifest(news(idle.address, master_first=True), asked.address, 10) == MANIFEST
    assert (asked.accepted, idle.accepted) == (1, 0)
    until(lambda: not asked.connected)


def test_another_node_reads_from_a_peer_and_does_not_ask_the_master() -> None:
    idle, asked = master(), peer()
    assert fetch_manifest(news(asked.address), idle.address, 10) == MANIFEST
    assert (asked.accepted, idle.accepted) == (1, 0)
    until(lambda: not asked.connected)


def test_a_peer_with_another_manifest_is_asked_again_later() -> None:
    idle, outdated = master(), peer(OTHER)

    def update() -> None:
        until(lambda: outdated.accepted == 2)
        outdated.backend.manifest = EncodedManifest.of(MANIFEST)

    gevent.spawn(update)
    assert fetch_manifest(news(outdated.address), idle.address, 10) == MANIFEST
    assert outdated.accepted >= 2 and not idle.accepted


@pytest.mark.usefixtures("impatient")
def test_the_master_is_asked_when_no_peer_is_any_good(silent: Address) -> None:
    asked, lying, short, not_ready = master(), peer(OTHER), peer(MANIFEST[:100]), peer(None)
    peers = (silent, lying.address, short.address, not_ready.address, unused_address())
    assert fetch_manifest(news(*peers), asked.address, 10) == MANIFEST
    assert asked.accepted == 1


@pytest.mark.parametrize("manifest", [OTHER, MANIFEST[:10], b"", indexed(b"x"), indexed(MANIFEST + MANIFEST)])
def test_the_manifest_of_another_generation_is_none(manifest: bytes) -> None:
    assert fetch_manifest(news(master_first=True), master(manifest).address, 10) is None


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (MANIFEST[:-1], "its index describes another size"),
        (MANIFEST[:-1] + b"x", "a part has another digest"),
        (b"x" * 1000, "not a manifest"),
    ],
)
def test_a_master_that_sends_something_else_under_the_right_name_is_refused(manifest: bytes, why: str) -> None:
    with pytest.raises(MalformedManifest, match=why):
        fetch_manifest(news(master_first=True), master(manifest).address, 10)


def test_a_master_that_is_restarted_meanwhile_is_tried_again() -> None:
    address = unused_address()
    fetched = gevent.spawn(fetch_manifest, news(master_first=True), address, 10)
    gevent.spawn_later(0.05, lambda: SwarmServer(backend(MANIFEST), port=address[1]))
    assert fetched.get() == MANIFEST


def test_a_master_that_is_gone_or_silent_is_given_up_when_the_time_is_over(silent: Address) -> None:
    for address in (unused_address(), silent):
        with pytest.raises(LinkLost, match=f"127.0.0.1:{address[1]}"):
            fetch_manifest(news(master_first=True), address, 0.2)


def test_a_restarted_master_is_asked_until_it_has_a_snapshot_again() -> None:
    recording = backend(None)
    restarted = SwarmServer(recording)
    fetched = gevent.spawn(fetch_manifest, news(master_first=True), restarted.address, 10)
    until(lambda: restarted.accepted > 0)
    recording.manifest = EncodedManifest.of(MANIFEST)
    assert fetched.get() == MANIFEST


def test_that_there_is_no_snapshot_yet_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only --stall-timeout ends it, which the caller looks after."""
    restarted = SwarmServer(backend(None))
    fetched = gevent.spawn(fetch_manifest, news(master_first=True), restarted.address, 2.0)
    until(lambda: restarted.accepted > 4)
    assert not fetched.ready()
    restarted.backend.manifest = EncodedManifest.of(MANIFEST)
    assert fetched.get() == MANIFEST


class Dripping(EncodedManifest):
    """A byte at a time."""

    def read(self, offset: int, count: int) -> bytes:
        return MANIFEST[offset : offset + 1]


def test_a_server_that_sends_single_bytes_is_left_and_they_are_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ranges, "LOWEST_RATE", 1e6)  # and a step of 64 KiB: it has 0.07 seconds for that
    told: list[int] = []
    dripping = backend(MANIFEST)
    encoded = EncodedManifest.of(MANIFEST)
    dripping.manifest = Dripping(encoded.file, encoded.size)
    server = SwarmServer(dripping)
    with pytest.raises(LinkLost, match=r"sends less than 1000000\.0 bytes of the manifest a second"):
        fetching.fetch_manifest(
            news(master_first=True), server.address, 0.3, HostAttempts(Random(1)), lambda: told.append(1)
        )
    assert told == []


def test_a_peer_is_asked_where_the_master_does_not_give_the_manifest() -> None:
    other = peer()
    first_of_all = news(other.address, master_first=True)
    assert fetch_manifest(first_of_all, unused_address(), 10) == MANIFEST


class Refusing(RecordingBackend):
    """Of a master that refuses to give its manifest."""

    @property
    def manifest(self) -> EncodedManifest | None:
        raise NinepError(errno.EACCES)

    @manifest.setter
    def manifest(self, manifest: EncodedManifest | None) -> None:
        pass


def test_a_refusal_of_the_master_is_final() -> None:
    refusing = SwarmServer(Refusing())
    with pytest.raises(NinepError, match="Permission denied"):
        fetch_manifest(news(master_first=True), refusing.address, 10)
    assert refusing.accepted == 1

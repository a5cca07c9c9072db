"""The namespace of XGet's own clients: what its files answer, and what they ask of the backend."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from test.support.backends import RecordingBackend, bytes_of, served
from test.support.downloads import manifest_of
from xget_lib.errors import NinepError, NotHeld
from xget_lib.ninep.file import WAITING, Content, Handle
from xget_lib.ninep.messages import ORDWR, OREAD, OWRITE
from xget_lib.serve import swarm
from xget_lib.serve.served import Served
from xget_lib.serve.swarm import WANTS_LIMIT, child_tree, master_tree
from xget_lib.swarm.messages import LINE_LIMIT, Registration

GENERATION = bytes(range(32))
REGISTRATION = Registration(20004, GENERATION, 17)


@pytest.fixture
def content(tmp_path: Path) -> Served:
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second")
    return served(tmp_path, manifest_of(tmp_path))


def opened(backend: RecordingBackend, name: str, mode: int = OREAD) -> Handle:
    return master_tree(backend).walk(name).open(mode)


# manifest, data


def test_the_manifest_is_read_by_offset(content: Served) -> None:
    handle = opened(RecordingBackend(content), "manifest")
    encoded, size = content.store.manifest.encode(), content.manifest.size
    assert bytes_of(handle.read(3, 7)) == encoded[3:10]
    assert bytes_of(handle.read(size - 2, 100)) == encoded[-2:]
    assert handle.read(size, 100) == handle.read(2**64 - 1, 100) == b""


def test_the_manifest_is_there_before_the_content(content: Served) -> None:
    """A node may take long to find what it has already, and others wait for the manifest meanwhile."""
    backend = RecordingBackend()
    with pytest.raises(NinepError, match="not ready"):
        opened(backend, "manifest")
    backend.manifest = content.manifest
    assert bytes_of(opened(backend, "manifest").read(0, 7)) == content.store.manifest.encode()[:7]
    assert opened(backend, "have").read(0, 100) is WAITING


def test_the_length_of_a_file_is_that_of_its_content(content: Served) -> None:
    top = master_tree(RecordingBackend(content))
    assert [top.walk(name).stat().length for name in ("manifest", "data")] == [content.manifest.size, 11]


def test_data_is_the_content_stream_by_offset(content: Served) -> None:
    handle = opened(RecordingBackend(content), "data")
    data = handle.read(3, 100)
    assert isinstance(data, Content) and data.length == 8
    assert bytes_of(data) == b"stsecond"
    assert handle.read(11, 5) == handle.read(2**64 - 1, 2**32 - 1) == b""


def test_data_keeps_to_the_generation_of_its_first_read(content: Served, tmp_path: Path) -> None:
    backend = RecordingBackend(content)
    early, late = opened(backend, "data"), opened(backend, "data")
    early.read(0, 1)
    (tmp_path / "c").write_bytes(b"third")
    backend.served = served(tmp_path, manifest_of(tmp_path))
    sizes = [handle.read(0, 100).length for handle in (early, late)]  # type: ignore[union-attr]
    assert sizes == [11, 16]


def test_a_range_that_is_not_held_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    handle = opened(RecordingBackend(served(tmp_path, manifest_of(tmp_path), full=False)), "data")
    with pytest.raises(NotHeld):
        handle.read(0, 1)


def test_before_the_snapshot_there_is_nothing_to_read() -> None:
    backend = RecordingBackend()
    top = master_tree(backend)
    assert [top.walk(name).stat().length for name in ("manifest", "data")] == [0, 0]
    with pytest.raises(NinepError) as caught:
        opened(backend, "manifest")
    assert caught.value.errno == errno.EAGAIN
    with pytest.raises(NotHeld):
        opened(backend, "data").read(0, 1)
    assert opened(backend, "have").read(0, 100) is WAITING


# have


def test_have_is_the_generation_and_the_bitmap_and_then_waits(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    here = served(tmp_path, manifest_of(tmp_path), full=False)
    have = opened(RecordingBackend(here), "have")
    assert have.read(0, 1000) == here.generation + bytes(1)
    assert have.read(33, 1000) is WAITING
    here.store.hold(1)
    assert have.read(33, 1000) == here.generation + bytes([2])
    assert have.read(66, 1000) is WAITING


def test_have_reports_changes_once_in_a_round_however_soon_it_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    here = served(tmp_path, manifest_of(tmp_path), full=False)
    backend = RecordingBackend(here)
    backend.have_round = 7
    have = child_tree(backend).walk("have").open(OREAD)
    assert have.read(0, 1000) == here.generation + bytes(1)
    here.store.hold(1)
    assert have.read(33, 1000) is WAITING
    backend.have_round = 8
    assert have.read(33, 1000) == here.generation + bytes([2])
    backend.have_round = 9
    assert have.read(66, 1000) is WAITING


def test_a_have_that_is_read_in_parts_is_that_of_one_moment(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    here = served(tmp_path, manifest_of(tmp_path), full=False)
    have = opened(RecordingBackend(here), "have")
    parts = [have.read(0, 32)]
    here.store.hold(1)
    assert [*parts, have.read(32, 32)] == [here.generation, bytes(1)]
    assert have.read(33, 100) == here.generation + bytes([2])


# peers


def test_peers_gives_news_as_it_arrives_and_only_the_latest() -> None:
    backend = RecordingBackend()
    peers = opened(backend, "peers")
    assert backend.said == []  # a client that serves registers first
    assert peers.read(0, 100) is WAITING
    assert peers.read(0, 100) is WAITING
    assert backend.said == ["subscribe"]
    backend.news[0].replace(b"old\n")
    backend.news[0].replace(b"new\n")
    assert peers.read(0, 100) == b"new\n"
    peers.clunk()
    assert backend.said == ["subscribe", "unsubscribe"]


def test_a_report_is_registered() -> None:
    backend = RecordingBackend()
    line = REGISTRATION.encode()
    assert opened(backend, "peers", ORDWR).write(77, line) == len(line)
    assert backend.said == [REGISTRATION]


def test_a_report_without_end_is_not_even_read() -> None:
    backend = RecordingBackend()
    line = b" " * (LINE_LIMIT + 1 - len(REGISTRATION.encode())) + REGISTRATION.encode()
    with pytest.raises(NinepError) as caught:
        opened(backend, "peers", ORDWR).write(0, line)
    assert caught.value.errno == errno.EMSGSIZE
    assert opened(backend, "peers", ORDWR).write(0, line[1:]) == LINE_LIMIT
    assert backend.said == [REGISTRATION]


# offer


def test_an_offer_asks_only_when_there_is_a_generation(tmp_path: Path) -> None:
    """What is asked before would be forgotten when the first one begins."""
    backend = RecordingBackend()
    offer = opened(backend, "offer")
    assert offer.read(0, 10) is WAITING
    assert backend.said == []
    backend.served = served(tmp_path, manifest_of(tmp_path))
    assert offer.read(0, 10) is WAITING
    assert backend.said == ["request slot"]


def test_an_offer_means_chunks_of_the_generation_in_which_it_was_used_first(tmp_path: Path) -> None:
    """A client that does not know the next one yet would take its chunks for those of the former."""
    first = served(tmp_path, manifest_of(tmp_path))
    (tmp_path / "a").write_bytes(b"changed")
    second = served(tmp_path, manifest_of(tmp_path))
    backend = RecordingBackend(first)
    offer = opened(backend, "offer", ORDWR)
    offer.write(0, b"\x05")
    backend.served = second
    assert offer.read(0, 10) is WAITING
    assert offer.write(0, b"\x07") == 1
    assert backend.said == [b"\x05"]
    assert opened(backend, "offer").read(0, 10) is WAITING
    assert backend.said == [b"\x05", "request slot"]


def test_a_read_of_offer_asks_once_and_waits(tmp_path: Path) -> None:
    backend = RecordingBackend(served(tmp_path, manifest_of(tmp_path)))
    offer = opened(backend, "offer")
    assert backend.said == []
    assert offer.read(0, 10) is WAITING
    assert offer.read(0, 10) is WAITING
    assert backend.said == ["request slot"]
    (request,) = backend.requests.values()
    request.put(b"17\n")
    assert offer.read(0, 10) == b"17\n"
    assert offer.read(0, 10) is WAITING
    assert backend.said == ["request slot", "request slot"]
    offer.clunk()
    assert backend.said[2:] == ["release slot"]


def test_an_offer_that_is_read_in_parts_is_asked_for_once(tmp_path: Path) -> None:
    backend = RecordingBackend(served(tmp_path, manifest_of(tmp_path)))
    offer = opened(backend, "offer")
    offer.read(0, 1)
    (request,) = backend.requests.values()
    request.put(b"17\n")
    assert [offer.read(0, count) for count in (0, 1, 2)] == [b"", b"1", b"7\n"]
    assert backend.said == ["request slot"]


def test_every_open_offer_is_a_slot_of_its_own(tmp_path: Path) -> None:
    backend = RecordingBackend(served(tmp_path, manifest_of(tmp_path)))
    for _ in range(3):
        opened(backend, "offer").read(0, 10)
    assert len(backend.requests) == 3


def test_a_bitmap_of_wanted_chunks_is_written_to_offer(content: Served) -> None:
    backend = RecordingBackend(content)
    offer = opened(backend, "offer", ORDWR)
    assert offer.write(0, b"\x05") == 1
    assert backend.said == [b"\x05"]
    assert offer.write(0, bytes(WANTS_LIMIT)) == WANTS_LIMIT
    with pytest.raises(NinepError):
        offer.write(0, bytes(WANTS_LIMIT + 1))


def test_a_child_has_upload_slots_instead_of_offers() -> None:
    top = child_tree(RecordingBackend())
    with pytest.raises(NinepError):
        top.walk("offer")
    names = [stat.name for stat in top.open(OREAD).children()]
    assert names == ["manifest", "data", "have", "peers", "turn", "log", "status"]


def test_a_master_tells_the_marks_of_what_it_serves_when_it_knows_that(content: Served) -> None:
    backend = RecordingBackend()
    places = opened(backend, "places")
    assert places.read(0, 100) is WAITING
    backend.served = Served(content.manifest, content.store, marks=(b"\1" * 16, b"\xff" * 16))
    assert places.read(0, 100) == b"01" * 16 + b"\n" + b"ff" * 16 + b"\n"
    assert places.read(33, 4) == b"ffff" and places.read(66, 4) == b""


def test_a_turn_that_is_passed_is_released_and_requested_anew() -> None:
    backend = RecordingBackend()
    turn = child_tree(backend).walk("turn").open(ORDWR)
    assert turn.read(0, 10) is WAITING
    (request,) = backend.requests.values()
    request.put(b"take\n")
    assert turn.write(0, b"pass\n") == 5
    assert turn.read(0, 10) is WAITING
    assert backend.said == ["request slot", "release slot", "request slot"]


def test_peers_of_a_child_are_clunked_without_a_word_to_the_backend() -> None:
    """Nothing is registered there."""
    backend = RecordingBackend()
    peers = child_tree(backend).walk("peers").open(ORDWR)
    peers.write(0, REGISTRATION.encode())
    assert peers.read(0, 100) is WAITING
    peers.clunk()
    assert backend.said == [REGISTRATION, "subscribe"]


# log, status


def test_a_line_for_the_log_cannot_break_the_log() -> None:
    backend = RecordingBackend()
    log = opened(backend, "log", OWRITE)
    assert log.write(0, b"node 7\n2026-01-01 forged \x1b[2J\xff\n\0") == 32
    assert backend.said == ["node 7\\n2026-01-01 forged \\x1b[2J\\udcff"]
    log.write(0, b"x" * 5000)
    assert backend.said[1] == "x" * LINE_LIMIT


def test_the_log_contains_the_debug_level() -> None:
    assert opened(RecordingBackend(), "log").read(0, 10) == b"3\n"


def test_the_status_is_that_of_the_first_read() -> None:
    backend = RecordingBackend()
    status = opened(backend, "status")
    assert status.read(0, 4) is WAITING
    assert status.read(0, 4) is WAITING
    backend.answers[0].put(b"{status}\n")
    assert [status.read(offset, 4) for offset in (0, 4, 8, 9)] == [b"{sta", b"tus}", b"\n", b""]
    assert backend.said == ["status"]


@pytest.mark.parametrize("name", ["manifest", "data", "have", "status"])
def test_a_read_only_file_cannot_be_opened_for_writing(name: str, content: Served) -> None:
    for mode in (OWRITE, ORDWR):
        with pytest.raises(NinepError) as caught:
            opened(RecordingBackend(content), name, mode)
        assert caught.value.errno == errno.EROFS


def test_the_names_are_those_of_the_contract() -> None:
    names = [stat.name for stat in master_tree(RecordingBackend()).open(OREAD).children()]
    assert names == ["manifest", "data", "have", "peers", "offer", "places", "nodes", "log", "status"]
    assert all(f"    {name} " in (swarm.__doc__ or "") for name in names)

"""The rate test: what it reads, when it ends, and what it says of the cause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from test.doctor.test_packets import INFO, ROUTE
from test.support.backends import RecordingBackend, served
from test.support.downloads import manifest_of
from test.support.network import quiet_hub
from test.support.swarm_server import SwarmServer
from xget_lib.doctor import rate
from xget_lib.doctor.rate import Measured, examine, judge, measure
from xget_lib.errors import NinepError
from xget_lib.net.link import Link
from xget_lib.serve.attach import SWARM

MIB = 1 << 20
SIZE = 3 * MIB


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_hub():
        yield


def connected(directory: Path, *, full: bool = True) -> Link:
    source = directory / "source"
    source.mkdir(exist_ok=True)
    (source / "content").write_bytes(bytes(SIZE))
    server = SwarmServer(RecordingBackend(served(source, manifest_of(source), full=full)))
    return Link.connect(*server.address, SWARM, 20.0)


def test_it_ends_after_so_many_bytes_also_of_a_content_that_is_smaller(tmp_path: Path) -> None:
    link = connected(tmp_path)
    found = measure(link, SIZE, 15.0, 8 * MIB, 0.001)
    assert found.count == 8 * MIB
    assert 0 < found.seconds < 15
    assert found.refusal == ""
    link.close()


def test_it_ends_after_so_many_seconds(tmp_path: Path) -> None:
    link = connected(tmp_path)
    found = measure(link, SIZE, 0.0, 1 << 40, 0.001)
    assert 0 < found.count < 1 << 30
    link.close()


def test_what_a_server_does_not_have_or_does_not_say_is_not_measured(tmp_path: Path) -> None:
    link = connected(tmp_path, full=False)
    found = examine(link, "node x", SIZE, None, None, 0.001, busy=False)
    assert (found.result, "not held" in found.what) == ("note", True)
    link.close()
    link = connected(tmp_path)
    assert (
        examine(link, "x", 0, None, None, 0.001, busy=True).what
        == "x: not measured: 0 B of content are too little to say"
    )
    link.close()
    found = examine(link, "the master", SIZE, None, None, 0.001, busy=False)
    assert (found.result, found.exit) == ("problem", 1)


def test_a_refusal_to_open_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(self: Link, name: str, seconds: float, mode: int = 0) -> None:
        raise NinepError(13, "not for you")

    link = connected(tmp_path)
    monkeypatch.setattr(Link, "open", refuses)
    assert examine(link, "x", SIZE, None, None, 0.001, busy=False).what == "x: not measured: not for you"
    link.close()


FAST = replace(ROUTE, speed=10_000_000_000)
GOOD = Measured(64 * MIB, 1.0, 0.2, replace(INFO, received=64 * MIB), 0, 0.001)


@pytest.mark.parametrize(
    ("measured", "speed", "limit", "result", "words"),
    [
        (GOOD, None, None, "ok", "limited by the server, its link, or other traffic"),
        (GOOD, 600_000_000, None, "ok", "limited by the link of this machine (eth0)"),
        (GOOD, 10_000_000_000, None, "note", "64.0 MiB/s (537 Mbit/s) on one connection"),
        (GOOD, 10_000_000_000, 66e6, "ok", "limited by --rate"),
        (replace(GOOD, processor=0.95), None, None, "ok", "limited by the processor of this machine"),
        (replace(GOOD, out_of_order=500), None, None, "note", "limited by packets that were lost or overtaken"),
        (replace(GOOD, out_of_order=3), None, None, "ok", "limited by the server"),
        (replace(GOOD, trip=1.0), None, None, "note", "limited by the receive buffer"),
        (replace(GOOD, count=1000, seconds=0.01), None, None, "note", "not measured: 1000 B are too little to say"),
    ],
)
def test_what_it_was_limited_by(
    monkeypatch: pytest.MonkeyPatch,
    measured: Measured,
    speed: int | None,
    limit: float | None,
    result: str,
    words: str,
) -> None:
    monkeypatch.setattr(rate, "receive_buffer", lambda: 32 * MIB)
    found = judge(measured, "the master", replace(ROUTE, speed=speed), limit, busy=False)
    assert found.result == result
    assert words in found.what


def test_of_a_busy_server_little_is_taken_and_nothing_is_concluded() -> None:
    found = judge(replace(GOOD, count=2 * MIB), "the master", FAST, None, busy=True)
    assert (found.result, "little because it is busy" in found.what) == ("ok", True)
    assert rate.BUSY_MOST < rate.MOST

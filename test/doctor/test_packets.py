"""Whether large packets get through: what is asked, and what the kernel's numbers mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from test.support.backends import RecordingBackend, served
from test.support.downloads import manifest_of
from test.support.network import quiet_hub
from test.support.swarm_server import SwarmServer
from xget_lib.doctor import packets
from xget_lib.errors import LinkLost
from xget_lib.net.link import Link
from xget_lib.net.route import Route
from xget_lib.net.tcp_info import TcpInfo
from xget_lib.ninep.messages import Message, TMessage, Tread, Twalk
from xget_lib.serve.attach import SWARM

INFO = TcpInfo(
    sends=1448, receives=1448, path=1500, rtt=0.001, offers=1448, space=1, retransmitted=0, out_of_order=0, received=1
)
ROUTE = Route("eth0", "", "10.0.0.2", 1500, None)
LARGE = packets.LARGE


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "content").write_bytes(bytes(3 * LARGE))
    server = SwarmServer(RecordingBackend(served(source, manifest_of(source))))
    link = Link.connect(*server.address, SWARM, 20.0)
    yield link
    link.close()


def test_on_a_path_that_is_well_everything_is_answered(link: Link) -> None:
    (found,) = packets.examine(link, None)
    assert found.result == "ok"
    assert "full ones get through both ways" in found.what
    (again,) = packets.examine(link, Route("lo", "", "127.0.0.1", 70000, None))
    assert again.result == "ok"


@pytest.mark.parametrize(
    ("lost", "words"),
    [(Twalk, "large packets do not get to the server"), (Tread, "large packets of the server do not get here")],
)
def test_large_messages_that_are_lost(
    link: Link, monkeypatch: pytest.MonkeyPatch, lost: type[TMessage], words: str
) -> None:
    call = Link.call

    def loses(self: Link, message: TMessage, seconds: float | None) -> Message:
        is_large = getattr(message, "count", LARGE) >= LARGE and getattr(message, "wname", ("x",)) != ()
        if isinstance(message, lost) and is_large:
            raise LinkLost("server", "no answer within 6 s")
        return call(self, message, seconds)

    monkeypatch.setattr(Link, "call", loses)
    (found,) = packets.examine(link, None)
    assert (found.result, found.exit) == ("problem", 3)
    assert words in found.what


def test_a_connection_that_ends_is_no_matter_of_sizes(link: Link) -> None:
    link.close()
    with pytest.raises(LinkLost):
        list(packets.examine(link, None))


@pytest.mark.parametrize(
    ("info", "size", "result", "words"),
    [
        (INFO, LARGE, "ok", "1448 bytes of content there, 1448 here; round trip 2.0 ms"),
        (INFO, 100, "note", "it has nothing large to ask for"),
        (replace(INFO, path=1400), LARGE, "note", "the path takes 1400 bytes, the interface 1500"),
        (replace(INFO, retransmitted=5), LARGE, "note", "5 had to be sent again"),
        (replace(INFO, receives=1200), LARGE, "note", "smaller than 1448, which this machine offers"),
    ],
)
def test_what_the_sizes_mean(info: TcpInfo, size: int, result: str, words: str) -> None:
    found = packets.of_sizes(info, ROUTE, size, 0.002)
    assert found.result == result
    assert words in found.what

"""Asking the master whether the destination is in what it serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from test.support.backends import served
from test.support.downloads import Served
from test.support.network import quiet_hub
from test.support.nodes import Master
from test.support.swarm_server import SwarmServer
from xget_lib.errors import DestinationRefused, MasterUnreachable, NotAdmitted, ProtocolViolation
from xget_lib.fs.places import MARKS_LIMIT, marks_of
from xget_lib.node import own_master
from xget_lib.node.master_link import MasterLink
from xget_lib.node.own_master import read_marks
from xget_lib.serve.swarm import child_tree
from xget_lib.swarm.messages import Address


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def content(tmp_path: Path) -> Served:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(b"content")
    return Served(tmp_path / "served")


def check_dest(master: MasterLink, dest: bytes, seconds: float) -> None:
    own_master.check_dest(dest, read_marks(master, seconds))


def linked(address: Address) -> MasterLink:
    link = MasterLink(*address, serving_port=None)
    link.begin(5.0)
    return link


def test_a_destination_in_what_it_serves_is_refused_when_it_knows_what_that_is(content: Served, tmp_path: Path) -> None:
    server = Master(content.directory, content)
    known = served(content.directory, content.manifest, marks=tuple(marks_of(bytes(content.directory))))
    server.backend.served = None
    link = linked(server.address)
    refused: list[DestinationRefused] = []

    def ask() -> None:
        try:
            check_dest(link, bytes(content.directory / "new"), 5.0)
        except DestinationRefused as error:
            refused.append(error)

    asking = gevent.spawn(ask)
    gevent.sleep(0)
    server.backend.served = known
    while not asking.ready():
        server.retry()
        gevent.sleep(0.01)
    assert "is in the directory that this master serves" in str(*refused)
    check_dest(link, bytes(tmp_path / "elsewhere"), 5.0)


def test_a_server_that_has_no_marks_refuses_nothing(content: Served) -> None:
    check_dest(linked(SwarmServer(tree=child_tree).address), bytes(content.directory), 5.0)
    check_dest(linked(Master(content.directory, content).address), bytes(content.directory), 5.0)


def test_more_marks_than_there_can_be_are_not_read(content: Served) -> None:
    server = Master(content.directory, content)
    server.backend.served = served(content.directory, content.manifest, marks=(b"x" * 16,) * 2 * MARKS_LIMIT)
    with pytest.raises(ProtocolViolation, match="too long"):
        check_dest(linked(server.address), bytes(content.directory), 5.0)


def test_without_a_connection_it_is_tried_for_the_time_given(content: Served) -> None:
    with pytest.raises(MasterUnreachable, match=r"127\.0\.0\.1 port 1: no answer"):
        check_dest(MasterLink("127.0.0.1", 1, serving_port=None), bytes(content.directory), 0.1)


def test_a_refusal_by_one_side_is_no_silence(tmp_path: Path, content: Served) -> None:
    server = Master(tmp_path / "served", content)
    master = MasterLink(*server.address, serving_port=None)
    master.begin(10)
    assert master.link is not None
    master.link._end(NotAdmitted("master", "it refuses the certificate of this node"))
    with pytest.raises(NotAdmitted):
        read_marks(master, 10)

"""What is concluded from what a master and nodes say. With real ones: test/end_to_end/test_doctor.py."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test.support.backends import RecordingBackend, served
from test.support.configured import configured
from test.support.downloads import manifest_of
from test.support.manifests import indexed
from test.support.network import quiet_hub
from test.support.swarm_server import SwarmServer
from xget_lib import __version__
from xget_lib.doctor import packets, servers
from xget_lib.doctor.destination import Content
from xget_lib.doctor.findings import Finding
from xget_lib.doctor.servers import Master
from xget_lib.errors import Exit, LinkLost, NotAdmitted
from xget_lib.manifest.index import VERSION
from xget_lib.net.link import Link
from xget_lib.ninep.auth import Credentials
from xget_lib.serve.attach import SWARM
from xget_lib.serve.served import EncodedManifest
from xget_lib.serve.synthetic import DeferredText

MASTER = {"role": "master", "version": __version__, "generation": "ab" * 32, "files": 2, "bytes": 7, "chunks": 3}


ODD: list[object] = [None, -1, True, 1.5, float("inf"), 1 << 70, "many\x1b", [], [{}], {"states": []}]
"""What a stranger may say in any field."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_hub():
        yield


class Backend(RecordingBackend):
    """Answers with a status at once."""

    status: object = MASTER

    def request_status(self, answer: DeferredText) -> None:
        answer.put(json.dumps(self.status).encode())


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    source = tmp_path / "source"
    source.mkdir()
    (source / "content").write_bytes(bytes(100_000))
    return Backend(served(source, manifest_of(source), marks=(bytes(16),)))


def examined(backend: Backend, **options: object) -> tuple[list[Finding], Master]:
    server = SwarmServer(backend)
    master = Master(configured(host="127.0.0.1", port=server.address[1], **options), "127.0.0.1", None)
    return list(master.examine(Credentials())), master


def of_master(status: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each.result, each.what) for each in servers._of_master({**MASTER, **status}, configured(host="head"))]


def test_a_master_that_is_well(backend: Backend) -> None:
    found, master = examined(backend)
    assert [each.check for each in found] == ["admission", "packets", "master", "version", "clock", "rate", "peers"]
    assert {each.result for each in found} <= {"ok", "note"}
    assert master.content == Content(7, 2, frozenset({bytes(16)}))


@pytest.mark.parametrize("status", ["no object", [], *({**MASTER, "files": odd} for odd in ODD)])
def test_a_status_that_is_none_is_a_problem(backend: Backend, status: object) -> None:
    backend.status = status
    found, master = examined(backend)
    assert (found[-1].check, found[-1].result, found[-1].exit) == ("master", "problem", Exit.UNREACHABLE)
    assert master.content is None


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_nothing_that_a_master_says_is_an_internal_error(backend: Backend, odd: object) -> None:
    others = ("version", "generation", "bytes", "chunks", "children", "distribution", "omitted", "problem", "time")
    for name in others:
        backend.status = {**MASTER, name: odd}
        found, _ = examined(backend)
        assert all(each.line.isprintable() for each in found)


def test_what_a_master_says_of_itself() -> None:
    assert of_master({}) == [("ok", "serves generation abababababababab, 2 files")]
    problems = {"problem": "the directory is empty", "nursery_problem": "died\x1b["}
    assert of_master(problems)[:2] == [
        ("problem", "it says: the directory is empty"),
        ("problem", r"it says: died\x1b["),
    ]
    assert of_master({"generation": None})[0][1].startswith("it has no snapshot yet")
    left_out = of_master({"omitted": ["a: a socket", "b: a socket"]})
    assert left_out[0] == ("note", "it leaves out 2 paths, such as a: a socket")
    assert of_master({"role": "child", "master": "head:20004"}) == [
        ("problem", "head port 20004 is a child, of the master head:20004, and not a master")
    ]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (NotAdmitted("x", "it wants TLS (--tls)"), Exit.NOT_ADMITTED, "the master: it wants TLS (--tls)"),
        (
            LinkLost("x", "connection closed by the server"),
            Exit.UNREACHABLE,
            "the master closes the connection at once",
        ),
        (LinkLost("x", "it accepts connections, but does not answer"), Exit.UNREACHABLE, "but does not answer"),
    ],
)
def test_why_there_is_no_connection(error: LinkLost, status: Exit, words: str) -> None:
    found = servers._not_connected(error, "the master")
    assert found.exit == status
    assert words in found.what


def test_versions_that_differ_are_noted() -> None:
    assert servers._version("the master", MASTER).result == "ok"
    assert servers._version("the master", {"version": "9.9"}).what == f"the master has 9.9, this is {__version__}"


@pytest.mark.parametrize(
    ("begin", "problems"),
    [
        (indexed(b"x"), 0),
        (indexed(b"x").replace(struct.pack("<H", VERSION), struct.pack("<H", VERSION + 1), 1), 1),
        (b"\xc1\xc1", 1),
        (b"", 1),
    ],
)
def test_a_manifest_of_another_format_is_a_problem(backend: Backend, begin: bytes, problems: int) -> None:
    backend.manifest = EncodedManifest.of(begin)
    server = SwarmServer(backend)
    link = Link.connect(*server.address, SWARM, 20.0)
    found = list(servers._manifest(link))
    assert [each.exit for each in found] == [Exit.UNVERIFIED] * problems
    link.close()


def node(**facts: object) -> dict[str, object]:
    return {"address": "10.0.0.1", "port": 40000, "held": 3, "generation": "ab" * 32, **facts}


def test_only_nodes_that_have_everything_are_examined() -> None:
    children = [node(), node(held=2), node(generation=""), node(port=80), node(port="x"), "node", node(address=None)]
    assert servers._whole_peers({**MASTER, "children": children}) == (("10.0.0.1", 40000),)
    assert servers._whole_peers({**MASTER, "children": "none"}) == ()


def test_nodes_that_this_one_may_not_connect_to_are_left_alone(backend: Backend) -> None:
    address = "127.0.0.1"
    backend.status = {**MASTER, "children": [node(address=address)]}
    found, _ = examined(backend, allow="192.0.2.0/24")
    assert found[-1].what == "not examined: none that this node may connect to has everything"
    found, _ = examined(backend)
    assert (found[-1].check, found[-1].exit) == ("peers", Exit.FAILED)
    assert "node 127.0.0.1: 127.0.0.1 port 40000 refuses" in found[-1].what


@pytest.mark.parametrize(("downloading", "result"), [(0, "problem"), (3, "note")])
def test_what_does_not_come_of_a_master_that_sends_to_nodes_may_wait(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, downloading: int, result: str
) -> None:
    backend.status = {**MASTER, "distribution": {"states": {"downloading": downloading}}}
    monkeypatch.setattr(packets, "_comes", lambda link: None)
    found, master = examined(backend)
    assert [(each.check, each.result) for each in found] == [("admission", "ok"), ("packets", result)]
    assert master.content is None


def test_a_master_that_sends_to_nodes_is_busy() -> None:
    assert servers._is_busy({"distribution": {"states": {"downloading": 2}}})
    for status in ({}, {"distribution": 7}, {"distribution": {"states": {"complete": 2}}}):
        assert not servers._is_busy(status)

"""`xget.py status`: which servers it asks, what it prints, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest
from gevent.event import Event

from test.support.processes import PATIENCE
from xget_lib import config
from xget_lib.config import Config
from xget_lib.control import status
from xget_lib.errors import Exit, LinkLost, MasterUnreachable, NotAdmitted, ProtocolViolation
from xget_lib.ninep.auth import Credentials
from xget_lib.process.single_server import LocalChild

MASTER = {"role": "master", "path": "/srv", "pid": 7}
CHILD = {"role": "child", "path": "/dest", "pid": 8}


class Servers:
    """Stands for `Link`: the servers by port, and what was asked."""

    def __init__(self) -> None:
        self.texts: dict[int, bytes] = {}
        self.asked: list[tuple[str, int, str, float]] = []
        self.silent: set[int] = set()
        """The ports of servers that are stopped."""
        self.closed = 0

    def connect(self, host: str, port: int, aname: str, seconds: float, credentials: Credentials) -> Connected:
        assert not credentials.required
        self.asked.append((host, port, aname, seconds))
        if port in self.silent:
            gevent.sleep(0.01)  # the others go on meanwhile
            raise LinkLost(f"{host}:{port}", "it accepts connections, but does not answer")
        if port not in self.texts:
            raise LinkLost(f"{host}:{port}", "Connection refused")
        return Connected(self, self.texts[port])


class Connected:
    def __init__(self, servers: Servers, text: bytes) -> None:
        self.max_read = 16
        self._servers, self._text = servers, text

    def open(self, name: str, seconds: float) -> Connected:
        assert name == "status"
        return self

    def read(self, offset: int, count: int, seconds: float) -> bytes:
        gevent.sleep(0)
        return self._text[offset : offset + count]

    def close(self) -> None:
        self._servers.closed += 1


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    servers = Servers()
    monkeypatch.setattr(status, "Link", servers)
    monkeypatch.setattr(
        status, "local_children", lambda: iter([LocalChild(8, 4001), LocalChild(9, 4002), LocalChild(7, 20004)])
    )
    return servers


def configured(**given: Any) -> Config:
    numbers = {"port": 20004, "workers": 2, "max-direct": 6, "retries": 3, "timeout": 60, "linger": 300, "debug": 0}
    numbers["stall-timeout"] = 60
    defaults = {**numbers, "max-delete": "50%"}
    flags = [name for name, convert in config._CONVERT.items() if convert is config._flag]
    return config.build({**defaults, **dict.fromkeys(flags, False)}, {}, given)


def test_the_master_and_the_children_on_this_node_are_printed(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    servers.texts = {20004: json.dumps(MASTER).encode(), 4001: json.dumps(CHILD).encode()}
    assert status.run(configured()) == Exit.OK
    printed = capsys.readouterr().out
    assert printed.index("master of /srv, process 7") < printed.index("child of /dest, process 8")
    assert [asked[:3] for asked in servers.asked] == [("localhost", port, "swarm") for port in (20004, 4001, 4002)]
    assert servers.closed == 2


def test_with_a_host_only_that_server_is_asked(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    servers.texts = {7: json.dumps(CHILD).encode()}
    assert status.run(configured(host="head", port=7, timeout=2)) == Exit.OK
    assert servers.asked == [("head", 7, "swarm", 2.0)]


def test_json_is_one_object_per_server(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    servers.texts = {20004: json.dumps(MASTER).encode(), 4001: json.dumps(CHILD).encode()}
    assert status.run(configured(json=True)) == Exit.OK
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [MASTER, CHILD]


def test_a_server_that_does_not_answer_is_named_and_holds_up_no_other(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    servers.texts = {4002: json.dumps({**CHILD, "pid": 9}).encode()}
    servers.silent = {20004, 4001}
    assert status.run(configured()) == Exit.OK
    why = "it accepts connections, but does not answer"
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"port 20004: {why}",
        f"child server, process 8, port 4001: {why}",
        "child of /dest, process 9, up 0 s, sent 0 B",
    ]
    assert len(servers.asked) == 3
    assert status.run(configured(json=True)) == Exit.OK
    master, child, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert master == {"port": 20004, "problem": why}
    assert child == {"role": "child", "pid": 8, "port": 4001, "problem": why}


def test_all_servers_are_asked_at_once(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answers when all have been asked."""
    asked, all_asked = [], Event()

    def read(host: str, port: int, seconds: float, credentials: Credentials) -> dict[str, Any]:
        asked.append(port)
        if len(asked) == 3:
            all_asked.set()
        all_asked.wait()
        return MASTER

    monkeypatch.setattr(status, "_read", read)
    with gevent.Timeout(PATIENCE):
        assert status.run(configured()) == Exit.OK


def test_a_server_that_got_the_port_of_a_child_that_was_killed_is_none_of_ours(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    servers.texts = {20004: json.dumps(MASTER).encode(), 4001: json.dumps({**CHILD, "pid": 1234}).encode()}
    assert status.run(configured()) == Exit.OK
    assert "1234" not in capsys.readouterr().out


def test_where_nobody_listens_nothing_is_said(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    servers.texts = {4001: json.dumps(CHILD).encode()}
    assert status.run(configured()) == Exit.OK
    assert capsys.readouterr().out.startswith("child of /dest")


def test_a_status_that_comes_too_slowly_is_refused(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_LONGEST", -100.0)
    servers.texts = {20004: json.dumps(MASTER).encode()}
    with pytest.raises(MasterUnreachable, match="too slowly"):
        status.run(configured(host="head"))


@pytest.mark.parametrize("text", [None, b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_it_is_an_error_if_no_server_gives_a_status(servers: Servers, text: bytes | None) -> None:
    servers.texts = {} if text is None else {20004: text}
    with pytest.raises(MasterUnreachable):
        status.run(configured(host="head"))


def test_a_status_that_is_too_long_is_refused(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_MAX_SIZE", 100)
    servers.texts = {20004: b"x" * 200}
    with pytest.raises(MasterUnreachable, match="too long"):
        status.run(configured(host="head"))


def test_an_object_that_is_no_status_is_a_protocol_violation(servers: Servers) -> None:
    servers.texts = {20004: b'{"seconds": "x"}'}
    with pytest.raises(ProtocolViolation):
        status.run(configured(host="head"))


def test_a_server_that_refuses_is_named_if_no_other_answers(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = servers.connect

    def connect(host: str, port: int, *rest: object) -> Connected:
        if port == 20004:
            raise NotAdmitted(f"{host}:{port}", "it asks for a secret (--secret FILE)")
        return usual(host, port, "swarm", 1.0, Credentials())

    monkeypatch.setattr(servers, "connect", connect)
    with pytest.raises(NotAdmitted, match="localhost:20004: it asks for a secret"):
        status.run(configured())
    servers.texts = {4001: json.dumps(CHILD).encode()}
    assert status.run(configured()) == Exit.OK
    assert "child of /dest" in capsys.readouterr().out

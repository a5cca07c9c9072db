"""`xget.py status -n`: what is asked and printed, --expect, --watch, --tree, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from test.report.test_distribution import DISTRIBUTION, GENERATION
from xget_lib import cli, config
from xget_lib.config import Config
from xget_lib.control import remote, status
from xget_lib.errors import CommandFailed, Exit, LinkLost, MasterUnreachable, NinepError, NotAdmitted, ProtocolViolation
from xget_lib.ninep.auth import Credentials
from xget_lib.usage import Usage

MASTER = {"role": "master", "path": "/srv", "pid": 7, "generation": GENERATION, "bytes": 1}


class Servers:
    """Stands for `Link`: the files of servers by port and name, and what was asked."""

    def __init__(self) -> None:
        self.files: dict[tuple[int, str], bytes] = {}
        self.asked: list[tuple[str, int, str, float]] = []
        self.refusal: NotAdmitted | None = None
        self.closed = 0

    def connect(self, host: str, port: int, aname: str, seconds: float, credentials: Credentials) -> Connected:
        assert not credentials.required
        self.asked.append((host, port, aname, seconds))
        if self.refusal:
            raise self.refusal
        if not any(port == known for known, _ in self.files):
            raise LinkLost(f"{host}:{port}", "Connection refused")
        return Connected(self, port)


class Connected:
    def __init__(self, servers: Servers, port: int) -> None:
        self.max_read = 16
        self._servers, self._port, self._text = servers, port, b""

    def open(self, name: str, seconds: float) -> Connected:
        if (self._port, name) not in self._servers.files:
            raise NinepError(2)
        self._text = self._servers.files[self._port, name]
        return self

    def read(self, offset: int, count: int, seconds: float) -> bytes:
        return self._text[offset : offset + count]

    def close(self) -> None:
        self._servers.closed += 1


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    servers = Servers()
    servers.files[20004, "status"] = json.dumps(MASTER).encode()
    servers.files[20004, "nodes"] = DISTRIBUTION.encode()
    monkeypatch.setattr(remote, "Link", servers)
    monkeypatch.setattr(status, "_EVERY", 0.0)
    return servers


def configured(**given: Any) -> Config:
    usage = Usage(cli.__doc__ or "")
    defaults = {**dict.fromkeys(usage.flags, False), **usage.defaults, "workers": 2}
    del defaults["help"], defaults["version"]
    return config.build(defaults, {}, {"host": "head", **given})


def test_only_that_server_is_asked(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    servers.files[7, "status"] = json.dumps({"role": "child", "path": "/dest"}).encode()
    assert status.run(configured(port=7, timeout=2), []) == Exit.OK
    assert servers.asked == [("head", 7, "swarm", 2.0)]
    assert servers.closed == 1
    assert capsys.readouterr().out.startswith("child of /dest")


def test_json_is_one_object(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.run(configured(json=True), []) == Exit.OK
    assert json.loads(capsys.readouterr().out) == MASTER


def test_the_tree_follows_the_status(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.run(configured(tree=True), []) == Exit.OK
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3] == "master"
    assert printed[-2].startswith("└─ n1 (10.0.0.1 port 4711): downloading, 50 %")
    assert printed[-1].startswith("   └─ 10.0.0.2 port 4712: complete, left, 100 %, 10 B from the master, 20 B from")
    assert status.run(configured(tree=True, json=True), []) == Exit.OK
    assert len(json.loads(capsys.readouterr().out)["nodes"]) == 2


def test_with_expect_the_status_is_0_only_if_all_are_complete(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status.run(configured(expect="10.0.0.2"), []) == Exit.OK
    assert "expected: 1 of 1 have generation abababab" in capsys.readouterr().out
    with pytest.raises(CommandFailed, match="not all expected nodes are complete: 1 missing, 1 downloading") as failed:
        status.run(configured(expect="n1,10.0.0.2,n7"), [])
    assert failed.value.exit_status == Exit.FAILED
    printed = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split(":")[0] for line in printed] == ["expected", "  1 missing", "  1 downloading"]


def test_with_json_the_expected_nodes_are_a_field(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.run(configured(expect="n1,10.0.0.2", json=True), []) == Exit.FAILED
    expected = {"met": False, "generation": GENERATION, "downloading": ["n1"], "complete": ["10.0.0.2"]}
    printed = capsys.readouterr()
    assert json.loads(printed.out)["expected"] == expected
    assert "1 downloading" in printed.err


def test_a_master_that_lists_no_nodes_is_of_another_version(servers: Servers) -> None:
    del servers.files[20004, "nodes"]
    with pytest.raises(CommandFailed, match="does not list nodes"):
        status.run(configured(expect="n1"), [])


def test_watching_prints_it_again_until_all_expected_nodes_have_it(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = iter([DISTRIBUTION.encode().replace(b'"complete"', b'"downloading"'), DISTRIBUTION.encode()])
    read_file = remote.read_file

    def read(host: str, port: int, name: str, *rest: Any) -> bytes:
        servers.files[20004, "nodes"] = next(texts)
        return read_file(host, port, name, *rest)

    monkeypatch.setattr(status, "read_file", read)
    assert status.run(configured(watch=True, expect="10.0.0.2"), []) == Exit.OK
    assert capsys.readouterr().out.count("master of /srv") == 2


def test_a_master_that_is_away_while_it_is_watched_is_asked_again(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds: Iterator[int | MasterUnreachable] = iter([Exit.OK, MasterUnreachable("head", 1, 1.0, "gone"), Exit.OK])

    def show() -> int:
        outcome = next(rounds)
        if isinstance(outcome, MasterUnreachable):
            raise outcome
        return outcome

    assert status._watch(show, until_ok=False, as_json=False, rounds=3) == Exit.OK
    assert "gone" in capsys.readouterr().out
    with pytest.raises(MasterUnreachable):
        status._watch(lambda: status._show(configured(port=1), [], None), until_ok=False, as_json=False, rounds=3)


def test_a_status_that_comes_too_slowly_is_refused(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_LONGEST", -100.0)
    with pytest.raises(MasterUnreachable, match="too slowly"):
        status.run(configured(), [])


@pytest.mark.parametrize("text", [None, b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_it_is_an_error_if_no_server_gives_a_status(servers: Servers, text: bytes | None) -> None:
    servers.files = {} if text is None else {(20004, "status"): text}
    with pytest.raises(MasterUnreachable):
        status.run(configured(), [])


def test_a_status_that_is_too_long_is_refused(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_MAX_SIZE", 100)
    servers.files[20004, "status"] = b"x" * 200
    with pytest.raises(MasterUnreachable, match="too long"):
        status.run(configured(), [])


def test_an_object_that_is_no_status_is_a_protocol_violation(servers: Servers) -> None:
    servers.files[20004, "status"] = b'{"seconds": "x"}'
    with pytest.raises(ProtocolViolation):
        status.run(configured(), [])


def test_a_server_that_refuses_is_an_error(servers: Servers) -> None:
    servers.refusal = NotAdmitted("head:20004", "it asks for a secret (--secret FILE)")
    with pytest.raises(NotAdmitted, match="head:20004: it asks for a secret"):
        status.run(configured(), [])

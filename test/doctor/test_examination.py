"""The command as a whole: for whom it examines, what it prints, and how it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test.support.configured import USAGE, configured
from test.support.network import quiet_hub
from test.support.swarm_server import unused_address
from xget_lib import cli, config_file, settings
from xget_lib.config_file import ConfigFile
from xget_lib.doctor import examination
from xget_lib.doctor.findings import Finding, note, ok, problem
from xget_lib.errors import CommandFailed, Exit, UsageError
from xget_lib.net.listen import listen
from xget_lib.settings import Settings

CLIENT_FILE = "[client]\nhost = 'head'\nport = 7\ndestination = '/d'\nlinger = 'forever'\n"
MASTER_FILE = "[master]\npath = '/s'\nport = 8\nrehash = true\n"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_hub():
        yield


def read(command: str, path: Path | None = None) -> Settings:
    file = [f"--config={path or ''}"]
    return settings.read(USAGE, USAGE.parse([*file, *command.split()]))


@pytest.mark.parametrize(
    ("text", "command", "about", "words", "host", "port"),
    [
        ("", "doctor", "master", [], None, 20004),
        ("", "doctor /x", "master", ["/x"], None, 20004),
        ("", "doctor -n h /x", "client", ["/x"], "h", 20004),
        ("", "doctor --role=client /x", "client", ["/x"], None, 20004),
        (CLIENT_FILE, "doctor", "client", ["/d"], "head", 7),
        (CLIENT_FILE, "doctor /x", "client", ["/x"], "head", 7),
        (CLIENT_FILE, "doctor --role=master /x", "master", ["/x"], None, 20004),
        ("[client]\nhost = 'head'\n", "doctor", "client", [], "head", 20004),
        (MASTER_FILE, "doctor", "master", ["/s"], None, 8),
        (MASTER_FILE, "doctor -n h", "client", [], "h", 20004),
        (MASTER_FILE + CLIENT_FILE, "doctor --role=client", "client", ["/d"], "head", 7),
        (MASTER_FILE + CLIENT_FILE, "doctor -n other", "client", ["/d"], "other", 7),
        (MASTER_FILE + CLIENT_FILE, "doctor /x", "master", ["/x"], None, 8),
    ],
)
def test_for_whom_it_examines(
    tmp_path: Path, text: str, command: str, about: str, words: list[str], host: str | None, port: int
) -> None:
    path = tmp_path / "xget.toml"
    path.write_text(text)
    found = read(command, path)
    assert (found.role, found.about, found.words) == ("doctor", about, ["doctor", *words])
    assert (found.config.host, found.config.port) == (host, port)
    assert found.config.linger != math.inf  # what means nothing here is left out


def test_where_the_file_has_both_roles_one_is_to_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "xget.toml"
    path.write_text(MASTER_FILE + CLIENT_FILE)
    with pytest.raises(UsageError, match="choose one with --role"):
        read("doctor", path)
    with pytest.raises(UsageError, match="unexpected argument b"):
        read("doctor a b")


def test_a_file_that_is_wrong_does_not_end_it(tmp_path: Path) -> None:
    path = tmp_path / "xget.toml"
    path.write_text("prot = 7\n")
    assert "unknown option 'prot'" in read("doctor", path).file.problem
    with pytest.raises(UsageError):
        read("status", path)


def run(monkeypatch: pytest.MonkeyPatch, *found: Finding, **options: object) -> int:
    monkeypatch.setattr(examination, "_examine", lambda *_: iter(found))
    monkeypatch.setattr(examination, "_end_on_signals", lambda: None)
    return examination.run(configured(**options), None, "master", ConfigFile({}), USAGE)


WELL = ok("user", "root"), note("space", "little")
ILL = problem("port", "refused", "start it", Exit.UNREACHABLE)


def test_what_is_well_ends_with_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, *WELL) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 problems, 1 note, 1 ok"
    assert run(monkeypatch, *WELL, quiet=True) == 0
    assert capsys.readouterr().out == ""


def test_a_problem_ends_with_its_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandFailed, match="doctor: 1 problem, 1 note, 1 ok") as caught:
        run(monkeypatch, *WELL, ILL, quiet=True)
    assert caught.value.exit_status == Exit.UNREACHABLE
    assert capsys.readouterr().out == f"{ILL.line}\n"


def test_with_json_each_line_is_an_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, *WELL, ILL, json=True) == 3
    printed = capsys.readouterr()
    lines: list[dict[str, Any]] = [json.loads(line) for line in printed.out.splitlines()]
    assert [line.get("check") for line in lines] == ["user", "space", "port", None]
    assert lines[-1] == {"exit": 3, "problems": 1, "notes": 1, "ok": 1}
    assert printed.err == "xget: doctor: 1 problem, 1 note, 1 ok\n"


def examined(about: str, path: bytes | None, **options: object) -> list[Finding]:
    return list(examination._examine(configured(**options), path, about, ConfigFile({}), USAGE))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no configuration, no other xget, and no systemd."""
    monkeypatch.setattr(config_file, "SYSTEM_FILE", "/nonexistent/xget.toml")
    monkeypatch.setattr("xget_lib.doctor.surroundings.local_processes", lambda: iter(()))
    monkeypatch.setattr("xget_lib.doctor.surroundings._BOOTED", "/nonexistent")
    monkeypatch.setattr("xget_lib.doctor.examination.local_processes", lambda: iter(()))


MACHINE = ["version", "user", "descriptors", "landlock", "congestion", "buffers", "config", "credentials", "processes"]


def test_what_is_examined_for_a_master(alone: None, tmp_path: Path) -> None:
    port = unused_address()[1]
    checks = [each.check for each in examined("master", bytes(tmp_path), port=port)]
    assert checks == [*MACHINE, "port", "source", "source", "watching", "cache"]
    assert examined("master", None, port=port)[-1].what == "no directory is named, so none was examined"


def test_what_is_examined_for_a_client(alone: None, tmp_path: Path) -> None:
    host, port = unused_address()
    found = examined("client", bytes(tmp_path), host=host, port=port)
    assert [each.check for each in found][: len(MACHINE) + 5] == [
        *MACHINE,
        *("name", "route", "port", "serving", "destination"),
    ]
    assert [each.exit for each in found if each.result == "problem"] == [Exit.UNREACHABLE]
    found = examined("client", None)
    assert [each.check for each in found][len(MACHINE) :] == ["master", "serving", "destination"]


def test_credentials_that_cannot_be_used_leave_the_network_to_be_examined(alone: None, tmp_path: Path) -> None:
    host, port = unused_address()
    with listen(host, port):
        found = examined("client", None, host=host, port=port, secret=str(tmp_path / "gone"))
    assert [each.check for each in found if each.result == "problem"] == ["credentials"]
    assert "port" in [each.check for each in found]


@pytest.mark.parametrize(("ports", "result"), [("{0}-{0}", "problem"), (None, "ok")])
def test_a_port_to_serve_on(ports: str | None, result: str) -> None:
    with listen(None, 0) as listening:
        options = {"ports": ports.format(listening.getsockname()[1])} if ports else {}
        found = examination._serving_port(configured(**options))
    assert found.result == result


def test_an_address_to_serve_on_that_is_another_machines() -> None:
    assert "cannot listen on 192.0.2.1" in examination._serving_port(configured(bind="192.0.2.1")).what


def test_the_command_is_called_with_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[object, ...]] = []

    def record(config: object, path: bytes | None, about: str, *others: object) -> int:
        called.append((path, about))
        return 0

    monkeypatch.setattr(examination, "run", record)
    assert cli.main(["--config=", "doctor", "-n", "h", "/x"]) == 0
    assert cli.main(["--config=", "doctor"]) == 0
    assert called == [(b"/x", "client"), (None, "master")]

"""`xget.py config`: what holds for a run, and where each value comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from test.support.roles import Roles
from test.test_config_file import BOTH
from xget_lib import cli
from xget_lib.control import show_config
from xget_lib.errors import Exit


@pytest.fixture
def roles(monkeypatch: pytest.MonkeyPatch) -> Roles:
    return Roles(monkeypatch)


def test_nothing_to_show_is_nothing() -> None:
    assert show_config.run([], as_json=True) == Exit.OK


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["config", *arguments]) == 0
    return capsys.readouterr().out


def test_config_says_what_holds_and_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xget.toml").write_text(BOTH.replace("secret", "#"))
    (tmp_path / "xget-secret").write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    file = f"--config={tmp_path / 'xget.toml'}"
    text = printed(capsys, file, "--role=client", "--json", "-r", "5", "--follow")
    (facts,) = map(json.loads, text.splitlines())
    in_file = {"source": "file", "file": str(tmp_path / "xget.toml")}
    expected = {
        "sources": {"value": ["a", "b"], **in_file, "line": 9},
        "host": {"value": "head", **in_file, "line": 8},
        "port": {"value": 9, **in_file, "line": 8},
        "delete": {"value": True, **in_file, "line": 14},
        "retries": {"value": 5, "source": "command line"},
        "timeout": {"value": 60, "source": "default"},
        "max-delete": {"value": "50%", "source": "default"},
        "secret": {"value": str(tmp_path / "xget-secret"), "source": "credential"},
        "auth": {"value": ["secret"], "source": "option", "option": "secret"},
        "linger": {"value": "forever", "source": "option", "option": "follow"},
        "bind": {"value": None, "source": "default"},
    }
    assert (facts["role"], facts["file"]) == ("client", str(tmp_path / "xget.toml"))
    assert {key: facts["settings"][key] for key in expected} == expected
    assert "workers" not in facts["settings"]
    assert "0123456789abcdef" not in text


def test_what_config_prints_is_a_file_that_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "xget.toml").write_text(BOTH)
    first = printed(capsys, f"--config={tmp_path / 'xget.toml'}", "--allow", "::1,192.0.2.0/24")
    assert f"workers = 3{'#':>32} {tmp_path / 'xget.toml'} line 5\n" in first
    assert 'allow = ["::1/128", "192.0.2.0/24"]' in first
    (tmp_path / "second.toml").write_text(first)
    second = printed(capsys, f"--config={tmp_path / 'second.toml'}")
    lines = [line.partition("  #")[0].rstrip() for line in first.splitlines() if not line.startswith("#")]
    assert [line.partition("  #")[0].rstrip() for line in second.splitlines() if not line.startswith("#")] == lines
    assert (lines.count("[master]"), lines.count("[client]"), "delete = true" in lines) == (1, 1, True)


@pytest.mark.parametrize("http", ["127.0.0.1:80", "[::1]:8004", "localhost:8004"])
def test_each_value_is_printed_as_the_file_can_have_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], http: str
) -> None:
    given = (
        f"--http {http} --ports 4000-4010 --rate 1.3M --rate-up 100K --open files,swarm --open-to ::1"
        " --allow 10.0.0.0/8 --delete --max-delete 20 --exclude a --exclude b,c --auth munge --munge-users root,5"
        " --linger 1.5 --timeout 2"
    )
    first = printed(capsys, *given.split(), "-n", "h", ".", "/d")
    for line in (f'http = "{http}"', 'ports = "4000-4010"', 'munge-users = ["0", "5"]', 'exclude = ["a", "b,c"]'):
        assert line in first
    (tmp_path / "second.toml").write_text(first)
    second = printed(capsys, f"--config={tmp_path / 'second.toml'}", "--role=client")
    lines = [line.partition("  #")[0].rstrip() for line in first.splitlines() if not line.startswith("#")]
    assert [line.partition("  #")[0].rstrip() for line in second.splitlines() if not line.startswith("#")] == lines


@pytest.mark.parametrize(
    ("arguments", "roles_shown"),
    [
        ("", ["master", "client"]),
        ("--json", ["master", "client"]),
        ("--workers 3 --follow", ["master", "client"]),
        ("/srv", ["master"]),
        ("-n head . /d", ["client"]),
        ("-n head config /d", ["client"]),
        ("--role client", ["client"]),
    ],
)
def test_config_takes_the_command_line_of_a_run(
    capsys: pytest.CaptureFixture[str], arguments: str, roles_shown: list[str]
) -> None:
    options = arguments.split()
    text = printed(capsys, *options, *(["--json"] if "--json" not in options else []))
    assert [json.loads(line)["role"] for line in text.splitlines()] == roles_shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--workers 3 -n head . /d", "--workers: has no effect for a client (only for a master)"),
        ("--force", "--force: has no effect for a master (only for a command reload)"),
        ("-n head .", "missing <dest> (see --help)"),
        ("--prot 3", "unknown option --prot (did you mean --port?)"),
    ],
)
def test_config_refuses_what_a_run_would_refuse(capsys: pytest.CaptureFixture[str], arguments: str, line: str) -> None:
    assert cli.main(["config", *arguments.split()]) == 2
    assert line.partition(" (")[0] in capsys.readouterr().err


def test_a_source_may_be_called_config(roles: Roles) -> None:
    assert cli.main(["-n", "head", "config", "/d"]) == 0
    assert roles.started == [("client", [b"config"], b"/d")]

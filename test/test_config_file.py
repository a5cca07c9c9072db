"""The configuration file: which is read, what is refused and where it stands, and what holds for which role."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.roles import USAGE, Roles
from xget_lib import cli, config_file, settings
from xget_lib.errors import UsageError

BOTH = """port = 7

[master]
path = "/srv"
workers = 3

[client]
host = "head:9"
sources = [
    "a",  # [master]
    "b",
]
destination = "/d"
delete = true
secret = "/etc/xget/secret"
"""


@pytest.fixture
def roles(monkeypatch: pytest.MonkeyPatch) -> Roles:
    return Roles(monkeypatch)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Read instead of that of the system. It does not exist yet."""
    path = tmp_path / "xget.toml"
    monkeypatch.setattr(config_file, "SYSTEM_FILE", str(path))
    monkeypatch.delenv(config_file.VARIABLE)
    return path


def config_of(roles: Roles, command: str) -> object:
    assert cli.main(command.split()) == 0
    return roles.config


# Which file


def test_the_file_of_the_system_is_read_where_it_exists(roles: Roles, file: Path) -> None:
    assert cli.main(["/srv"]) == 0
    assert roles.config.port == 20004
    file.write_text("port = 7\n")
    assert cli.main(["/srv"]) == 0
    assert roles.config.port == 7


def test_another_file_or_none_is_read_instead_of_it(roles: Roles, file: Path, tmp_path: Path) -> None:
    file.write_text("port = 7\nretries = 8\n")
    (tmp_path / "other").write_text("port = 9\n")
    for option, port in ((f"--config={tmp_path / 'other'}", 9), ("--config=", 20004)):
        assert cli.main([option, "-n", "head", ".", "/d"]) == 0
        assert (roles.config.port, roles.config.retries) == (port, 3)


def test_the_environment_names_another_file_or_none(
    roles: Roles, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("port = 7\n")
    (tmp_path / "other").write_text("port = 9\n")
    for value, port in ((str(tmp_path / "other"), 9), ("", 20004)):
        monkeypatch.setenv(config_file.VARIABLE, value)
        assert cli.main(["/srv"]) == 0
        assert roles.config.port == port


@pytest.mark.parametrize("kind", ["dangling link", "directory", "not TOML", "not UTF-8", "unknown key"])
def test_a_file_of_the_system_that_cannot_be_used_is_an_error(
    roles: Roles, file: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    if kind == "dangling link":
        file.symlink_to("/nowhere/at/all")
    elif kind == "directory":
        file.mkdir()
    else:
        texts = {"not TOML": b"\nport = \n", "not UTF-8": b"\n\xff", "unknown key": b"\nprot = 1\n"}
        file.write_bytes(texts[kind])
    assert cli.main(["/srv"]) == 2
    line = capsys.readouterr().err
    where = str(file) if kind in ("dangling link", "directory") else f"{file} line 2"
    assert line.startswith(f"xget: {where}: ") and line.count("\n") == 1
    assert ("(--config= reads no file)" in line) == (where == str(file))
    assert roles.started == []
    assert cli.main(["--config=", "/srv"]) == 0


@pytest.mark.root
def test_a_file_of_the_system_that_this_user_cannot_read_is_an_error(
    roles: Roles, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("port = 7\n")
    file.chmod(0)
    os.seteuid(65534)
    try:
        assert cli.main(["/srv"]) == 2
    finally:
        os.seteuid(0)
    assert ": Permission denied (--config= reads no file)\n" in capsys.readouterr().err


# What is refused


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("prot = 1\n", "line 1: unknown option 'prot' (did you mean port?)"),
        ("[client]\n\nlingr = 1\n", "line 3: unknown option 'lingr' (did you mean linger?)"),
        ("[clients]\nport = 1\n", "line 1: unknown section 'clients' (did you mean client?)"),
        ("[[master]]\nport = 1\n", "line 1: master is a section: write [master]"),
        ("master = 7\n", "line 1: master is a section: write [master]"),
        (
            "[master]\nport = 1\ndelete = true\n",
            "line 3: delete has no effect in the section [master] (write it in the section [client])",
        ),
        (
            "[client]\npath = '/srv'\n",
            "line 2: path has no effect in the section [client] (write it in the section [master])",
        ),
        ("[client]\nsources = []\n", "line 2: sources: [] is not a list of texts, or an empty one"),
        ("[client]\ndestination = ''\n", "line 2: destination: '' is not a text, or an empty one"),
        ("[client]\nsources = [\n 1,\n]\n\ndelete = 1\n", "line 2: sources: [1] is not a list of texts"),
        ("log = '''\n[master]'''\n[client]\nport = 0\n", "line 4: port: 0 is not between 1 and 65535"),
        ("client = { port = 0 }\n", "line 1: port: 0 is not between"),
        ("client.port = 0\n", "line 1: port: 0 is not between"),
        ("secret = ['my key']\n", "line 1: secret: the value is not a text, or an empty one"),
        ("role = 'master'\n", "line 1: unknown option 'role'"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "xget.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        config_file.read(str(file), USAGE)
    assert str(caught.value).startswith(f"{file} {why}")


# What holds


def test_a_section_is_for_its_role_and_counts_more_than_the_top(roles: Roles, tmp_path: Path) -> None:
    file = tmp_path / "xget.toml"
    file.write_text("port = 7\ntimeout = 5\nlog = '/l'\n[master]\nport = 8\n[client]\nport = 9\ntimeout = 6\n")
    for command, port in (("/srv", 8), ("reload", 8), ("sign --key k /srv", 8), ("-n head . /d", 9), ("status", 8)):
        assert cli.main([f"--config={file}", *command.split()]) == 0
        assert (roles.config.port, command) == (port, command)
    assert (roles.config.timeout, roles.config.log) == (6, None)


def test_the_host_of_clients_makes_no_command_ask_another_machine(roles: Roles, tmp_path: Path) -> None:
    file = tmp_path / "xget.toml"
    file.write_text("[client]\nhost = 'head'\n")
    for command in ("status", "reload", "/srv"):
        assert cli.main([f"--config={file}", *command.split()]) == 0
        assert roles.config.host is None
    file.write_text("host = 'head'\n")
    assert cli.main([f"--config={file}", "/srv"]) == 0
    assert roles.config.host is None, "a master has none"


@pytest.mark.parametrize(
    ("text", "command", "started"),
    [
        ("[master]\npath = '/srv'\n", "", ("master", b"/srv")),
        ("path = '/srv'\n", "", ("master", b"/srv")),
        ("path = '/srv'\n", "/other", ("master", b"/other")),
        ("[client]\nhost = 'h'\ndestination = '/d'\n", "", ("client", [b"."], b"/d")),
        ("[client]\nhost = 'h'\ndestination = '/d'\nsources = ['a', 'b']\n", "", ("client", [b"a", b"b"], b"/d")),
        ("[client]\ndestination = '/d'\nsources = 'a'\n", "-n h", ("client", [b"a"], b"/d")),
        ("[client]\nhost = 'h'\ndestination = '/d'\n", "a /e", ("client", [b"a"], b"/e")),
        (BOTH, "--role=master", ("master", b"/srv")),
        (BOTH, "--role client", ("client", [b"a", b"b"], b"/d")),
        (BOTH, "-n other", ("client", [b"a", b"b"], b"/d")),
    ],
)
def test_a_file_can_be_a_whole_command(
    roles: Roles, tmp_path: Path, text: str, command: str, started: tuple[object, ...]
) -> None:
    file = tmp_path / "images.toml"
    file.write_text(text)
    assert cli.main([f"--config={file}", *command.split()]) == 0
    assert roles.started == [started]


@pytest.mark.parametrize(
    ("text", "command", "line"),
    [
        (BOTH, "", "images.toml: has the path of a master and the destination of a client (choose one with --role="),
        (BOTH, "--role=both", "--role both: neither master nor client"),
        (BOTH, "--role=client --workers=2", "--workers: has no effect for a client (only for a master)"),
        ("[client]\ndestination = '/d'\n", "", "missing -n HOST (see --help)"),
        ("[client]\nhost = 'h'\nsources = ['a']\n", "--role=client", "missing <source> and <dest> (see --help)"),
        ("[client]\nhost = 'h'\n", "--role=master", "missing <path>, or -n HOST <source>... <dest> (see --help)"),
    ],
)
def test_a_file_that_is_no_whole_command_says_what_is_missing(
    roles: Roles, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, command: str, line: str
) -> None:
    (tmp_path / "images.toml").write_text(text)
    assert cli.main([f"--config={tmp_path / 'images.toml'}", *command.split()]) == 2
    assert line in capsys.readouterr().err
    assert roles.started == []


def test_the_port_of_the_host_in_a_section_counts_more_than_that_at_the_top(roles: Roles, tmp_path: Path) -> None:
    file = tmp_path / "xget.toml"
    file.write_text(BOTH)
    for command, host, port in (("--role=client", "head", 9), ("-n x", "x", 7), ("--role=client -p 8", "head", 8)):
        assert cli.main([f"--config={file}", *command.split()]) == 0
        assert (roles.config.host, roles.config.port) == (host, port)


def test_every_option_has_a_source() -> None:
    shown = settings.shown(USAGE, USAGE.parse(["config", "--role=client"]))
    assert set(shown[0].sources) >= {field for field in shown[0].file.roles if field not in config_file.ARGUMENTS}

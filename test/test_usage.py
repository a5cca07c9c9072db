"""The usage text as a table, and any command line that is read with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import docopt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.roles import FORMS, USAGE, Roles
from xget_lib import cli
from xget_lib.usage import Option


@pytest.fixture
def roles(monkeypatch: pytest.MonkeyPatch) -> Roles:
    return Roles(monkeypatch)


def test_the_roles_of_an_option_stand_in_its_description() -> None:
    assert USAGE.options["delete"].roles == ("client",)
    assert USAGE.options["json"].roles == ("client", "status", "list", "reload", "stop", "sign", "config", "doctor")
    assert USAGE.options["port"].roles == ()


def test_every_role_is_one_that_exists() -> None:
    roles = {role for option in USAGE.options.values() for role in option.roles}
    assert roles <= {"master", "client", *USAGE.commands}


def test_the_defaults_are_those_in_the_text() -> None:
    assert USAGE.defaults["port"] == "20004"
    assert set(USAGE.defaults) <= set(USAGE.options)


@given(st.lists(st.sampled_from(["--", "-", "-p", "-q", "--no", "--json", "--port=1", "-qp", "status"]) | st.text()))
def test_any_command_line_is_read_to_its_end(arguments: list[str]) -> None:
    parsed = USAGE.parse(arguments)
    assert parsed.error is None or str(parsed.error).isprintable()
    assert set(parsed.options) <= set(USAGE.options)


def test_an_error_does_not_hide_the_options_behind_it() -> None:
    parsed = USAGE.parse(["--bogus", "-z", "--json", "a"])
    assert str(parsed.error).startswith("unknown option --bogus")
    assert (parsed.options, parsed.words) == ({"json": True}, ["a"])


@pytest.mark.parametrize(
    ("option", "role"),
    [
        (option, role)
        for option in USAGE.options.values()
        for role in FORMS
        if option.roles and role not in option.roles and option.name != "host"
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_an_option_that_has_no_effect_in_a_role_is_refused(
    roles: Roles, capsys: pytest.CaptureFixture[str], option: Option, role: str
) -> None:
    given = [f"--{option.name}", *(["1"] if option.argument else [])]
    assert cli.main([*given, *FORMS[role].split()]) == 2
    assert f"--{option.name}: has no effect for " in capsys.readouterr().err
    assert roles.started == []


def test_an_option_in_the_file_may_be_for_another_role(roles: Roles, tmp_path: Path) -> None:
    (tmp_path / "xget.toml").write_text("delete = true\nworkers = 3\n")
    assert cli.main([f"--config={tmp_path / 'xget.toml'}", "/srv"]) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--dleete -n head . /d", "unknown option --dleete (did you mean --delete?)"),
        ("--zzz .", "unknown option --zzz (see --help)"),
        ("-z .", "unknown option -z (see --help)"),
        (
            "--no -n head . /d",
            "option --no is ambiguous (did you mean --no-permissions or --no-owners or --no-devices or --no-set-id?)",
        ),
        ("-n head .", "missing <dest> (see --help)"),
        ("-n head", "missing <source> and <dest> (see --help)"),
        ("-q", "missing <path>, or -n HOST <source>... <dest> (see --help)"),
        ("a b", "unexpected argument b (a client needs -n HOST; see --help)"),
        ("reload extra", "unexpected argument extra (reload takes none)"),
        ("status -n head extra", "unexpected argument extra (status takes none)"),
        ("list", "list needs -n HOST (see --help)"),
        ("list -n head a b", "unexpected argument b (list takes one)"),
        ("--expect a status", "--expect: needs -n HOST, the master"),
        (". -p", "option -p needs a value (--port=PORT)"),
        (". --port", "option --port needs a value (--port=PORT)"),
        ("--json=yes -n head . /d", "option --json takes no value, but got 'yes'"),
        ("--delete /srv", "--delete: has no effect for a master (only for a client)"),
        ("--rehash status", "--rehash: has no effect for the command status (only for a master)"),
        ("-n head:x . /d", "--host head:x: the port is not a whole number"),
        ("-n head: . /d", "--host head:: the port is not a whole number"),
        ("-n head:70000 . /d", "--host head:70000: the port is not between 1 and 65535"),
        ("-n :7 . /d", "--host :7: without a host name"),
        ("-n a..b . /d", "--host a..b: not a host name"),
        ("-n 1:2:3 . /d", "--host 1:2:3: not an IPv6 address (HOST:PORT, ADDRESS and [ADDRESS]:PORT are)"),
        ("-n [head] . /d", "--host [head]: not an IPv6 address (HOST:PORT, ADDRESS and [ADDRESS]:PORT are)"),
        ("-n head:7 -p 8 . /d", "--port 8: the host is given with another port, 7"),
    ],
)
def test_a_usage_error_names_what_is_wrong(
    roles: Roles, capsys: pytest.CaptureFixture[str], arguments: str, line: str
) -> None:
    assert cli.main(arguments.split()) == 2
    assert capsys.readouterr().err == f"xget: {line}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("port = 7\n\ndelete = 'yes'\n", " line 3: delete: 'yes' is neither true nor false"),
        ("# delete = 1\nprot = 7\n", " line 2: unknown option 'prot' (did you mean port?)"),
        ("port = 7\nport = 8\n", " line 2: Cannot overwrite a value"),
        ("port = 7\nlinger = \n", " line 2: Invalid value"),
        ('"timeout" = -1\n', " line 1: timeout: -1 is not a number of seconds from 0 to 1e9"),
        ("[quiet]\na = 1\n", " line 1: quiet: {'a': 1} is neither true nor false"),
    ],
)
def test_an_error_in_the_file_names_the_line_and_the_key(
    roles: Roles, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, line: str
) -> None:
    (tmp_path / "xget.toml").write_text(text)
    assert cli.main([f"--config={tmp_path / 'xget.toml'}", "/srv"]) == 2
    assert capsys.readouterr().err == f"xget: {tmp_path / 'xget.toml'}{line}\n"


@pytest.mark.parametrize(
    ("arguments", "host", "port"),
    [
        ("-n head", "head", 20004),
        ("-n head:7", "head", 7),
        ("-n 10.0.0.1:7", "10.0.0.1", 7),
        ("-n [::1]", "::1", 20004),
        ("-n [::1]:7", "::1", 7),
        ("-n ::1", "::1", 20004),
        ("-n fe80::1%eth0 -p 9", "fe80::1%eth0", 9),
        ("-n head:7 -p 7", "head", 7),
    ],
)
def test_a_host_may_have_a_port_and_brackets(roles: Roles, arguments: str, host: str, port: int) -> None:
    assert cli.main([*arguments.split(), ".", "/dest"]) == 0
    assert (roles.config.host, roles.config.port) == (host, port)


@pytest.mark.parametrize(
    ("file", "arguments", "port"),
    [
        ("port = 8\n", "-n head:7", 7),
        ("host = 'head:8'\n", "-p 7", 7),
        ("host = 'head:7'\n", "", 7),
        ("host = 'head:9'\nport = 8\n", "-n other:7", 7),
    ],
)
def test_a_port_on_the_command_line_wins_wherever_it_stands(
    roles: Roles, tmp_path: Path, file: str, arguments: str, port: int
) -> None:
    (tmp_path / "xget.toml").write_text(file)
    assert cli.main([f"--config={tmp_path / 'xget.toml'}", *arguments.split(), ".", "/dest"]) == 0
    assert roles.config.port == port


def test_of_a_repeated_option_the_last_one_wins(roles: Roles) -> None:
    command = "-p 7 --linger 1 -n one --port=8 -p9 --linger=2 --host other -q -q . /dest"
    assert cli.main(command.split()) == 0
    assert (roles.config.port, roles.config.linger, roles.config.host, roles.config.quiet) == (9, 2, "other", True)


@pytest.mark.parametrize(
    ("arguments", "started"),
    [
        ("-n head -- -dash --delete", ("client", [b"-dash"], b"--delete")),
        ("-- status", ("master", b"status")),
        ("-- --help", ("master", b"--help")),
        ("-n head -- -- /dest", ("client", [b"--"], b"/dest")),
        ("-n head - /dest", ("client", [b"-"], b"/dest")),
    ],
)
def test_two_dashes_end_the_options(roles: Roles, arguments: str, started: tuple[Any, ...]) -> None:
    assert cli.main(arguments.split()) == 0
    assert roles.started == [started]


@pytest.mark.parametrize("arguments", ["--json --dleete . /d", "-n head . --json", "--js --port=0 -n head . /d"])
def test_with_json_a_usage_error_is_an_error_and_a_done_event(
    roles: Roles, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    assert cli.main(arguments.split()) == 2
    printed = capsys.readouterr()
    error, done = map(json.loads, printed.out.splitlines())
    assert (error["event"], done["event"], done["exit"]) == ("error", "done", 2)
    assert printed.err == f"xget: {error['message']}\n"


def test_docopt_reads_the_same_options_from_the_usage_text() -> None:
    read = docopt.docopt(re.sub(r"\s*\[default: \S+\]", "", cli.__doc__ or ""), ["/srv"], default_help=False)
    assert {f"--{name}" for name in USAGE.options} == {name for name in read if name.startswith("--")}
    assert set(USAGE.commands) == {name for name in read if name.isalpha()}
    assert USAGE.flags == [each.name for each in USAGE.options.values() if read[f"--{each.name}"] is False]

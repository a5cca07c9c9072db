"""The command line: its forms, the configuration file, which of them wins, and the errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from test.support.roles import FORMS, USAGE, Roles
from xget_lib import __version__, cli, version
from xget_lib.config import Config, DeleteLimit
from xget_lib.errors import Exit, Interrupted, NotServed
from xget_lib.master import start as master

ROOT = Path(__file__).parent.parent


@pytest.fixture
def roles(monkeypatch: pytest.MonkeyPatch) -> Roles:
    return Roles(monkeypatch)


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "xget.py"), *arguments]
    return subprocess.run(command, timeout=60, text=True, **{"capture_output": True, **options})


@pytest.mark.parametrize(
    ("arguments", "started"),
    [
        ("/srv", ("master", b"/srv")),
        ("status", ("status", [])),
        ("status -n head", ("status", [])),
        ("-n head status", ("status", [])),
        ("status --json child 4001", ("status", ["child", "4001"])),
        ("stop", ("stop", [])),
        ("--all stop /dest child", ("stop", ["/dest", "child"])),
        ("list -n head", ("list", b".")),
        ("--json list -n head a/b", ("list", b"a/b")),
        ("-n head list /dest", ("client", [b"list"], b"/dest")),
        ("-n head . /dest", ("client", [b"."], b"/dest")),
        ("-n head a b/c ./d /dest", ("client", [b"a", b"b/c", b"./d"], b"/dest")),
        ("--host=head -q . /dest", ("client", [b"."], b"/dest")),
        ("-nhead . /dest", ("client", [b"."], b"/dest")),
        (". /dest -n head", ("client", [b"."], b"/dest")),
        ("-n head status /dest", ("client", [b"status"], b"/dest")),
        ("./status", ("master", b"./status")),
    ],
)
def test_the_forms_of_the_command(roles: Roles, arguments: str, started: tuple[Any, ...]) -> None:
    assert cli.main(arguments.split()) == Exit.OK
    assert roles.started == [started]


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "-n head",
        "-n head .",
        "a b",
        "reload extra",
        "--bogus .",
        "-p",
        "--json=yes .",
        "--port=0 .",
        "--port=65536 .",
        "--port=1.5 .",
        "-p -1 .",
        "-w 0 .",
        "-m 0 .",
        "-r -1 .",
        "-D 10 .",
        "--timeout=soon .",
        "--timeout=nan .",
        "--timeout=1e10 .",
        "--linger=always .",
        "--linger=-1 .",
        "--log= .",
        "--config=/nonexistent/file .",
        "--conf /nonexistent/file .",
    ],
)
def test_a_usage_error_is_one_line_and_status_2(
    roles: Roles, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("xget: ") and printed.err.count("\n") == 1
    assert roles.started == []


@pytest.mark.parametrize("arguments", [["--port=a\nb", "."], ["--bo\ngus", "."], ["--config=a\nb", "."]])
def test_an_argument_with_a_newline_is_still_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def default_in_help(option: str) -> int:
    found = re.search(rf"--{option}=.*\[default: (\d+)\]", cli.__doc__ or "")
    assert found
    return int(found[1])


def test_the_defaults_are_those_of_the_help(roles: Roles) -> None:
    cli.main(["."])
    assert roles.config == Config(
        host=None,
        port=20004,
        bind=None,
        tls=False,
        tls_cert=None,
        tls_key=None,
        tls_ca=None,
        ports=None,
        workers=max(2, os.cpu_count() or 1),
        max_direct=default_in_help("max-direct"),
        retries=3,
        timeout=60,
        stall_timeout=60,
        secret=None,
        auth=(),
        munge_users=(),
        munge_socket=None,
        http=None,
        log_format="plain",
        open=(),
        open_to=(),
        socket=None,
        allow=(),
        rate=None,
        rate_up=None,
        linger=300,
        follow=False,
        delete=False,
        max_delete=DeleteLimit(50, is_percentage=True),
        checksum=False,
        dry_run=False,
        no_permissions=False,
        no_owners=False,
        no_devices=False,
        no_set_id=False,
        insecure_dest=False,
        one_file_system=False,
        public_only=False,
        user=None,
        cache=None,
        rehash=False,
        force=False,
        exclude=(),
        expect=None,
        tree=False,
        watch=False,
        all=False,
        key=None,
        serial=None,
        signature=None,
        sign_key=None,
        signed_only=False,
        trust=None,
        allow_rollback=False,
        log=None,
        debug=0,
        daemon=False,
        pidfile=None,
        quiet=False,
        verbose=False,
        json=False,
    )


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("-n head", "host", "head"),
        ("-p 7", "port", 7),
        ("--port=7", "port", 7),
        ("--bind=::1", "bind", "::1"),
        ("--allow=10.0.0.0/8,::1", "allow", (ip_network("10.0.0.0/8"), ip_network("::1"))),
        ("--ports=4000-4009", "ports", (4000, 4009)),
        ("--ports 4000", "ports", (4000, 4000)),
        ("-w 3", "workers", 3),
        ("--workers=3", "workers", 3),
        ("-m 4", "max_direct", 4),
        ("--max-direct=4", "max_direct", 4),
        ("-r 0", "retries", 0),
        ("--retries=5", "retries", 5),
        ("--timeout=0.5", "timeout", 0.5),
        ("--rate=500k", "rate", 512_000),
        ("--rate-up 1.5M", "rate_up", 1_572_864),
        ("--linger=0", "linger", 0),
        ("--linger=forever", "linger", float("inf")),
        ("--follow", "follow", True),
        ("--delete", "delete", True),
        ("--checksum", "checksum", True),
        ("--dry-run", "dry_run", True),
        ("-s", "no_permissions", True),
        ("--no-permissions", "no_permissions", True),
        ("-o", "no_owners", True),
        ("--no-owners", "no_owners", True),
        ("--no-devices", "no_devices", True),
        ("--no-set-id", "no_set_id", True),
        ("--insecure-dest", "insecure_dest", True),
        ("-x", "one_file_system", True),
        ("--one-file-system", "one_file_system", True),
        ("--cache=/a/b", "cache", "/a/b"),
        ("--rehash", "rehash", True),
        ("--force", "force", True),
        ("-n head --expect=n[1-3],n5", "expect", "n[1-3],n5"),
        ("--tree", "tree", True),
        ("--exclude=*.o --exclude /a/", "exclude", ("*.o", "/a/")),
        ("--watch", "watch", True),
        ("--all", "all", True),
        ("--log=/a/b", "log", "/a/b"),
        ("-D 9", "debug", 9),
        ("--debug=1", "debug", 1),
        ("--daemon", "daemon", True),
        ("--pidfile=/a/b", "pidfile", "/a/b"),
        ("-q", "quiet", True),
        ("--quiet", "quiet", True),
        ("-v", "verbose", True),
        ("--verbose", "verbose", True),
        ("--json", "json", True),
    ],
)
def test_every_option_is_parsed(roles: Roles, arguments: str, field: str, value: object) -> None:
    option = USAGE.options[field.replace("_", "-")]
    assert cli.main([*FORMS[(option.roles or ("master",))[0]].split(), *arguments.split()]) == 0
    assert getattr(roles.config, field) == value


def test_short_options_can_be_combined(roles: Roles) -> None:
    cli.main(["-xqp7", "."])
    assert (roles.config.one_file_system, roles.config.quiet, roles.config.port) == (True, True, 7)


@pytest.mark.parametrize("option", ["--config", "--config=", "--conf", "--co="])
def test_the_config_option_can_be_abbreviated(roles: Roles, tmp_path: Path, option: str) -> None:
    file = tmp_path / "xget.toml"
    file.write_text('port = 7\nquiet = true\nlinger = "forever"\n')
    given = [option + str(file)] if option.endswith("=") else [option, str(file)]
    cli.main([*given, "-n", "head", ".", "/d"])
    assert (roles.config.port, roles.config.quiet, roles.config.linger) == (7, True, float("inf"))


def test_the_command_line_overrides_the_file_and_the_file_the_defaults(roles: Roles, tmp_path: Path) -> None:
    file = tmp_path / "xget.toml"
    file.write_text("port = 7\ndebug = 8\nworkers = 9\n")
    cli.main([f"--config={file}", "-p", "10", "."])
    assert (roles.config.port, roles.config.debug, roles.config.workers) == (10, 8, 9)
    assert roles.config.max_direct == default_in_help("max-direct")


def test_an_option_given_with_its_default_value_overrides_the_file(roles: Roles, tmp_path: Path) -> None:
    file = tmp_path / "xget.toml"
    file.write_text("port = 7\n")
    cli.main([f"--config={file}", "-p", "20004", "."])
    assert roles.config.port == 20004


def test_a_host_in_the_file_makes_the_command_a_client(roles: Roles, tmp_path: Path) -> None:
    file = tmp_path / "xget.toml"
    file.write_text('host = "head"\n')
    assert cli.main(["--conf", str(file), "-q", "a", ".", "/dest"]) == 0
    assert roles.started == [("client", [b"a", b"."], b"/dest")]
    assert roles.config.host == "head"


def test_the_host_on_the_command_line_overrides_the_file(roles: Roles, tmp_path: Path) -> None:
    file = tmp_path / "xget.toml"
    file.write_text('host = "head"\n')
    cli.main(["--config", str(file), "-n", "other", ".", "/dest"])
    assert roles.config.host == "other"


@pytest.mark.parametrize("text", ["", "port = 7\n", "host = 7\n", 'host = ""\n'])
def test_a_file_without_a_host_does_not_make_the_command_a_client(roles: Roles, tmp_path: Path, text: str) -> None:
    file = tmp_path / "xget.toml"
    file.write_text(text)
    assert cli.main(["--config", str(file), ".", "/dest"]) == 2
    assert roles.started == []


def test_names_that_are_not_utf8_are_passed_on_unchanged(roles: Roles) -> None:
    cli.main(["-n", "head", os.fsdecode(b"\xff"), os.fsdecode(b"/d\xfe")])
    assert roles.started == [("client", [b"\xff"], b"/d\xfe")]


# Errors in a role


@pytest.mark.parametrize(
    ("error", "exit_status", "line"),
    [
        (NotServed(b"a\nb"), 4, "xget: a\\nb: not served by the master (nothing was written)\n"),
        (Interrupted(15), 143, "xget: interrupted (verified data is kept for the next run)\n"),
        (KeyboardInterrupt(), 130, ""),
        (FileNotFoundError(2, "No such file or directory", "/a"), 1, "xget: /a: No such file or directory\n"),
        (OSError(5, "Input/output error"), 1, "xget: failed: Input/output error\n"),
    ],
)
def test_an_error_is_one_line_and_its_exit_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    exit_status: int,
    line: str,
) -> None:
    monkeypatch.setattr(master, "run", _raising(error))
    assert cli.main(["."]) == exit_status
    assert capsys.readouterr().err == line


def test_a_bug_is_one_line_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(master, "run", _raising(ZeroDivisionError("a\nb")))
    assert cli.main(["."]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("xget: internal error: ZeroDivisionError: a\\nb (") and printed.count("\n") == 1


def _raising(error: BaseException) -> Any:
    def run(*arguments: object) -> int:
        raise error

    return run


# The process


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["-n", "head", "--help"], ["-qh", "."]])
def test_help_prints_the_usage_text(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (cli.__doc__ or "").strip() + "\n"


def test_every_line_of_the_help_fits_a_wide_terminal() -> None:
    assert max(map(len, (cli.__doc__ or "").splitlines())) <= 120


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"xget {__version__}\n"


def test_a_worker_of_another_version_than_its_master_does_not_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(version, "replaced_by", lambda: "2.9")
    nothing: Any = None
    assert cli._work(nothing, nothing, nothing, 0, None) == 1
    assert f"XGet {__version__} was replaced by 2.9: restart the master" in caplog.text


def test_version_imports_no_role() -> None:
    """Boot scripts of a thousand nodes ask for the version; the imports of a role take half a second."""
    code = (
        "import sys; from xget_lib.cli import main; main(['--version']);"
        "heavy = ('gevent', 'msgpack', 'blake3', 'tqdm', 'xget_lib.master', 'xget_lib.node')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr


@pytest.mark.parametrize("stdout", ["pipe", "/dev/full"])
def test_the_command_leaves_at_once_but_loses_neither_output_nor_status(stdout: str) -> None:
    code = (
        "import atexit, sys; from xget_lib import cli; atexit.register(print, 'cleanup', file=sys.stderr);"
        "cli.main = lambda: print('not flushed') or 7; cli.command()"
    )
    with open(stdout, "w") if stdout != "pipe" else nullcontext(subprocess.PIPE) as written:
        done = subprocess.run(
            [sys.executable, "-E", "-c", code], cwd=ROOT, stdout=written, stderr=subprocess.PIPE, text=True, timeout=60
        )
    if stdout == "pipe":
        assert (done.returncode, done.stdout, done.stderr) == (7, "not flushed\n", "")
    else:
        assert done.returncode == 120, "Python's, for output that cannot be written"
        assert "No space left on device" in done.stderr


def test_a_closed_stdout_pipe_prints_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run("--help", capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_stdout_device_is_an_error_of_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = run("--help", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "xget: failed: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_are_not_reused_by_sockets(closed: str) -> None:
    """Otherwise the first socket gets the number of stderr, and messages go to a peer."""
    code = (
        "import os, sys; from xget_lib.cli import main; status = main(['--bogus']);"
        "new = os.open('/', os.O_RDONLY); print('x', file=sys.stdout); print('x', file=sys.stderr);"
        "os._exit(10 + status if new > 2 else 1)"
    )
    script = f'exec "$0" -c "$1" {closed}'
    done = subprocess.run(["sh", "-c", script, sys.executable, code], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 12
    assert b"Traceback" not in done.stderr

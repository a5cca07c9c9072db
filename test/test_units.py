"""The units of systemd: what they start exists and is accepted, how safe they are, and after what they start again."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from test.support.installed import lacking
from test.support.roles import USAGE
from xget_lib import cli, config_file
from xget_lib.errors import Exit
from xget_lib.usage import Parsed

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "conf" / "systemd"
SERVICES = {"xget-master@": 2.5, "xget-client@": 4.0, "xget-follow@": 4.0}
"""The most that `systemd-analyze security` may say of each."""
NOT_KNOWN_TO_ALL = ("RestartSteps", "RestartMaxDelaySec")
"""Settings of systemd 254 that an older one names and ignores."""

RESTARTS = {
    Exit.OK: False,
    Exit.FAILED: True,
    Exit.USAGE: False,
    Exit.UNREACHABLE: True,
    Exit.NOT_SERVED: False,
    Exit.UNVERIFIED: True,
    Exit.DESTINATION: True,
    Exit.NOT_ADMITTED: False,
    Exit.UNSAFE: False,
    Exit.INTERRUPTED: True,
    Exit.TERMINATED: True,
}
"""Whether starting again may help, after each exit status."""


def section(unit: str, name: str) -> dict[str, str]:
    """A section of a unit. Of a setting that stands there several times, the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser documents
    parser.read(UNITS / unit)
    return dict(parser[name])


def service(name: str) -> dict[str, str]:
    return section(f"{name}.service", "Service")


def parsed(command: str) -> Parsed:
    program, *arguments = command.split()
    assert program == "/opt/xget/scripts/xget"
    return USAGE.parse(arguments)


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_starts_what_exists_with_options_that_exist(name: str) -> None:
    for setting in ("ExecStart", "ExecReload"):
        command = service(name)[setting]
        if command.startswith("/opt/xget/"):
            assert parsed(command).error is None
            assert (ROOT / command.split()[0].removeprefix("/opt/xget/")).exists()
        else:
            assert (name, command) != ("xget-master@", command) and command == "/bin/sh -c 'kill -HUP $MAINPID'"


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_runs_what_the_file_of_its_instance_says(name: str, tmp_path: Path) -> None:
    """The file in its own comment, whose keys are all that is needed."""
    example = re.findall(r"^#     (\[.*\]|\w+ = .*)$", (UNITS / f"{name}.service").read_text(), re.MULTILINE)
    file = tmp_path / "images.toml"
    file.write_text("\n".join(example) + "\n")
    options = parsed(service(name)["ExecStart"]).options
    assert options.pop("config") == "/etc/xget/%i.toml"
    read = config_file.read(str(file), USAGE)
    assert read.arguments(str(options["role"]))
    assert str(options["role"]) in name or name == "xget-follow@"
    assert bool(options.get("follow")) == (name == "xget-follow@")
    # The file may say another time for the client of the same instance.
    assert options.get("linger") == ("forever" if name == "xget-follow@" else None)


def test_instances_share_nothing() -> None:
    for name in SERVICES:
        own, start = service(name)["RuntimeDirectory"], service(name)["ExecStart"]
        assert own.endswith("-%i") and f"--pidfile=/run/{own}/" in start
    assert len({service(name)["RuntimeDirectory"] for name in SERVICES}) == len(SERVICES)
    assert service("xget-master@")["CacheDirectory"] == "xget/%i"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_tells_how_it_does_and_is_restarted_when_it_hangs(name: str) -> None:
    found = service(name)
    assert (found["Type"], found["Restart"]) == ("notify", "on-failure")
    assert found.get("NotifyAccess", "main") == ("main" if name == "xget-master@" else "all")
    assert found["KillMode"] == ("mixed" if name == "xget-master@" else "control-group")
    assert int(found["WatchdogSec"]) >= 60
    assert int(found["TimeoutStartSec"]) >= 2 * 60, "longer than the time-outs of the client"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_restarted_after_what_may_end_and_not_for_ever(name: str) -> None:
    assert set(RESTARTS) == set(Exit)
    found = service(name)
    never = {int(status) for status in found["RestartPreventExitStatus"].split()}
    success = {0, *map(int, found.get("SuccessExitStatus", "").split())}
    for status, expected in RESTARTS.items():
        restarts = status not in never | success
        assert restarts == expected or status in (Exit.INTERRUPTED, Exit.TERMINATED), status
    limits = section(f"{name}.service", "Unit")
    interval, burst = int(limits["StartLimitIntervalSec"]), int(limits["StartLimitBurst"])
    assert int(found["RestartSec"]) * burst < interval, "what fails at once comes to an end"
    waits = float(USAGE.defaults["timeout"])
    if name != "xget-master@":
        assert (int(found["RestartSec"]) + waits) * burst > interval, "a client that waits for its master does not"
    assert int(found["RestartMaxDelaySec"]) > int(found["RestartSec"])


def test_the_port_of_the_socket_is_the_default_port() -> None:
    assert section("xget-master@.socket", "Socket")["ListenStream"] == USAGE.defaults["port"]


# With systemd's own programs


def program(name: str) -> str:
    return shutil.which(name) or lacking(f"{name} is not installed (systemd)")


def instances(directory: Path) -> list[str]:
    """The units as instances, of this checkout."""
    paths = []
    for unit in UNITS.iterdir():
        path = directory / unit.name.replace("@.", "@images.")
        path.write_text(unit.read_text().replace("/opt/xget/", f"{ROOT}/"))
        paths.append(str(path))
    return paths


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", *instances(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if not any(name in line for name in NOT_KNOWN_TO_ALL)]
    assert [line for line in lines if str(tmp_path) in line or "xget" in line] == []


@pytest.mark.parametrize(("name", "most"), SERVICES.items())
def test_a_service_is_as_safe_as_it_can_be(name: str, most: float, tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    unit = next(path for path in instances(tmp_path) if path.endswith(f"{name}images.service"))
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", f"--threshold={int(most * 10)}", unit],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= most, done.stdout


@pytest.mark.root
def test_the_user_and_the_directories_are_made(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for kind, command in (("sysusers", "systemd-sysusers"), ("tmpfiles", "systemd-tmpfiles")):
        create = ["--create"] if kind == "tmpfiles" else []
        file = ROOT / "conf" / f"{kind}.d" / "xget.conf"
        subprocess.run([program(command), f"--root={root}", *create, str(file)], timeout=60, check=True)
    users = (root / "etc/passwd").read_text()
    assert re.search(r"^xget:[!x*]*:\d+:\d+:XGet master:/:/usr/sbin/nologin$", users, re.MULTILINE)
    assert (root / "run/xget").stat().st_mode & 0o7777 == 0o755


def test_the_help_of_the_units_is_about_commands_that_exist() -> None:
    commands = set(re.findall(r"\bxget (\w+)`", "".join(path.read_text() for path in UNITS.iterdir())))
    assert commands <= {*USAGE.commands} and cli.__doc__


@pytest.mark.parametrize("name", ["xget-client@", "xget-follow@"])
def test_the_end_of_a_main_process_that_systemd_has_not_started_is_waited_for(name: str) -> None:
    command = shlex.split(service(name)["ExecStop"])
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as main:
        reaper = threading.Thread(target=main.wait)  # as systemd does
        reaper.start()
        done = subprocess.run(command, env={**os.environ, "MAINPID": str(main.pid)}, timeout=60, check=False)
        assert done.returncode == 0
        assert not os.path.exists(f"/proc/{main.pid}")
        reaper.join()
        assert main.returncode == -signal.SIGTERM
    without = {name: value for name, value in os.environ.items() if name != "MAINPID"}
    assert subprocess.run(command, env=without, timeout=60, check=False).returncode == 0, "it had ended before"

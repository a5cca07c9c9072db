"""The package for Debian under a real systemd: a master as a service, an upgrade during a transfer, and removal."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from test.packaging.packages import NEWER, Packages
from test.packaging.system import LINE_WITHIN, System
from test.support.processes import line_from

pytestmark = pytest.mark.root

MASTER = "xget-master@images.service"
CLIENT = "xget-client@images.service"
SERVED = 24 << 20
"""Bytes."""
CONFIGURATION = """\
[master]
path = "/srv/images"
[client]
host = "127.0.0.1"
sources = ["b"]
destination = "/var/lib/unit"
linger = "forever"
"""
"""A master, and a client of one small file of it, which stays as a child server."""


def install(system: System, package: Path) -> None:
    shutil.copy(package, system.shared / package.name)
    system.run("dpkg", "--install", f"/mnt/{package.name}")


def start_services(system: System) -> None:
    """When this returns, the master serves, and the client has become a child."""
    system.shell(f"mkdir -p /srv/images; head -c {SERVED} /dev/urandom >/srv/images/a; echo small >/srv/images/b")
    (system.shared / "images.toml").write_text(CONFIGURATION)
    system.run("cp", "/mnt/images.toml", "/etc/xget/images.toml")
    system.run("systemctl", "start", MASTER)
    system.run("systemctl", "start", CLIENT)


def show(system: System, unit: str, name: str) -> str:
    return system.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()


def processes_of(system: System, unit: str) -> list[str]:
    """The numbers of the processes of a unit. The unit may be part of a slice."""
    return system.shell(f"grep -l '/{unit}$' /proc/[0-9]*/cgroup || true").split()


def download(system: System, *options: str) -> subprocess.Popen[str]:
    return system.start("xget", "--json", "--linger", "0", *options, "-n", "127.0.0.1", ".", "/var/lib/copy")


def test_an_upgrade_restarts_the_master_and_loses_no_transfer_and_no_child(booted: System, packages: Packages) -> None:
    newer = packages.deb(NEWER)
    install(booted, packages.deb())
    start_services(booted)
    assert show(booted, MASTER, "ActiveState") == "active"
    assert "generation" in show(booted, MASTER, "StatusText")
    children = processes_of(booted, CLIENT)
    assert children

    # A transfer that is not over before the upgrade, of what only the master has.
    booted.limit_network("4mbit")
    client = download(booted)
    assert client.stdout
    while '"progress"' not in line_from(client.stdout.fileno(), LINE_WITHIN):
        pass
    before = show(booted, MASTER, "MainPID")
    install(booted, newer)
    assert client.poll() is None, "the transfer was over before the upgrade"
    assert show(booted, MASTER, "ActiveState") == "active"
    assert show(booted, MASTER, "MainPID") != before
    booted.free_network()

    output, _ = client.communicate(timeout=120)
    done = json.loads(output.splitlines()[-1])
    assert done["exit"] == 0, output
    booted.run("diff", "-r", "/srv/images", "/var/lib/copy")
    assert show(booted, MASTER, "NRestarts") == "0"
    assert done["fetched"] < 1.5 * SERVED, "what had been fetched was fetched again"
    assert processes_of(booted, CLIENT) == children
    status = json.loads(booted.run("xget", "status", "--json", "-n", "127.0.0.1").stdout.splitlines()[0])
    assert NEWER in json.dumps(status)


def test_removing_the_package_stops_all_its_services(booted: System, packages: Packages) -> None:
    install(booted, packages.deb())
    start_services(booted)
    booted.run("systemctl", "enable", MASTER)
    booted.run("dpkg", "--remove", "xget")
    assert booted.run("pgrep", "-f", "bin/xget", check=False).stdout == ""
    assert show(booted, MASTER, "LoadState") == "not-found"
    booted.run("dpkg", "--purge", "xget")
    assert booted.shell("find /etc/systemd -name 'xget*'") == ""


def test_units_are_right_for_systemd(booted: System, packages: Packages) -> None:
    install(booted, packages.deb())
    units = booted.shell("ls /usr/lib/systemd/system/xget*").split()
    said = booted.run("systemd-analyze", "verify", *units, check=False).stdout.splitlines()
    newer = ("'RestartSteps'", "'RestartMaxDelaySec'")  # of systemd 254
    assert [line for line in said if not any(name in line for name in newer)] == []

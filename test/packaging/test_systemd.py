"""The package for Debian under a real systemd: a master as a service, an upgrade during a transfer, and removal."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from test.packaging.packages import NEWER, Packages
from test.packaging.system import System
from test.support.cluster import eventually
from test.support.processes import line_from

pytestmark = pytest.mark.root

MASTER = "xget-master@srv-images.service"
CLIENT = "xget-client.service"
SERVED = 24 << 20
"""Bytes."""


def install(system: System, package: Path) -> None:
    shutil.copy(package, system.shared / package.name)
    system.run("dpkg", "--install", f"/mnt/{package.name}")


def start_master(system: System) -> None:
    system.shell(f"mkdir -p /srv/images; head -c {SERVED} /dev/urandom >/srv/images/a; echo small >/srv/images/b")
    system.run("systemctl", "start", MASTER)


def start_client_unit(system: System) -> None:
    """The client that downloads at boot, and stays as a child server: of one small file."""
    settings = "XGET_MASTER=127.0.0.1\nXGET_SOURCES=b\nXGET_DESTINATION=/var/lib/unit\nXGET_OPTIONS=--linger=forever\n"
    system.shell(f"echo '{settings}' >/etc/default/xget-client")
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
    start_master(booted)
    assert show(booted, MASTER, "ActiveState") == "active"
    eventually(lambda: booted.run("xget", "status", "-n", "127.0.0.1", check=False).returncode == 0, "it answers")
    start_client_unit(booted)
    children = processes_of(booted, CLIENT)
    assert children

    # A transfer that is not over before the upgrade, of what only the master has.
    booted.limit_network("8mbit")
    client = download(booted)
    assert client.stdout
    while '"progress"' not in line_from(client.stdout.fileno()):
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
    assert done["fetched"] < 1.5 * SERVED, "what had been fetched was fetched again"
    assert processes_of(booted, CLIENT) == children
    status = json.loads(booted.run("xget", "status", "--json", "-n", "127.0.0.1").stdout.splitlines()[0])
    assert NEWER in json.dumps(status)


def test_removing_the_package_stops_all_its_services(booted: System, packages: Packages) -> None:
    install(booted, packages.deb())
    start_master(booted)
    start_client_unit(booted)
    booted.run("systemctl", "enable", MASTER)
    booted.run("dpkg", "--remove", "xget")
    assert booted.run("pgrep", "-f", "bin/xget", check=False).stdout == ""
    assert show(booted, MASTER, "LoadState") == "not-found"
    booted.run("dpkg", "--purge", "xget")
    assert booted.shell("find /etc/systemd -name 'xget*'") == ""


def test_units_are_right_for_systemd(booted: System, packages: Packages) -> None:
    install(booted, packages.deb())
    units = booted.shell("ls /usr/lib/systemd/system/xget*").split()
    assert booted.run("systemd-analyze", "verify", *units, check=False).stdout == ""

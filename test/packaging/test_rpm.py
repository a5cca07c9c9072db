"""The package for RHEL and its relatives. Debian's rpm makes and installs it: there is no such system here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from test.packaging.packages import NEWER, Packages
from test.packaging.system import System
from test.support.installed import lacking


@pytest.fixture(autouse=True)
def rpm_is_there() -> None:
    if shutil.which("rpmbuild") is None:
        lacking("rpmbuild is not installed (apt install rpm)")


def query(package: Path, *options: str) -> list[str]:
    command = ["rpm", "--query", *options, "--package", str(package)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()


def contents(deb: Path) -> set[str]:
    """The files of the other package, as absolute paths."""
    command = ["dpkg-deb", "--contents", str(deb)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    return {line.split()[5][1:] for line in lines if not line.startswith("d")}


def test_it_has_the_files_of_the_other_package(packages: Packages) -> None:
    files = set(query(packages.rpm(), "--list"))
    assert contents(packages.deb()) <= files
    assert "/etc" not in files
    assert "/usr/bin" not in files


def test_what_administrators_change_is_kept(packages: Packages) -> None:
    listed = query(packages.rpm(), "--queryformat", "[%{FILEFLAGS:fflags} %{FILENAMES}\n]")
    assert "cn /etc/xget/xget.toml" in listed
    assert [line for line in listed if line.startswith("cn") and "/etc/" not in line] == []


def test_it_needs_the_python_that_it_is_made_for_and_a_new_enough_libc(packages: Packages) -> None:
    needed = query(packages.rpm(), "--requires")
    assert f"python(abi) = 3.{sys.version_info.minor}" in needed
    (libc,) = [name for name in needed if name.startswith("libc.so.6(GLIBC_2.")]
    assert int(libc.removeprefix("libc.so.6(GLIBC_2.").partition(")")[0]) <= 34, "not for RHEL 9"


@pytest.mark.root
def test_it_installs_runs_upgrades_and_goes(system: System, packages: Packages) -> None:
    def rpm(*arguments: str) -> None:
        system.run_beside("rpm", "--root", str(system.root), "--nodeps", *arguments)

    rpm("--install", str(packages.rpm()))
    version = f"xget {packages.release.version} (commit {packages.release.commit})\n"
    assert system.run("xget", "--version").stdout == version
    assert system.shell("id --user --name xget").strip() == "xget"
    system.shell("echo 'timeout = 30' >>/etc/xget/xget.toml; echo key >/etc/xget/secret")
    rpm("--upgrade", str(packages.rpm(NEWER)))
    assert system.run("xget", "--version").stdout.startswith(f"xget {NEWER}")
    assert "timeout = 30" in system.shell("cat /etc/xget/xget.toml").splitlines()
    rpm("--erase", "xget")
    assert system.run("test", "-e", "/usr/lib/xget", check=False).returncode != 0
    assert system.run("test", "-e", "/usr/bin/xget", check=False).returncode != 0
    left = set(system.shell("find /etc/xget -type f").split())
    # The last is the newer version's own, which rpm puts beside a file that was changed.
    assert left == {"/etc/xget/secret", "/etc/xget/xget.toml.rpmsave", "/etc/xget/xget.toml.rpmnew"}

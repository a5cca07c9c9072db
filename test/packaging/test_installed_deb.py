"""The package for Debian, installed in a Debian without a network, used, upgraded and removed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from test.packaging.packages import NEW_OPTION, NEWER, Packages
from test.packaging.system import LINE_WITHIN, System
from test.support.processes import line_from

pytestmark = pytest.mark.root


def put(system: System, package: Path, name: str = "xget.deb") -> str:
    """Makes a package available in there; returns its path."""
    shutil.copy(package, system.shared / name)
    return f"/mnt/{name}"


def install(system: System, package: Path) -> str:
    return system.run("dpkg", "--force-confold", "--install", put(system, package)).stdout


def all_files(system: System) -> set[str]:
    listed = system.shell("find / -xdev ! -path '/proc/*' ! -path '/mnt/*' ! -path '/dev/*' ! -path '/run/*' -print")
    return set(listed.splitlines())


def serve(system: System) -> subprocess.Popen[str]:
    """A master that has published its first generation."""
    system.shell("mkdir -p /srv/images; head -c 12M /dev/urandom >/srv/images/a; echo small >/srv/images/b")
    master = system.start("xget", "/srv/images")
    lines: list[str] = []
    assert master.stdout
    while not (lines and "generation" in lines[-1]):
        lines.append(line_from(master.stdout.fileno(), LINE_WITHIN))
        assert lines[-1], lines
    return master


def test_it_installs_and_runs_without_a_network_and_with_nothing_of_the_machine_s_python(
    system: System, packages: Packages
) -> None:
    install(system, packages.deb())
    system.shell("mkdir -p /usr/lib/python3/dist-packages; echo 1/0 >/usr/lib/python3/dist-packages/gevent.py")
    assert system.run("env", "PYTHONPATH=/tmp", "xget", "--version").stdout == (
        f"xget {packages.release.version} (commit {packages.release.commit})\n"
    )
    assert "lo:" in system.run("ip", "-oneline", "link").stdout
    assert len(system.run("ip", "-oneline", "link").stdout.splitlines()) == 1
    assert system.shell("id --user --name xget").strip() == "xget"


def test_a_master_and_a_client_copy_a_directory_there(system: System, packages: Packages) -> None:
    install(system, packages.deb())
    system.shell("touch /installed")
    serve(system)
    done = system.run("xget", "--json", "--linger", "0", "-n", "127.0.0.1", ".", "/var/lib/copy").stdout
    assert json.loads(done.splitlines()[-1])["exit"] == 0
    system.run("diff", "-r", "/srv/images", "/var/lib/copy")
    assert system.shell("find /usr/lib/xget -newer /installed | wc -l").strip() == "0"


def test_an_upgrade_does_not_disturb_a_transfer(system: System, packages: Packages) -> None:
    """Without systemd nobody restarts anything: what runs goes on with files that have been replaced."""
    newer = packages.deb(NEWER)
    install(system, packages.deb())
    serve(system)
    system.limit_network("2mbit")
    client = system.start("xget", "--json", "--linger", "0", "-n", "127.0.0.1", ".", "/var/lib/copy")
    assert client.stdout
    while '"progress"' not in line_from(client.stdout.fileno(), LINE_WITHIN):
        pass
    install(system, newer)
    assert client.poll() is None, "the transfer was over before the upgrade"
    system.free_network()
    output, _ = client.communicate(timeout=60)
    assert json.loads(output.splitlines()[-1])["exit"] == 0, output
    system.run("diff", "-r", "/srv/images", "/var/lib/copy")
    assert system.run("xget", "--version").stdout.startswith(f"xget {NEWER}")


def test_a_master_that_goes_on_after_an_upgrade_starts_no_worker_of_the_new_version(
    system: System, packages: Packages
) -> None:
    newer = packages.deb(NEWER)
    install(system, packages.deb())
    master = serve(system)
    install(system, newer)
    system.shell("master=$(pgrep -o -f bin/xget); kill -9 $(pgrep -P $(pgrep -P $master) | head -n 1)")
    assert master.stdout
    lines = [line_from(master.stdout.fileno(), LINE_WITHIN)]
    while "was replaced" not in lines[-1]:
        lines.append(line_from(master.stdout.fileno(), LINE_WITHIN))
        assert lines[-1], lines
    assert f"was replaced by {NEWER} (commit {packages.release.commit}): restart the master" in lines[-1]


def test_configuration_files_survive_an_upgrade_and_a_downgrade(system: System, packages: Packages) -> None:
    install(system, packages.deb())
    original = system.shell("cat /etc/xget/xget.toml")
    install(system, packages.deb(NEWER))
    assert NEW_OPTION in system.shell("cat /etc/xget/xget.toml")
    install(system, packages.deb())
    assert system.shell("cat /etc/xget/xget.toml") == original
    # What the administrator has changed stays, whichever version comes.
    system.shell("sed -i 's/^#: timeout = .*/timeout = 30/' /etc/xget/xget.toml")
    changed = system.shell("cat /etc/xget/xget.toml")
    for package in (packages.deb(NEWER), packages.deb()):
        install(system, package)
        assert system.shell("cat /etc/xget/xget.toml") == changed
    assert system.run("xget", "--config", "/etc/xget/xget.toml", "--version").returncode == 0


def test_removing_leaves_what_is_the_administrator_s_and_purging_leaves_nothing(
    system: System, packages: Packages
) -> None:
    before = all_files(system)
    install(system, packages.deb())
    system.shell(
        "echo key >/etc/xget/secret; mkdir -p /var/cache/xget; touch /var/cache/xget/digests /var/log/xget.log"
    )
    system.run("dpkg", "--remove", "xget")
    left = all_files(system) - before
    assert {"/etc/xget/xget.toml", "/etc/xget/secret", "/var/cache/xget/digests", "/var/log/xget.log"} <= left
    assert [name for name in left if name.startswith("/usr")] == []
    system.run("dpkg", "--purge", "xget")
    left = {name for name in all_files(system) - before if not name.startswith(("/var/lib/dpkg/", "/var/log/dpkg"))}
    assert left <= {"/etc/.pwd.lock", "/etc/group-", "/etc/gshadow-", "/etc/passwd-", "/etc/shadow-"}, left
    assert before - all_files(system) == set()
    assert system.shell("id --user --name xget").strip() == "xget"


def test_the_user_is_made_where_there_is_no_systemd(system: System, packages: Packages) -> None:
    system.shell("rm /usr/bin/systemd-sysusers /usr/bin/systemd-tmpfiles")
    install(system, packages.deb())
    assert system.shell("getent passwd xget").strip().endswith(":/:/usr/sbin/nologin")


def test_what_was_not_started_as_a_service_is_named_on_removal_and_found_again(
    system: System, packages: Packages
) -> None:
    install(system, packages.deb())
    system.shell(
        "mkdir -p /srv/served; echo 1 >/srv/served/a; xget --daemon --log /tmp/log --pidfile /tmp/pid /srv/served"
    )
    pid = system.shell("cat /tmp/pid").strip()
    removed = system.run("dpkg", "--remove", "xget").stdout
    assert "go on until they end" in removed
    assert re.search(rf"^master +{pid} .* /srv/served$", removed, re.MULTILINE), removed
    system.run("dpkg", "--purge", "xget")
    install(system, packages.deb())
    assert f"process {pid}," in system.shell("xget stop master")
    system.run("dpkg", "--purge", "xget")
    assert "go on until" not in system.run("dpkg", "--purge", "xget", check=False).stdout
    assert system.shell("ls -d /run/xget || true").startswith("ls: ")

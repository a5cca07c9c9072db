"""The services of `conf/systemd`, as far as they go without systemd: their command lines, with the file of an instance,
its directories, and for a master its user with one power of root."""

from __future__ import annotations

import configparser
import os
import pwd
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test.support.cluster import COMMAND, ROOT, Cluster, Running, ended_by_itself, eventually, free_port, status_of
from test.support.installed import lacking
from test.support.service_manager import ServiceManager
from test.support.trees import differences, noise, small_tree, write
from xget_lib.process import runtime_directory

USER = pwd.getpwnam("nobody")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path)
    os.chmod(tmp_path / "notify", 0o666)
    yield manager
    manager.close()


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    """That of a service of another user than root, where root's own processes look for it."""
    made = not os.path.exists(runtime_directory.ROOTS)
    if made:
        os.mkdir(runtime_directory.ROOTS, 0o755)
    with tempfile.TemporaryDirectory(prefix="test-", dir=runtime_directory.ROOTS) as name:
        os.chmod(name, 0o755)
        os.chown(name, USER.pw_uid, USER.pw_gid)
        yield Path(name)
    if made and not os.listdir(runtime_directory.ROOTS):
        os.rmdir(runtime_directory.ROOTS)


def start_of(unit: str, cluster: Cluster, instance: str, setting: str = "ExecStart") -> list[str]:
    """What a unit starts, with the places of this test."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.read(ROOT / "conf" / "systemd" / f"{unit}@.service")
    command = parser["Service"][setting].replace("%i", instance)
    command = command.replace("/etc/xget/", f"{cluster.base}/").replace(f"/run/xget/{unit[5:]}-", f"{cluster.base}/")
    program, *arguments = shlex.split(command)
    assert program == "/opt/xget/scripts/xget"
    (cluster.base / instance).mkdir(exist_ok=True)
    return arguments


def started(cluster: Cluster, unit: str, instance: str, **options: Any) -> Running:
    return cluster.start(*start_of(unit, cluster, instance), **options)


def test_instances_do_what_their_files_say(cluster: Cluster, manager: ServiceManager) -> None:
    source, port = small_tree(cluster.base / "served"), free_port()
    (cluster.base / "images.toml").write_text(
        f"port = {port}\n[master]\nworkers = 2\npath = '{source}'\n"
        f"[client]\nhost = '127.0.0.1'\ndestination = '{cluster.base / 'dest'}'\nlinger = 'forever'\n"
    )
    started(cluster, "xget-master", "images", environment=manager.environment)
    manager.until("READY")
    assert cluster.run(*start_of("xget-master", cluster, "images", "ExecReload")).status == 0
    client = started(cluster, "xget-client", "images", environment=manager.environment)
    child = int(manager.until("MAINPID")[-1].lines["MAINPID"])
    assert client.ended().status == 0
    assert (cluster.base / "images" / "child.pid").read_text() == f"{child}\n"
    assert differences(source, cluster.base / "dest") == []
    follower = started(cluster, "xget-follow", "images", environment=manager.environment)
    assert follower.ended().status == 0
    manager.until("MAINPID")
    write(source / "later", b"later")
    eventually(lambda: (cluster.base / "dest" / "later").exists(), "the update")
    assert ended_by_itself(child), "the follower replaces the child server of the same destination"


def test_two_masters_with_one_port_do_not_collide_in_silence(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    first = cluster.master(source)
    (cluster.base / "other.toml").write_text(f"port = {first.port}\n[master]\npath = '{source}'\nworkers = 2\n")
    ended = started(cluster, "xget-master", "other").ended()
    assert ended.status == 1
    (line,) = ended.stderr.splitlines()
    assert line == (
        f"xget: cannot listen on any address port {first.port}: Address already in use (another server has it: stop"
        " that one, or choose another port with -p, or `port` in the file)"
    )


@pytest.mark.root
def test_a_master_of_another_user_with_one_power_of_root_does_all_that_root_does(
    cluster: Cluster, manager: ServiceManager, runtime: Path
) -> None:
    """As in the unit: files of root alone are served, changes are seen, digests are kept, and root finds its socket."""
    source, port = small_tree(cluster.base / "served"), free_port()
    (source / "hidden").mkdir()
    write(source / "hidden" / "private", noise(100_000, 3))
    (source / "hidden").chmod(0o700)
    (source / "hidden" / "private").chmod(0o600)
    (cluster.base / "images.toml").write_text(f"port = {port}\n[master]\nworkers = 2\npath = '{source}'\n")
    (cluster.base / "images.toml").chmod(0o600)
    cache = cluster.base / "cache"
    for directory in (cache, cluster.base / "images"):
        directory.mkdir()
        os.chown(directory, USER.pw_uid, USER.pw_gid)
    environment = {**manager.environment, "XDG_CACHE_HOME": str(cache), "RUNTIME_DIRECTORY": str(runtime)}
    master = started(cluster, "xget-master", "images", environment=environment, prefix=as_service())
    manager.until("READY")

    facts = Path(f"/proc/{master.pid}/status").read_text()
    assert f"Uid:\t{USER.pw_uid}\t{USER.pw_uid}\t" in facts and "CapBnd:\t0000000000000004\n" in facts
    assert status_of(port)["notices"], "it watches directories that only root may enter"
    assert status_of(port)["omitted"] == []
    write(source / "hidden" / "later", b"later")
    reloaded = cluster.run("reload", "-p", str(port))
    assert (reloaded.status, "new generation" in reloaded.stdout) == (0, True), reloaded.stderr
    ended = cluster.run("-n", "127.0.0.1", "-p", str(port), "--linger", "0", ".", cluster.base / "dest")
    assert ended.status == 0
    assert differences(source, cluster.base / "dest") == []
    eventually(lambda: [path for path in cache.glob("xget/*") if path.suffix != ".new"], "digests are kept")
    assert any(runtime.iterdir()), "its socket is in the directory of the service"


def as_service() -> list[str]:
    """A command that runs another one as the unit of a master does, or skips the test."""
    import shutil

    setpriv = shutil.which("setpriv") or lacking("setpriv is not installed (util-linux)")
    power = "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"
    return [
        setpriv,
        *(f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups", "--no-new-privs"),
        *("--bounding-set=-all,+dac_read_search", *power),
    ]


def test_the_programs_of_this_checkout_are_what_the_units_start() -> None:
    assert COMMAND[1] == str(ROOT / "xget.py")
    assert 'exec "$PYTHON" "$ROOT/xget.py" "$@"' in (ROOT / "scripts" / "xget").read_text()

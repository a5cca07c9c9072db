"""The init script: it knows whether the master runs, however XGet was installed and is called."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.support.cluster import COMMAND, ROOT, Cluster, ended_by_itself, free_port, status_of
from test.support.leftovers import MARK
from test.support.processes import PATIENCE
from test.support.trees import small_tree

SCRIPT = ROOT / "scripts" / "init.d" / "xget"


@dataclass
class Service:
    """The init script with a file of defaults."""

    cluster: Cluster
    port: int
    pidfile: Path

    def __call__(self, action: str) -> tuple[int, str]:
        """The exit status and what was printed."""
        environment = {**os.environ, MARK: self.cluster.mark, "XGET_DEFAULTS": str(self.cluster.base / "defaults")}
        done = subprocess.run(
            ["sh", str(SCRIPT), action],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3 * PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())


def installed(cluster: Cluster, kind: str) -> str:
    """What XGET is, for several ways of installation."""
    if kind == "command of pip":
        # As pip writes it, but for where it finds the package: its process is not called xget.py.
        program = cluster.base / "xget"
        program.write_text(
            f"#!{COMMAND[0]}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from xget_lib.cli import command\nif __name__ == '__main__':\n    sys.exit(command())\n"
        )
        program.chmod(0o755)
        return str(program)
    return " ".join(COMMAND) if kind == "two words" else str(ROOT / "scripts" / "xget")


@pytest.fixture(params=["command of pip", "two words", "checkout"])
def service(cluster: Cluster, request: pytest.FixtureRequest) -> Service:
    source, port, pidfile = small_tree(cluster.base / "served"), free_port(), cluster.base / "pid"
    (cluster.base / "defaults").write_text(
        f"XGET='{installed(cluster, request.param)}'\nXGET_PATH={source}\nXGET_PIDFILE={pidfile}\n"
        f"XGET_OPTIONS='-p {port} -w 2 --pidfile=/nowhere/pid --log={cluster.base / 'master.log'}'\n"
    )
    return Service(cluster, port, pidfile)


def test_the_init_script_starts_and_stops_whatever_is_installed(service: Service) -> None:
    assert service("status") == (3, "xget is not running\n")
    assert service("reload")[0] == 7
    assert service("start") == (0, "")
    pid = service.pid
    assert status_of(service.port)["pid"] == pid
    assert service("status") == (0, f"xget is running, process {pid}\n")
    assert service("start") == (0, "")
    assert service("reload") == (0, "")
    assert service.pid == pid, "a second start starts nothing"
    assert service("stop") == (0, "")
    assert ended_by_itself(pid)
    assert service("status") == (3, "xget is not running\n")
    assert service("stop") == (0, "")


def test_a_pid_file_that_is_left_over_is_not_a_master(cluster: Cluster) -> None:
    pidfile = cluster.base / "pid"
    pidfile.write_text(f"{os.getpid()}\n")
    (cluster.base / "defaults").write_text(f"XGET_PIDFILE={pidfile}\n")
    service = Service(cluster, 0, pidfile)
    assert service("status") == (1, f"xget is not running, but has left {pidfile}\n")
    assert service("stop") == (0, ""), "whoever has the number now is left alone"


def test_stop_does_not_return_before_a_stopped_master_is_killed_or_gone(cluster: Cluster) -> None:
    source, pidfile = small_tree(cluster.base / "served"), cluster.base / "pid"
    master = cluster.master(source, "--pidfile", str(pidfile))
    (cluster.base / "defaults").write_text(f"XGET_PIDFILE={pidfile}\n")
    service = Service(cluster, master.port, pidfile)
    assert service("status")[0] == 0
    master.signal(signal.SIGSTOP)
    assert service("status")[0] == 0, "a master that hangs runs"
    master.signal(signal.SIGCONT)
    assert service("stop") == (0, "")
    assert not Path(f"/proc/{master.pid}").exists() or master.ended().status == 0

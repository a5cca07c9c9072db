"""Where the kernel starts no more processes or threads, one line says so, at the master and at a client.

Root has no such limit. The user of these tests can read what belongs to root, such as the interpreter.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, eventually, free_port
from test.support.trees import differences, small_tree

pytestmark = pytest.mark.root

WHY = "too many processes and threads (ulimit -u, or TasksMax)"

_uids = count(1_000_000 + 100 * os.getpid())


class LimitedUser:
    """A user who may have only a few processes and threads. What it writes is in `home`."""

    def __init__(self, home: Path) -> None:
        # The kernel counts the processes of a user over all namespaces, and those that nobody has reaped.
        self._uid = next(_uids)
        home.mkdir()
        os.chown(home, self._uid, self._uid)
        self.home = home
        self.environment = {"XDG_RUNTIME_DIR": str(home), "XDG_CACHE_HOME": str(home), "HOME": str(home)}

    def prefix(self, processes: int) -> list[str]:
        """The words before a command that this user runs."""
        words = ["setpriv", f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups"]
        words += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        return [*words, "prlimit", f"--nproc={processes}"]


@pytest.fixture
def user(tmp_path: Path) -> LimitedUser:
    return LimitedUser(tmp_path / "home")


@pytest.mark.parametrize(("processes", "what"), [(1, "process"), (2, "thread")])
def test_a_client_says_what_it_cannot_start(cluster: Cluster, user: LimitedUser, processes: int, what: str) -> None:
    master = cluster.master(small_tree(cluster.base / "source"))
    log = user.home / "log"
    ended = cluster.get(
        master,
        user.home / "dest",
        options=["--log", str(log)],
        prefix=user.prefix(processes),
        environment=user.environment,
    )
    assert (ended.status, ended.stderr) == (1, f"xget: cannot start a {what}: {WHY}\n")
    assert "Traceback" not in log.read_text()


def test_one_thread_is_enough_for_a_client(cluster: Cluster, user: LimitedUser) -> None:
    source, dest = small_tree(cluster.base / "source"), user.home / "dest"
    master = cluster.master(source)
    log = user.home / "log"
    ended = cluster.get(master, dest, options=["--log", str(log)], prefix=user.prefix(3), environment=user.environment)
    assert (ended.status, ended.stderr) == (0, "")
    assert not [each for each in differences(source, dest) if not each.startswith(("user of", "group of"))]
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("processes", "options", "said"),
    [
        (1, [], f"cannot start a process: {WHY}"),
        (1, ["--daemon"], f"cannot start a process: {WHY}"),
        (2, ["--daemon"], f"cannot start a thread: {WHY}"),
        (3, [], f"cannot start a thread: {WHY}"),
    ],
    ids=["nursery", "daemon", "signals of the daemon", "scan"],
)
def test_a_master_says_what_it_cannot_start(
    cluster: Cluster, user: LimitedUser, processes: int, options: list[str], said: str
) -> None:
    ended = start_master(cluster, user, processes, *options)
    assert ended.status == 1
    assert ended.stderr.startswith("xget: ") and ended.stderr.endswith(f"{said}\n") and ended.stderr.count("\n") == 1
    log = user.home / "log"
    assert not log.exists() or "Traceback" not in log.read_text()
    assert eventually(lambda: not cluster.processes(), "all processes have ended")


def start_master(cluster: Cluster, user: LimitedUser, processes: int, *options: str) -> Ended:
    where = ["-p", str(free_port()), "-w", "1", "--log", str(user.home / "log"), "--cache", str(user.home)]
    source = small_tree(cluster.base / "source")
    return cluster.run(*where, *options, source, prefix=user.prefix(processes), environment=user.environment)


def test_a_master_that_cannot_start_a_worker_says_so_and_tries_again(cluster: Cluster, user: LimitedUser) -> None:
    where = ["-p", str(free_port()), "-w", "1", "--log", str(user.home / "log"), "--cache", str(user.home)]
    source = small_tree(cluster.base / "source")
    running = cluster.start(*where, source, prefix=user.prefix(2), environment=user.environment)
    said = f"cannot start a worker: {WHY}"
    assert eventually(lambda: log_of(user).count(said), "a line in the log")
    assert running.process.poll() is None and log_of(user).count(said) == 1


def log_of(user: LimitedUser) -> str:
    log = user.home / "log"
    return log.read_text() if log.exists() else ""

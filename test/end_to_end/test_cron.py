"""The script for cron: each node has its own time, runs do not pile up, and only what is wrong is printed."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from test.support.cluster import COMMAND, ROOT, Cluster
from test.support.leftovers import MARK
from test.support.processes import PATIENCE
from test.support.trees import differences, small_tree

SCRIPT = ROOT / "scripts" / "xget-cron"


def cron(base: Path, *arguments: str | Path, mark: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script, with output in one stream as in a mail."""
    environment = {**os.environ, MARK: mark, "XGET": str(base / "xget"), "XGET_LOCK": str(base / "lock"), **variables}
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """With a program that prints its arguments, and ends as $STATUS says."""
    program(tmp_path / "xget", 'echo "called $*"; exit ${STATUS:-0}')
    return tmp_path


def test_a_run_that_is_well_prints_nothing(base: Path) -> None:
    done = cron(base, "-n", "head", ".", "/dest")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_run_that_fails_prints_what_it_said_and_keeps_its_status(base: Path) -> None:
    done = cron(base, "-n", "head", "a b", "/dest", STATUS="6")
    assert done.returncode == 6
    assert done.stdout == "called --quiet -n head a b /dest\nexit status 6: xget -n head a b /dest\n"


def test_a_run_ends_at_once_while_another_goes_on_and_tells_only_after_a_day(base: Path) -> None:
    with open(base / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = cron(base, ".", STATUS="1")
        assert (done.returncode, done.stdout) == (0, "")
        day_before = time.time() - 25 * 3600
        os.utime(base / "lock", (day_before, day_before))
        done = cron(base, ".")
        assert (done.returncode, done.stdout) == (
            1,
            "xget-cron: another run has gone on for more than a day: xget .\n",
        )
    assert cron(base, ".", STATUS="1").returncode == 1, "the lock is free"
    assert (base / "lock").stat().st_mtime > day_before + 3600


def test_what_runs_does_not_keep_the_lock(base: Path) -> None:
    """A child server goes on for hours."""
    program(base / "xget", "ls /proc/self/fd >&2; exit 1")
    assert re.findall(r"^\d+$", cron(base, ".").stdout, re.MULTILINE)[:3] == ["0", "1", "2"]
    assert "9" not in cron(base, ".").stdout.split()


def test_each_node_waits_for_a_time_of_its_own_that_is_always_the_same(base: Path) -> None:
    """`sleep` and `uname` are programs of this test."""
    programs = base / "programs"
    programs.mkdir()
    program(programs / "sleep", f'echo "$1" >>{base}/slept')
    program(programs / "uname", 'echo "$NODE"')
    path = f"{programs}:{os.environ['PATH']}"
    for node in [*(f"node{number}" for number in range(20)), "node0"]:
        assert cron(base, ".", PATH=path, NODE=node, XGET_JITTER="600").returncode == 0
    slept = [int(line) for line in (base / "slept").read_text().split()]
    assert len(set(slept[:20])) > 10
    assert slept[20] == slept[0]
    assert max(slept) <= 600
    cron(base, ".", PATH=path, NODE="node0")
    assert len((base / "slept").read_text().split()) == 21, "without XGET_JITTER it does not wait"


@pytest.mark.parametrize(("arguments", "jitter"), [([], "0"), (["."], "soon"), (["."], "-1")])
def test_what_is_wrong_with_the_call_is_said(base: Path, arguments: list[str], jitter: str) -> None:
    done = cron(base, *arguments, XGET_JITTER=jitter)
    assert done.returncode == 2
    assert done.stdout.startswith("usage: " if not arguments else "xget-cron: XGET_JITTER=")


def test_it_says_what_it_is_for(base: Path) -> None:
    done = cron(base, "--help")
    assert (done.returncode, done.stdout.startswith("usage: "), "silent" in done.stdout) == (0, True, True)


def test_it_synchronizes_a_directory_and_leaves_a_child_server(cluster: Cluster) -> None:
    """With the real program: it returns although a process goes on that it has started."""
    program(cluster.base / "xget", f'exec {" ".join(COMMAND)} "$@"')
    source, dest = small_tree(cluster.base / "served"), cluster.base / "dest"
    master = cluster.master(source)
    arguments: list[str | Path] = ["-n", f"127.0.0.1:{master.port}", ".", dest]
    done = cron(cluster.base, *arguments, mark=cluster.mark)
    assert (done.returncode, done.stdout) == (0, "")
    assert differences(source, dest) == []
    master.wait_for_children(1)
    done = cron(cluster.base, *arguments[:2], "nothing/there", dest, mark=cluster.mark)
    assert done.returncode == 4
    assert "nothing/there: not served by the master" in done.stdout

"""Measuring a tree of small files: a small run of it, its result, and what it leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from test.support.cluster import ROOT

BENCH = [sys.executable, "-m", "scripts.bench.trees"]
needs_rsync = pytest.mark.skipif(not shutil.which("rsync"), reason="it is compared with rsync, which is not installed")


@needs_rsync
def test_a_small_run_measures_everything_and_stores_it(tmp_path: Path) -> None:
    work, results = tmp_path / "work", tmp_path / "results"
    work.mkdir()
    command = [*BENCH, "--files", "250", "--repeat", "1", "--directory", str(work), "--results", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (stored,) = results.iterdir()
    assert done.stdout.splitlines()[-1] == f"stored in {stored}"
    result = json.loads(stored.read_text())
    assert result["files"] == 250
    assert 250 * 1024 <= result["size"] <= 250 * 16 * 1024
    transfers = {"xget", "rsync", "tar"}
    checks = {"client, nothing to do", "master, digest cache", "master, no cache"}
    against = {"find -ls of the tree", "find -ls of the copy"}
    assert result["seconds"].keys() == transfers | {f"{tool}: sync" for tool in transfers} | checks | against
    assert all(seconds > 0 for several in result["seconds"].values() for seconds in several)
    assert result["ratios"].keys() == {"rsync", "rsync: sync", "tar", "tar: sync"} | checks
    assert {"master", "nursery", "worker 0", "worker 1", "client", "client's node"} <= result["memory"].keys()
    assert all(size > 1 << 20 for size in result["memory"].values())
    assert {line.split("  ")[0] for line in done.stdout.splitlines()} >= transfers | checks
    assert list(work.iterdir()) == []


@needs_rsync
def test_a_tree_that_is_there_is_only_read(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"content")
    command = [*BENCH, "--tree", str(tree), "--repeat", "1", "--directory", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr is not None
        while "xget: sync" not in (line := bench.stderr.readline()):
            assert line, "it has not come so far"
        bench.terminate()
        assert bench.wait(30) == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]
    assert (tree / "file").read_bytes() == b"content"

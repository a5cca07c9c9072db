"""Measuring other people's clients: a short run of it."""

from __future__ import annotations

import subprocess
import sys

from test.support.cluster import ROOT


def test_every_client_reads_the_whole_file() -> None:
    """Each compares what it has read with the size of the file."""
    command = [sys.executable, "-m", "scripts.bench.clients", "--size", "3", "--repeat", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[1:]
    measured = {tuple(line.split()[:2]): float(line.split()[2]) for line in lines}
    expected = {("ours", "1"), ("ours", "4"), ("python-9p", "1"), ("python-9p", "4")}
    assert expected <= measured.keys() <= expected | {("diodcat", "1")}
    assert all(rate > 0 for rate in measured.values())

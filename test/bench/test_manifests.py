"""Measuring what is read of a manifest: a small run."""

from __future__ import annotations

import subprocess
import sys

from test.support.cluster import ROOT


def test_changes_read_little_of_the_manifest() -> None:
    command = [sys.executable, "-m", "scripts.bench.manifests", "--files", "20000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    rows = {line.split()[0]: int(line.split()[1].replace(",", "")) for line in done.stdout.splitlines()[1:]}
    assert list(rows) == ["(whole)", "one", "package", "added", "removed", "scattered"]
    assert max(rows["one"], rows["package"], rows["added"], rows["removed"]) < rows["(whole)"] // 10

"""Measuring updates: a small run, in which what is counted does not depend on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from test.support.cluster import ROOT

SMALL = ["--tree", "0.02", "--files", "500", "--package", "1", "--size", "0.03"]


def figures(line: str) -> tuple[int, int, int]:
    """What changed, and what was moved of content and on the wire: bytes."""
    words = line.replace(",", "").split()
    return int(words[1]), int(words[2]), int(words[4])


def test_every_update_moves_what_changed_and_hardly_more(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.bench.updates", *SMALL, "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = {line.split()[0]: figures(line) for line in done.stdout.splitlines()[1:]}
    assert list(measured) == ["unchanged", "package", "added", "removed", "grown", "large"]
    for changed, content, wire in measured.values():
        assert changed <= content * 1.2
        assert content < wire < content + 100_000
    assert measured["removed"][:2] == (0, 0)
    assert measured["package"][0] == 1_000_000
    assert list(tmp_path.iterdir()) == []


def test_more_than_the_aim_is_told(tmp_path: Path) -> None:
    """A package that is small beside the manifest."""
    command = [sys.executable, "-m", "scripts.bench.updates", *SMALL, "--package", "0.001", "--cases", "tree"]
    done = subprocess.run([*command, "--directory", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    (missed,) = [line for line in done.stdout.splitlines() if line.endswith("NO")]
    assert missed.startswith("package")

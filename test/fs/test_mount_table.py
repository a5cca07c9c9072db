"""Mounts on the way to a directory, and below it, are noticed; others are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from test.support.cluster import ROOT
from xget_lib.fs import mounts
from xget_lib.fs.mount_table import MountTable

PROGRAM = """
import os, subprocess, sys
from xget_lib.fs.mount_table import MountTable
base = os.fsencode(sys.argv[1])
table = MountTable(base + b"/on/served")
def mounted(path, *command):
    subprocess.run([*command, base + path], check=True)
    return table.changed()
tmpfs = "mount", "-t", "tmpfs", "tmpfs"
print(
    table.changed(),
    mounted(b"/other", *tmpfs),
    mounted(b"/on/served/be low", *tmpfs),
    table.changed(),
    mounted(b"/on/served/be low", "umount", "-l"),
    mounted(b"/on/served", *tmpfs),
    mounted(b"/on", *tmpfs),
)
"""


@pytest.mark.root
def test_a_mount_on_the_way_or_below_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "on" / "served" / "be low").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", PROGRAM, str(tmp_path)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert ended.stdout.split() == ["False", "False", "True", "False", "True", "True", "True"]


def test_without_a_change_nothing_is_noticed_and_without_proc_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = MountTable(bytes(tmp_path))
    assert not table.changed()
    table.close()
    monkeypatch.setattr(mounts, "MOUNTS", str(tmp_path / "nowhere"))
    assert not MountTable(bytes(tmp_path)).changed()

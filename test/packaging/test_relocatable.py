"""A tree that is unpacked anywhere, and a checkout that is copied with its environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from scripts.packaging.files import source_files
from test.packaging.packages import ROOT, Packages
from test.support.cluster import Cluster
from test.support.somebody import NOBODY
from test.support.trees import small_tree


def unpacked(packages: Packages, place: Path) -> Path:
    with tarfile.open(packages.tar()) as archive:
        archive.extractall(place)
    (tree,) = place.iterdir()
    return tree


def version(command: Path, **options: object) -> str:
    said = subprocess.run(
        [str(command), "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert said.returncode == 0, said.stderr
    return str(said.stdout)


def test_the_tree_runs_wherever_it_is_and_is_called_by_any_name(packages: Packages, tmp_path: Path) -> None:
    tree = unpacked(packages, tmp_path / "first")
    expected = f"xget {packages.release.version} (commit {packages.release.commit})\n"
    assert version(tree / "scripts/xget") == expected
    moved = tmp_path / "another place"
    shutil.copytree(tree, moved, symlinks=True)
    shutil.rmtree(tree)
    assert version(moved / "scripts/xget") == expected
    (tmp_path / "link").symlink_to(moved / "scripts/xget")
    assert version(tmp_path / "link", cwd="/") == expected


def test_the_tree_has_what_the_units_name(packages: Packages, tmp_path: Path) -> None:
    tree = unpacked(packages, tmp_path)
    for source in source_files(ROOT, ["conf", "docs", "scripts/init.d"]):
        assert (tree / source).is_file()
    assert os.access(tree / "scripts/xget", os.X_OK)


@pytest.mark.root
def test_a_shared_tree_serves_users_who_cannot_write_to_it(
    packages: Packages, cluster: Cluster, open_to_all: Path
) -> None:
    """As /opt on a network file system: nothing is written there, by root or others."""
    tree = unpacked(packages, open_to_all / "opt")
    source = small_tree(open_to_all / "served")
    files = {path: path.stat().st_mtime_ns for path in tree.rglob("*")}
    command = [str(tree / "scripts/xget"), "--dry-run", "--insecure-dest", "-n", "127.0.0.1", "-p"]
    master = cluster.master(source)
    dest = open_to_all / "copy"
    for options in ({"user": NOBODY, "group": NOBODY, "extra_groups": []}, {}):
        done = subprocess.run(
            [*command, str(master.port), ".", str(dest)],
            capture_output=True,
            text=True,
            timeout=60,
            **options,  # type: ignore[call-overload]
        )
        assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in tree.rglob("*")} == files


def test_a_copied_checkout_takes_its_environment_along(tmp_path: Path) -> None:
    """The environment names the interpreter that it was made with, which must be at the same place on every machine."""
    copy = tmp_path / "copied"
    copy.mkdir()
    for name in ("xget.py", "setup.py", "scripts", "xget_lib"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
    shutil.copytree(Path(sys.prefix), copy / ".venv", symlinks=True)
    shutil.copy(copy / "setup.py", copy / ".venv/made-for-RUNTIME")
    said = subprocess.run(
        [copy / "scripts/xget", "--version"],
        env={"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("xget ")

"""An installation without the namespace of C clients: every module loads, and a directory is copied."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from test.support import cluster as support
from test.support.cluster import ROOT, Cluster
from test.support.plain_client import PlainClient
from test.support.trees import small_tree
from xget_lib.errors import NinepError

LOAD_ALL = """
import importlib, pathlib
for path in sorted(pathlib.Path("xget_lib").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the program in which the package does not exist."""
    copy = tmp_path / "installed"
    copy.mkdir()
    shutil.copy(ROOT / "xget.py", copy)
    shutil.copytree(ROOT / "xget_lib", copy / "xget_lib", ignore=shutil.ignore_patterns("__pycache__", "classic"))
    return copy


def test_every_module_loads(installed: Path) -> None:
    subprocess.run([sys.executable, "-c", LOAD_ALL], cwd=installed, check=True, timeout=120)


def test_a_directory_is_copied_and_the_namespace_does_not_exist(
    installed: Path, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "COMMAND", [sys.executable, str(installed / "xget.py")])
    source = small_tree(tmp_path / "source")
    master = cluster.master(source)
    assert cluster.client(master, tmp_path / "dest").ended().status == 0
    for file in source.rglob("*"):
        copy = tmp_path / "dest" / file.relative_to(source)
        assert copy.is_dir() if file.is_dir() else copy.read_bytes() == file.read_bytes()
    (child,) = master.wait_for_children(1)
    for port in (master.port, child["port"]):
        with pytest.raises(NinepError, match="available: files, swarm"):
            PlainClient(port, "classic")
        with PlainClient(port, "files") as client:
            assert client.read_all("top") == b"at the top\n"

"""--exclude with a real master and clients: the same files as rsync leaves out, and keeps."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master
from test.support.plain_client import PlainClient
from test.support.trees import write
from xget_lib.errors import NinepError

NAMES = ["a/x.o", "a/keep.o", "a/y.c", "cache/1", "b/cache/2", "b/cache/deep/3", "top", "b/tmp/t", "b/tmp2"]
PATTERNS = ["+ keep.o", "*.o", "cache/", "/b/tmp"]


@pytest.fixture
def source(cluster: Cluster) -> Path:
    return made(cluster.base / "source", NAMES)


def made(top: Path, names: list[str]) -> Path:
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, name.encode())
    return top


def contents(top: Path) -> dict[str, bytes | None]:
    """Of each name below a directory: the bytes of a file, None for a directory."""
    return {
        str(path.relative_to(top)): path.read_bytes() if path.is_file() else None
        for path in top.rglob("*")
        if ".xget" not in path.relative_to(top).parts
    }


def excluding(*patterns: str) -> list[str]:
    return [f"--exclude={pattern}" for pattern in patterns]


def rsync(source: Path, dest: Path, *options: str) -> Path:
    subprocess.run(["rsync", "-a", *options, f"{source}/", f"{dest}/"], check=True, timeout=60)
    return dest


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("delete", [[], ["--delete"]], ids=["", "delete"])
def test_a_client_leaves_out_and_keeps_what_rsync_does(cluster: Cluster, source: Path, delete: list[str]) -> None:
    theirs, ours = (
        made(cluster.base / name, ["a/old", "a/old.o", "cache/mine", "other/cache/mine", "other/x", "b/tmp/mine"])
        for name in ("theirs", "ours")
    )
    rsync(source, theirs, *excluding(*PATTERNS), *delete)
    more = ["--max-delete", "100%"] if delete else []
    ended = cluster.get(cluster.master(source), ours, options=[*excluding(*PATTERNS), *delete, *more])
    assert (ended.status, ended.stderr) == (0, "")
    assert contents(ours) == contents(theirs)


def test_a_dry_run_says_so_too(cluster: Cluster, source: Path) -> None:
    dest = made(cluster.base / "dest", ["a/old.o", "a/old"])
    options = [*excluding(*PATTERNS), "--delete", "--max-delete", "100%", "--dry-run"]
    ended = cluster.get(cluster.master(source), dest, options=options)
    steps = {event["path"]: event["action"] for event in ended.events if event["event"] == "step"}
    assert steps["a/old"] == "remove"
    assert not [path for path in steps if path.endswith(("x.o", "old.o")) or "cache" in path]


def test_a_master_does_not_serve_what_it_excludes(cluster: Cluster, source: Path) -> None:
    master: Master = cluster.master(source, *excluding(*PATTERNS))
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    found = {str(path.relative_to(dest)) for path in dest.rglob("*")}
    assert found == {"a", "a/keep.o", "a/y.c", "b", "b/tmp2", "top"}
    with PlainClient(master.port, "files") as client:
        assert sorted(client.names()) == ["a", "b", "top"]
        with pytest.raises(NinepError):
            client.stat("cache", "1")
        assert sorted(client.names("a")) == ["keep.o", "y.c"]


def test_a_file_that_is_served_alone_is_served_whatever_its_name_is(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source / "a" / "x.o", "--exclude=*.o")
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    assert (dest / "x.o").read_bytes() == b"a/x.o"


def test_patterns_in_the_file_are_a_list(cluster: Cluster, source: Path) -> None:
    (cluster.base / "xget.toml").write_text('exclude = ["*.o", "cache/"]\n')
    dest = cluster.base / "dest"
    ended = cluster.get(cluster.master(source), dest, options=["--config", str(cluster.base / "xget.toml")])
    assert ended.status == 0
    assert not [path for path in dest.rglob("*") if path.name in ("cache", "x.o", "keep.o")]

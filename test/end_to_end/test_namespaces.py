"""The files of a running master and child, read by a 9P client that is not ours."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually
from test.support.plain_client import PlainClient
from test.support.trees import mixed_tree, noise, write
from xget_lib.errors import NinepError
from xget_lib.manifest import index
from xget_lib.ninep.messages import (
    ORDWR,
    OTRUNC,
    OWRITE,
    Rattach,
    Rcreate,
    Ropen,
    Rremove,
    Rwalk,
    Tattach,
    Tcreate,
    Topen,
    Tremove,
    Twalk,
)
from xget_lib.ninep.stat import DMDIR
from xget_lib.ninep.wire import NOFID


@pytest.fixture(scope="module")
def source(shared_cluster: Cluster) -> Path:
    base = shared_cluster.base
    root = mixed_tree(base / "served", files=60)
    write(root / "large", noise(1_000_000, 8))
    write(base / "outside", b"not served\n")
    os.symlink(base, root / "way out")
    os.symlink(base / "outside", root / "way to a file")
    return root


@pytest.fixture(scope="module")
def master(shared_cluster: Cluster, source: Path) -> Master:
    return shared_cluster.master(source)


@pytest.fixture(scope="module", params=["master", "child"])
def port(request: pytest.FixtureRequest, shared_cluster: Cluster, master: Master) -> int:
    """Where the same tree is served: by the master, and by a child that holds it all."""
    if request.param == "master":
        return master.port
    assert shared_cluster.client(master, shared_cluster.base / "dest").ended().status == 0
    (child,) = master.wait_for_children(1)
    return int(child["port"])


def text(path: Path) -> bool:
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def test_the_served_directory_can_be_read_as_it_is(source: Path, port: int) -> None:
    """Everything but what 9P2000 cannot express: links, and names that are no text."""
    with PlainClient(port, "files") as client:
        for directory in [source, *(path for path in source.rglob("*") if path.is_dir() and not path.is_symlink())]:
            names = directory.relative_to(source).parts
            shown = [path for path in directory.iterdir() if text(path) and not path.is_symlink()]
            assert sorted(client.names(*names)) == sorted(path.name for path in shown)
            for path in shown:
                stat, status = client.stat(*names, path.name), path.stat()
                assert stat.name == path.name
                assert stat.mode == (status.st_mode & 0o777) | (DMDIR if path.is_dir() else 0)
                assert (stat.mtime, stat.length) == (int(status.st_mtime), 0 if path.is_dir() else status.st_size)
                if path.is_file():
                    assert client.read_all(*names, path.name) == path.read_bytes()


@pytest.mark.parametrize(
    "names",
    [
        ("..", "outside"),
        ("odd", "..", "..", "outside"),
        ("../outside",),
        ("odd/nothing",),
        ("way out",),
        ("way out", "outside"),
        ("way to a file",),
        ("odd", "far"),
        ("",),
        (".xget",),
        ("odd", "no such file"),
    ],
)
def test_no_name_leads_outside_or_over_a_link(port: int, names: tuple[str, ...]) -> None:
    with PlainClient(port, "files") as client:
        with pytest.raises(NinepError):
            client.walk(*names)
        # Only the request was wrong: the connection is still good.
        assert client.read_all("odd", ".hidden") == b"hidden\n"


def test_dot_dot_at_the_root_stays_there(port: int) -> None:
    with PlainClient(port, "files") as client:
        root = client.stat().qid
        assert client.call(Twalk(0, 100, ("..", "..")), Rwalk).wqid == (root, root)
        assert client.call(Twalk(100, 101, ("odd", "..")), Rwalk).wqid[1] == root


def test_nothing_can_be_written(source: Path, port: int) -> None:
    before = {path: os.lstat(path) for path in source.rglob("*")}
    with PlainClient(port, "files") as client:
        fid = client.walk("odd", "private")
        for mode in (OWRITE, ORDWR, OTRUNC):
            with pytest.raises(NinepError, match="Read-only"):
                client.call(Topen(fid, mode), Ropen)
        with pytest.raises(NinepError):
            client.call(Tcreate(client.walk("odd"), "new", 0o644, OWRITE), Rcreate)
        with pytest.raises(NinepError):
            client.call(Tremove(fid), Rremove)
    assert {path: os.lstat(path).st_mtime_ns for path in source.rglob("*")} == {
        path: status.st_mtime_ns for path, status in before.items()
    }


def test_the_swarm_namespace_is_files_too(source: Path, master: Master, port: int) -> None:
    """Manifest, content and what is held: the same at the master and at a child."""
    status = master.status()
    with PlainClient(port, "swarm") as client:
        manifest = client.read_all("manifest")
        assert index.verify(manifest).generation.hex() == status["generation"]
        assert client.stat("manifest").length == len(manifest)
        content = client.read_all("data")
        assert len(content) == client.stat("data").length == status["bytes"]
        assert (source / "large").read_bytes() in content
        have = client.read(client.open("have"), 0)
        assert have[:32].hex() == status["generation"]
        assert sum(byte.bit_count() for byte in have[32:]) == status["chunks"]
        assert client.read_all("log") == b"0\n"


def test_who_comes_before_there_is_content_reads_when_there_is(cluster: Cluster) -> None:
    """Enough files that a master is not through with them when it can be reached."""
    source = cluster.base / "served"
    source.mkdir()
    for number in range(3000):
        (source / f"file{number}").write_bytes(b"%d" % number)
    master = cluster.master(source, wait=False)

    def connected() -> PlainClient | None:
        with suppress(ConnectionRefusedError):
            return PlainClient(master.port, "swarm")
        return None

    client = eventually(connected, "the master does not listen")
    assert client
    with client:
        with pytest.raises(NinepError, match="temporarily unavailable"):
            client.call(Tattach(100, NOFID, "glenda", "files"), Rattach)
        generation = client.read(client.open("have"), 0)[:32].hex()
        client.call(Tattach(100, NOFID, "glenda", "files"), Rattach)
    assert generation == master.status()["generation"]


def test_an_unknown_tree_is_refused_with_a_list(port: int) -> None:
    with pytest.raises(NinepError, match="files, swarm"):
        PlainClient(port, "nonsense")


def test_a_remark_of_a_node_is_one_line_of_the_masters_log(master: Master) -> None:
    with PlainClient(master.port, "swarm") as client:
        client.write(client.open("log", mode=OWRITE), b"all is well\nERROR: forged\n")
    line = master.logged("all is well")
    assert "message from 127.0.0.1: " in line
    assert "forged" in line, "two lines would let a node forge the log"


def test_a_child_of_a_part_shows_that_part_only(cluster: Cluster, master: Master) -> None:
    dest = cluster.base / "dest"
    dest.mkdir()
    write(dest / "private to the node", b"none of your business\n")
    assert cluster.client(master, dest, "odd/.hidden").ended().status == 0
    # Those of other tests hold everything.
    (child,) = [child for child in master.children() if child["held"] < master.status()["chunks"]]
    with PlainClient(child["port"], "files") as client:
        assert client.names() == [".hidden"]
        with pytest.raises(NinepError):
            client.walk("private to the node")

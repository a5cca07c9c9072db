"""Servers that lie, and content that changes behind a server's back: nothing wrong is put in place or given."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually, status_of
from test.support.plain_client import PlainClient
from test.support.relay import MIB, Relay
from test.support.trees import differences, noise, small_tree, write
from xget_lib.errors import NinepError
from xget_lib.swarm.messages import Registration

TRUTH = b"the truth, and nothing else; "
LIES = TRUTH.replace(b"truth", b"wrong")
SIZE = 8 * MIB


def lie(data: bytes) -> bytes:
    return data.replace(b"truth", b"wrong")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = small_tree(tmp_path / "served")
    write(root / "large", (TRUTH * (SIZE // len(TRUTH) + 1))[:SIZE])
    return root


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


def test_content_that_fails_verification_and_has_no_other_source_is_status_5(cluster: Cluster, master: Master) -> None:
    dest = cluster.base / "dest"
    with Relay(master.port, alter=lie) as liar:
        ended = cluster.get(liar, dest, options=["-r", "1"])
    assert ended.status == ended.done["exit"] == 5
    assert re.match(r"xget: large: content from \S+ failed verification", ended.stderr), ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (dest / "large").exists()


def test_a_peer_that_lies_is_dropped_and_reported_and_the_download_succeeds(
    cluster: Cluster, master: Master, source: Path
) -> None:
    """The liar has all that the master has, and says it wrong. The master gives nothing until that is found out."""
    status = master.status()
    with (
        Relay(master.port, alter=lie) as liar,
        Relay(master.port, hold_after=20_000) as relay,
        PlainClient(master.port, "swarm") as accomplice,
    ):
        registration = Registration(liar.port, bytes.fromhex(status["generation"]), status["chunks"])
        accomplice.write(accomplice.open("peers", mode=2), registration.encode())
        eventually(master.children, "the liar is registered")
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        said = master.logged("wrong content")
        client.events("progress", 2)
        told = master.log.read_text().count("wrong content")  # of all that was on its way
        # Longer than it takes to come back to a peer that was only lost.
        client.events("progress", 8)
        assert master.log.read_text().count("wrong content") == told, "the liar was asked again"
        relay.open()
        ended = client.ended()
    assert f"wrong content from 127.0.0.1:{liar.port}" in said
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []
    assert ended.done["fetched"] == ended.done["bytes"], "what was wrong does not count"


def test_a_manifest_that_is_not_that_of_the_generation_is_refused(cluster: Cluster, master: Master) -> None:
    dest = cluster.base / "dest"
    with Relay(master.port, alter=lambda data: data.replace(b"file1", b"fileX")) as liar:
        ended = cluster.get(liar, dest, options=["--timeout", "5"])
    assert ended.status == 5
    assert ended.stderr.startswith("xget: invalid manifest: ")
    assert not (dest / "fileX").exists()


def test_a_server_that_is_no_9p_server_is_not_a_master(cluster: Cluster, master: Master) -> None:
    with Relay(master.port, alter=lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n") as stranger:
        ended = cluster.get(stranger, cluster.base / "dest", options=["--timeout", "1"])
    assert ended.status == 3
    assert "cannot reach the master at 127.0.0.1" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("change", ["content", "time", "replaced", "removed"])
def test_a_child_does_not_serve_a_file_any_more_that_was_changed(
    cluster: Cluster, master: Master, source: Path, change: str
) -> None:
    dest = cluster.base / "dest"
    assert cluster.client(master, dest).ended().status == 0
    (child,) = master.wait_for_children(1)
    large = dest / "large"
    if change == "content":  # without a trace in what `ls` shows
        kept = os.stat(large)
        with open(large, "r+b") as file:
            file.write(LIES)
        os.utime(large, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    elif change == "time":
        os.utime(large)
    elif change == "replaced":
        write(dest / "other", lie(large.read_bytes()))
        os.rename(dest / "other", large)
    else:
        os.unlink(large)

    chunks = master.status()["chunks"]
    with PlainClient(child["port"], "swarm") as client:
        data = client.open("data")
        size = client.stat("data").length
        with pytest.raises(NinepError, match=r"stale generation|not held"):
            for offset in range(0, size, 60_000):
                assert b"wrong" not in client.read(data, offset, 60_000)
    eventually(lambda: status_of(child["port"])["held"] < chunks, "the child says that it holds less")

    # Others get the right content, from the master.
    another = cluster.get(master, cluster.base / "another")
    assert another.status == 0
    assert another.done["from_master"] >= SIZE
    assert differences(source, cluster.base / "another") == []


def test_a_run_on_a_changed_copy_repairs_it(cluster: Cluster, master: Master, source: Path) -> None:
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    with open(dest / "large", "r+b") as file:
        file.seek(3 * MIB)
        file.write(LIES)
    write(dest / "top", b"not at the top\n")
    os.unlink(dest / "a" / "other")
    os.chmod(dest / "a" / "b", 0o700)
    repaired = cluster.get(master, dest)
    assert repaired.status == 0
    assert 0 < repaired.done["fetched"] < MIB
    assert differences(source, dest) == []


def test_a_master_whose_file_changed_serves_no_mixture(cluster: Cluster, source: Path) -> None:
    """Nobody told the master: it finds out when it would send, looks again, and the client gets the new content."""
    master = cluster.master(source)
    before = master.status()["generation"]
    write(source / "large", (LIES * (SIZE // len(LIES) + 1))[:SIZE])
    client = cluster.client(master, cluster.base / "dest", options=["--linger", "0"])
    eventually(lambda: master.status()["generation"] != before, "a new generation")
    ended = client.ended()
    assert ended.status == 0
    assert ended.done["generation"] == master.status()["generation"] != before
    assert differences(source, cluster.base / "dest") == []


def test_a_file_with_the_right_size_and_time_and_other_content_is_repaired_by_the_child(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Small files share a chunk: one that came and was verified does not vouch for one that was here."""
    source = small_tree(tmp_path / "served")
    master = cluster.master(source)
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    status = os.stat(dest / "top")
    (dest / "top").write_bytes(b"at the pot\n")
    os.utime(dest / "top", ns=(status.st_atime_ns, status.st_mtime_ns))
    (dest / "a" / "other").unlink()
    log = cluster.base / "child.log"
    ended = cluster.client(master, dest, options=["--log", str(log)]).ended()
    assert (ended.status, ended.done["unchanged"]) == (0, len(files_of(source)) - 1)
    (child,) = eventually(master.children, "no child")
    eventually(lambda: "top: size and time match, but the content does not" in log.read_text(), "the damage is noticed")
    eventually(lambda: "repaired 1 of the files" in log.read_text(), "the damage is repaired")
    assert differences(source, dest) == []
    eventually(lambda: status_of(child["port"])["held"] == master.status()["chunks"], "all is served")


def files_of(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]


def test_a_nightly_run_gets_an_image_that_was_rebuilt_with_the_same_size_and_time(
    cluster: Cluster, tmp_path: Path
) -> None:
    source, dest = tmp_path / "served", cluster.base / "dest"
    source.mkdir()
    write(source / "root.img", noise(2 * MIB, 1))
    master = cluster.master(source)
    assert cluster.get(master, dest).status == 0
    before = master.status()["generation"]
    write(source / "root.img", noise(2 * MIB, 2))
    master.signal(signal.SIGHUP)
    eventually(lambda: master.status()["generation"] != before, "a new generation")
    ended = cluster.get(master, dest)
    assert (ended.status, ended.done["fetched"], ended.done["unchanged"]) == (0, 2 * MIB, 0)
    assert differences(source, dest) == []
    assert cluster.get(master, dest).done["unchanged"] == 1

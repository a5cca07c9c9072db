"""What lands where, and what of it is preserved."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually
from test.support.trees import MOMENT, differences, mixed_tree, noise, small_tree, write


def landed(dest: Path) -> list[str]:
    """The files and directories below a destination."""
    return sorted(str(path.relative_to(dest)) for path in dest.rglob("*"))


CONTENT = {"top": b"at the top\n", "file1": noise(200_000, 1), "file2": b"two\n", "other": b"other\n"}


def test_what_the_master_writes_itself_is_no_content_and_makes_no_generation(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    log, cache = source / "log", source / "cache"
    master = cluster.master(source, "--log", str(log), "--cache", str(cache))
    eventually(lambda: cache.exists() and list(cache.iterdir()), "digests are saved")
    assert cluster.run("-p", str(master.port), "reload").status == 0  # the directory for them is new
    generation, before = master.status()["generation"], log.read_text()
    ended = cluster.get(master, cluster.base / "dest")
    eventually(lambda: log.read_text() != before, "the log has another line")
    assert cluster.run("-p", str(master.port), "reload").status == 0
    assert master.status()["generation"] == generation
    assert not {"log", "cache"} & {path.name for path in (cluster.base / "dest").iterdir()}
    assert ended.status == 0 and "what this master writes itself" in " ".join(ended.done["notes"])


@pytest.fixture(scope="module")
def small_master(shared_cluster: Cluster) -> Master:
    return shared_cluster.master(small_tree(shared_cluster.base / "served"))


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["."], ["a", "a/b", "a/b/file1", "a/b/file2", "a/other", "top"]),
        (["a/b/file1"], ["file1"]),
        (["a/b"], ["b", "b/file1", "b/file2"]),
        (["./a//b/"], ["b", "b/file1", "b/file2"]),
        (["a/b/file2", "top", "a/b"], None),  # file2 would land twice
        (["a/b/file1", "top", "a/other"], ["file1", "other", "top"]),
        (["a/b", "top"], ["b", "b/file1", "b/file2", "top"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_source_lands_under_its_last_name(
    small_master: Master, cluster: Cluster, sources: list[str], expected: list[str] | None
) -> None:
    dest = cluster.base / "dest"
    ended = cluster.get(small_master, dest, *sources)
    if expected is None:
        assert ended.status == 2
        assert not dest.exists() or landed(dest) == []
        return
    assert ended.status == 0
    assert landed(dest) == expected
    for name, content in CONTENT.items():
        for place in (dest / name, dest / "a" / name, dest / "b" / name, dest / "a" / "b" / name):
            assert not place.exists() or place.read_bytes() == content


def test_a_master_of_one_file_serves_just_that(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    master = cluster.master(source / "a" / "b" / "file1")
    for number, name in enumerate((".", "file1")):
        dest = cluster.base / f"dest{number}"
        assert cluster.get(master, dest, name).status == 0
        assert landed(dest) == ["file1"]
        assert (dest / "file1").read_bytes() == (source / "a" / "b" / "file1").read_bytes()
        assert os.stat(dest / "file1").st_mtime_ns == MOMENT
    refused = cluster.get(master, cluster.base / "no", "file2")
    assert refused.status == 4


def test_a_run_with_nothing_to_do_fetches_nothing_and_says_so(cluster: Cluster) -> None:
    source = mixed_tree(cluster.base / "served", files=40)
    write(source / "large", noise(3 << 20, 4))
    master = cluster.master(source)
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    before = {path: os.lstat(path) for path in dest.rglob("*")}
    again = cluster.get(master, dest)
    assert again.status == 0
    assert (again.done["fetched"], again.done["reused"]) == (0, again.done["bytes"])
    after = {path: os.lstat(path) for path in dest.rglob("*")}
    assert {path: (status.st_ino, status.st_mtime_ns) for path, status in after.items()} == {
        path: (status.st_ino, status.st_mtime_ns) for path, status in before.items()
    }
    said = cluster.run("-n", "127.0.0.1", "-p", str(master.port), "--linger", "0", ".", dest)
    assert (said.status, said.stderr) == (0, "")
    assert said.stdout.count("\n") == 1
    assert "nothing to fetch" in said.stdout


@pytest.mark.root
def test_root_preserves_owners_and_o_does_not(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    os.chown(source / "top", 12345, 23456)
    os.chown(source / "a", 1, 1)
    master = cluster.master(source)
    assert cluster.get(master, cluster.base / "owners").status == 0
    assert differences(source, cluster.base / "owners") == []
    assert cluster.get(master, cluster.base / "none", options=["-o"]).status == 0
    status = os.stat(cluster.base / "none" / "top")
    assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())


def test_without_permissions_the_umask_decides(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    write(source / "tool", b"#!/bin/sh\n", mode=0o4755)
    dest = cluster.base / "dest"
    assert cluster.get(cluster.master(source), dest, options=["-s"], umask=0o027).status == 0
    modes = {name: stat.S_IMODE(os.stat(dest / name).st_mode) for name in ("top", "a/b/file2", "a/b")}
    assert modes == {"top": 0o640, "a/b/file2": 0o600, "a/b": 0o750}
    assert not os.stat(dest / "tool").st_mode & stat.S_ISUID


def test_a_client_can_serve_what_only_part_of_was_asked_for(cluster: Cluster) -> None:
    """A hard link whose first name was not asked for is a file of its own."""
    source = mixed_tree(cluster.base / "served", files=14)
    dest = cluster.base / "dest"
    assert cluster.get(cluster.master(source), dest, "odd/second").status == 0
    assert landed(dest) == ["second"]
    assert (dest / "second").read_bytes() == (source / "odd" / "second").read_bytes()
    assert os.stat(dest / "second").st_nlink == 1


def test_names_that_are_no_text_can_be_asked_for(cluster: Cluster) -> None:
    source = mixed_tree(cluster.base / "served", files=7)
    dest = cluster.base / "dest"
    name = os.fsdecode(b"odd/not \xff\xfe UTF-8")
    assert cluster.get(cluster.master(source), dest, name).status == 0
    assert os.listdir(bytes(dest)) == [b"not \xff\xfe UTF-8"]


def works(command: list[str]) -> bool:
    """Whether a program is there and may do what it is asked here."""
    return shutil.which(command[0]) is not None and not subprocess.run([*command, "true"], check=False).returncode


# Root, but bound by permissions like everybody: other users need not reach the Python that runs us.
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
NOBODY = ["unshare", "--user"]


@pytest.mark.skipif(bool(BOUND) and not works(BOUND), reason="setpriv is missing")
def test_what_cannot_be_read_is_said_in_the_log_and_the_rest_is_served(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    write(source / "secret", b"secret\n", mode=0)
    (source / "closed").mkdir(mode=0)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(source / "socket"))
    master = cluster.master(source, prefix=BOUND)
    for name in ("secret", "closed", "socket"):
        master.logged(f"not served: {name}: ")
    dest = cluster.base / "dest"
    ended = cluster.get(master, dest)
    assert ended.status == 1
    assert "closed and 1 other: not readable at the master: Permission denied" in ended.stderr
    expected = [path for path in landed(source) if path not in ("secret", "socket")]
    # A directory that nobody can look into is one, and as good as empty.
    assert landed(dest) in (expected, [path for path in expected if path != "closed"])


@pytest.mark.skipif(not works(NOBODY), reason="no user namespaces here")
def test_a_client_that_is_not_root_leaves_owners_alone_and_says_so_once(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    dest = cluster.base / "dest"
    master = cluster.master(source)
    where = ["-n", "127.0.0.1", "-p", str(master.port), "--linger", "0", ".", str(dest)]
    for _ in range(2):
        ended = cluster.run(*where, prefix=NOBODY)
        assert ended.status == 0
        assert ended.stderr.count("\n") == 1
        assert "owner" in ended.stderr
    assert landed(dest) == landed(source)
    assert os.stat(dest / "top").st_uid == os.geteuid()


def test_holes_and_large_files_of_zeros_cost_nothing(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    with open(source / "holes", "wb") as file:
        file.truncate(64 << 20)
        file.seek(40 << 20)
        file.write(b"in the midst of nothing")
    dest = cluster.base / "dest"
    ended = cluster.get(cluster.master(source), dest)
    assert ended.status == 0
    assert differences(source, dest) == []
    eventually(lambda: os.stat(dest / "holes").st_blocks * 512 < 8 << 20, "holes stay holes")

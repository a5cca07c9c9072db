"""Odd places to start in, and odd destinations: it works, or one line says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, Master
from test.support.mounted import where
from test.support.trees import differences, small_tree, write

GONE = ["sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh"]
"""The words before a command that starts in a directory that was removed."""


@pytest.fixture
def source(cluster: Cluster) -> Path:
    return small_tree(cluster.base / "served")


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


def line(ended: Ended) -> str:
    """The only line of errors, without its beginning."""
    assert ended.stderr.startswith("xget: ") and ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr.removeprefix("xget: ").rstrip("\n")


# The current directory.


def test_in_a_directory_that_was_removed_absolute_paths_work(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source, prefix=GONE)
    ended = cluster.get(master, cluster.base / "dest", prefix=GONE)
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []


@pytest.mark.parametrize(
    "arguments", [["-n", "127.0.0.1", ".", "dest"], ["served"], ["--log", "log", "/"]], ids=lambda words: words[0]
)
def test_in_a_directory_that_was_removed_relative_paths_are_refused_in_words(
    cluster: Cluster, arguments: list[str]
) -> None:
    ended = cluster.run(*arguments, prefix=GONE)
    assert ended.status == 2
    assert line(ended).endswith(": the current directory does not exist any more (give an absolute path)")


# The destination.


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=" ".join)
def test_a_destination_that_is_a_link_to_nothing_is_refused_in_words(
    cluster: Cluster, master: Master, options: tuple[str, ...]
) -> None:
    dest = cluster.base / "dest"
    dest.symlink_to("nowhere")
    ended = cluster.get(master, dest, options=options)
    why = "a symbolic link to nowhere, which does not exist (create that directory, or remove the link)"
    assert (ended.status, line(ended)) == (6, f"{dest}: {why}")
    assert not (cluster.base / "nowhere").exists()


def test_a_destination_in_proc_is_refused_in_words(cluster: Cluster, master: Master) -> None:
    dest = Path("/proc/1/new")
    ended = cluster.get(master, dest)
    assert (ended.status, line(ended)) == (6, f"{dest}: no directory can be created here (choose another destination)")


READ_ONLY = "mount --bind '{0}' '{0}'; mount -o remount,ro,bind '{0}'"


@pytest.mark.root
def test_a_read_only_destination_where_all_is_up_to_date_is_a_success(
    cluster: Cluster, source: Path, master: Master
) -> None:
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    (dest / ".xget" / "parts").mkdir(parents=True)  # as if the first run had been interrupted at its very end
    os.utime(dest, ns=(0, source.stat().st_mtime_ns))
    for options in ((), ("--checksum",), ("--dry-run",)):
        ended = cluster.get(master, dest, options=options, prefix=where(READ_ONLY.format(dest)))
        assert (ended.status, ended.stderr) == (0, "")
        assert ended.done.get("fetched", 0) == 0


@pytest.mark.root
@pytest.mark.parametrize("change", ["content", "time of the directory", "surplus"])
def test_a_read_only_destination_where_anything_differs_is_refused_and_nothing_is_fetched(
    cluster: Cluster, source: Path, master: Master, change: str
) -> None:
    dest = cluster.base / "dest"
    assert cluster.get(master, dest).status == 0
    if change == "content":
        write(dest / "a" / "b" / "file1", b"another", mtime=1)
    elif change == "surplus":
        write(dest / "surplus", b"not the master's")
        os.utime(dest, ns=(0, source.stat().st_mtime_ns))
    else:
        os.utime(dest / "a", ns=(0, 0))
    ended = cluster.get(master, dest, options=["--delete"], prefix=where(READ_ONLY.format(dest)))
    assert ended.status == 6 and "Read-only file system" in line(ended)
    assert ended.done["fetched"] == 0


# What else may be missing.


@pytest.mark.root
def test_without_any_device_a_copy_goes_to_the_background_and_serves(cluster: Cluster, source: Path) -> None:
    """No /dev/null, no /dev/stdin, no /dev/log."""
    no_dev = where("mount -t tmpfs none /dev")
    master = cluster.master(source, prefix=no_dev)
    client = cluster.client(master, cluster.base / "dest", options=["--linger", "forever"], prefix=no_dev)
    assert client.ended().status == 0
    (child,) = master.wait_for_children(1)
    assert child["held"] == master.status()["chunks"]
    assert differences(source, cluster.base / "dest") == []


@pytest.mark.root
def test_without_any_device_and_with_nothing_open_a_copy_is_made(cluster: Cluster, source: Path) -> None:
    closed = where("mount -t tmpfs none /dev; exec <&- >&- 2>&-")
    ended = cluster.get(cluster.master(source), cluster.base / "dest", prefix=closed)
    assert (ended.status, ended.stdout, ended.stderr) == (0, "", "")
    assert differences(source, cluster.base / "dest") == []


@pytest.mark.root
def test_without_a_home_and_any_other_variable_master_and_client_work(cluster: Cluster, source: Path) -> None:
    bare = ["env", "-i", f"XDG_CACHE_HOME={cluster.base}/cache", f"XGET_TEST_OF={cluster.mark}"]
    master = cluster.master(source, prefix=bare)
    assert cluster.get(master, cluster.base / "dest", prefix=bare).status == 0

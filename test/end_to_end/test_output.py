"""What is printed, where it cannot be printed, or where the system lacks what is usual."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, Master
from test.support.trees import differences, small_tree, write

NAMES = [b"bad\xffname", "日本語".encode(), b"new\nline", b"esc\x1b[31m", b" lead", b"-dash"]


@pytest.fixture(scope="module")
def odd_names(shared_cluster: Cluster) -> Master:
    source = small_tree(shared_cluster.base / "served")
    for name in NAMES:
        write(source / os.fsdecode(name), b"x")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "söck\x1b"))
    return shared_cluster.master(source)


def get(cluster: Cluster, master: Master, *arguments: str | Path, **options: object) -> Ended:
    where = ["-n", "127.0.0.1", "-p", str(master.port), "--linger", "0"]
    return cluster.run(*where, *arguments, **options)


@pytest.mark.parametrize("environment", ["LC_ALL=C", "PYTHONIOENCODING=ascii", "PYTHONIOENCODING=latin-1"])
@pytest.mark.parametrize("options", [["--dry-run"], ["--dry-run", "--json"], ["-v"]], ids=" ".join)
def test_any_name_is_printed_in_any_character_set(
    cluster: Cluster, odd_names: Master, environment: str, options: list[str]
) -> None:
    name, _, value = environment.partition("=")
    ended = get(cluster, odd_names, *options, ".", cluster.base / "dest", environment={name: value})
    assert ended.status == 0
    assert "\x1b" not in ended.stdout + ended.stderr
    if "--json" in options:
        assert ended.done["exit"] == 0
    elif "--dry-run" in options:
        assert len(ended.stdout.splitlines()) > len(NAMES)
    else:
        assert "skipped: a socket" in ended.stderr


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_a_source(cluster: Cluster, odd_names: Master, name: bytes) -> None:
    dest = cluster.base / "dest"
    ended = get(cluster, odd_names, "--", os.fsdecode(name), dest)
    assert (ended.status, ended.stderr, os.listdir(os.fsencode(dest))) == (0, "", [name])


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["lines", "json"])
def test_a_full_stdout_costs_the_output_and_not_the_copy(
    cluster: Cluster, odd_names: Master, options: list[str]
) -> None:
    full = ["sh", "-c", 'exec "$@" >/dev/full', "sh"]
    ended = get(cluster, odd_names, *options, "top", cluster.base / "dest", prefix=full)
    assert ended.status == 1
    assert ended.stderr == (
        "xget: stdout: No space left on device (everything is in place, but its output is not complete)\n"
    )
    assert (cluster.base / "dest" / "top").read_bytes() == b"at the top\n"


@pytest.mark.parametrize("stream", [1, 2], ids=["stdout", "stderr"])
def test_a_reader_that_goes_away_does_not_end_the_copy(cluster: Cluster, odd_names: Master, stream: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    broken = ["bash", "-c", f'exec "$@" {stream}>&{writer}', "sh"]
    try:
        ended = get(cluster, odd_names, "-v", ".", cluster.base / "dest", prefix=broken, pass_fds=[writer])
    finally:
        os.close(writer)
    assert ended.status == 0
    assert (cluster.base / "dest" / "top").read_bytes() == b"at the top\n"


@pytest.mark.root
@pytest.mark.parametrize("closed", ["", "<&- >&- 2>&-"], ids=["open", "closed"])
def test_nothing_in_dev_is_needed(cluster: Cluster, odd_names: Master, closed: str) -> None:
    """Early in a boot, or in a chroot. The child that stays behind has descriptors too."""
    bare = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none /dev && exec "$@" {closed}', "sh"]
    ended = get(cluster, odd_names, "top", cluster.base / "dest", "--linger", "0.1", prefix=bare)
    assert (ended.status, ended.stderr) == (0, "")
    assert (cluster.base / "dest" / "top").read_bytes() == b"at the top\n"


@pytest.mark.root
def test_a_master_needs_nothing_in_dev(cluster: Cluster) -> None:
    source = small_tree(cluster.base / "served")
    bare = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"]
    master = cluster.master(source, prefix=bare)
    assert get(cluster, master, ".", cluster.base / "dest").status == 0
    assert differences(source, cluster.base / "dest") == []


def test_a_relative_destination_in_a_directory_that_was_removed_is_named(cluster: Cluster, odd_names: Master) -> None:
    (cluster.base / "gone").mkdir()
    removed = ["sh", "-c", 'cd gone && rmdir ../gone && exec "$@"', "sh"]
    ended = get(cluster, odd_names, "top", "dest", prefix=removed)
    assert ended.status == 2
    assert ended.stderr == "xget: dest: the current directory does not exist any more (give an absolute path)\n"


def test_a_usage_error_with_json_is_two_events(cluster: Cluster) -> None:
    ended = cluster.run("--json", "--dleete", "-n", "head", ".", "dest")
    assert (ended.status, [json.loads(line)["event"] for line in ended.stdout.splitlines()]) == (2, ["error", "done"])
    assert ended.stderr == "xget: unknown option --dleete (did you mean --delete?)\n"

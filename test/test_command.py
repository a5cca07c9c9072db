"""The command as scripts see it: exit statuses, errors of one line, the summary, and the events of --json.

Scripts depend on the exit statuses (docs/operations.md). Real runs reach most of them here; 5, 130 and 143 are in
test/end_to_end (test_trust.py, test_resume.py).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.cluster import COMMAND, Cluster, Ended, Master, free_port
from test.support.processes import PATIENCE
from test.support.relay import MIB, Relay
from test.support.somebody import NOBODY
from test.support.trees import noise, small_tree, write


@pytest.fixture(scope="module")
def master(shared_cluster: Cluster) -> Master:
    source = small_tree(shared_cluster.base / "served")
    write(source / "large", noise(4 * MIB, 2))
    return shared_cluster.master(source)


def one_line(ended: Ended, status: int) -> str:
    """The line that an error is, without `xget: `; nothing on stdout."""
    assert (ended.status, ended.stdout) == (status, ""), ended
    assert ended.stderr.startswith("xget: ")
    assert ended.stderr.count("\n") == 1
    return ended.stderr.removeprefix("xget: ").rstrip("\n")


def get(cluster: Cluster, master: Master, *arguments: str | Path) -> Ended:
    """A client as people run it, with its summary for people."""
    return cluster.run("-n", "127.0.0.1", "-p", str(master.port), "--linger", "0", *arguments)


# 0


def test_success_prints_one_line_with_the_sources(cluster: Cluster, master: Master) -> None:
    ended = get(cluster, master, ".", cluster.base / "dest")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.startswith("xget: 5 files, 4.2 MiB in place: fetched and verified 4.2 MiB in ")
    assert "4.2 MiB from the master" in ended.stdout
    assert ended.stdout.count("\n") == 1, "nothing is left behind"


def test_quiet_prints_errors_only(cluster: Cluster, master: Master) -> None:
    ended = get(cluster, master, "-q", ".", cluster.base / "dest")
    assert (ended.status, ended.stdout, ended.stderr) == (0, "", "")
    one_line(get(cluster, master, "-q", "missing", cluster.base / "dest"), 4)


def test_off_a_terminal_there_is_no_progress_bar(cluster: Cluster, master: Master) -> None:
    ended = get(cluster, master, "-v", ".", cluster.base / "dest")
    assert ended.status == 0
    assert "\r" not in ended.stdout + ended.stderr


def test_events_are_one_object_per_line_and_done_is_the_last(cluster: Cluster, master: Master) -> None:
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        client.progressed()
        relay.open()
        ended = client.ended()
    assert (ended.status, ended.stderr) == (0, "")
    kinds = [event["event"] for event in ended.events]
    assert kinds[0] == "start"
    assert kinds[-1] == "done"
    assert set(kinds[1:-1]) <= {"progress", "stall"}
    assert "progress" in kinds
    times = [event["time"] for event in ended.events]
    assert times == sorted(times)
    start, done = ended.events[0], ended.done
    size = 4 * MIB + 200_000 + sum(map(len, (b"at the top\n", b"two\n", b"other\n")))
    assert (start["files"], start["bytes"], start["generation"]) == (5, size, master.status()["generation"])
    wanted = {"exit": 0, "generation": start["generation"], "files": 5, "bytes": size, "reused": 0, "peers": 0}
    assert {key: done[key] for key in wanted} == wanted
    assert done["from_master"] == done["fetched"] >= size
    assert done["seconds"] > 0


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"]])
def test_help_and_version_exit_with_0(cluster: Cluster, arguments: list[str]) -> None:
    ended = cluster.run(*arguments)
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.startswith("xget")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_master_is_reached_by_ipv4_ipv6_and_name(cluster: Cluster, master: Master, host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    dest = cluster.base / "dest"
    ended = cluster.run("-n", host, "-p", str(master.port), "--linger", "0", "top", dest)
    assert (ended.status, ended.stderr) == (0, "")
    assert (dest / "top").read_bytes() == b"at the top\n"


def test_a_closed_stdout_pipe_prints_nothing(cluster: Cluster) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(
        [*COMMAND, "--help"], stdout=write_end, stderr=subprocess.PIPE, timeout=PATIENCE, check=False
    )
    os.close(write_end)
    assert ended.stderr == b""


# 1


@pytest.mark.parametrize(
    ("path", "why"), [("missing", "no such file or directory"), ("pipe", "neither a directory nor a regular file")]
)
def test_a_path_that_cannot_be_served_is_status_1(cluster: Cluster, path: str, why: str) -> None:
    os.mkfifo(cluster.base / "pipe")
    line = one_line(cluster.run("-p", str(free_port()), cluster.base / path), 1)
    assert line.lower() == f"{cluster.base / path}: {why}".lower()


def test_a_port_in_use_is_status_1_and_says_what_to_do(cluster: Cluster, master: Master) -> None:
    line = one_line(cluster.run("-p", str(master.port), cluster.base), 1)
    assert line.lower().startswith(f"cannot listen on any address port {master.port}: address already in use")
    assert "-p" in line
    # A daemon says so as well, and before it is one.
    assert one_line(cluster.run("--daemon", "-p", str(master.port), cluster.base), 1) == line


def test_an_address_of_another_machine_is_status_1(cluster: Cluster) -> None:
    line = one_line(cluster.run("--bind", "192.0.2.1", "-p", str(free_port()), cluster.base), 1)
    assert line.startswith("cannot listen on 192.0.2.1 port ")


def test_a_log_that_cannot_be_written_is_status_1(cluster: Cluster, master: Master) -> None:
    log = cluster.base / "missing" / "log"
    assert "No such file" in one_line(cluster.run("-p", str(free_port()), "--log", log, cluster.base), 1)
    assert "No such file" in one_line(get(cluster, master, "--log", log, ".", cluster.base / "dest"), 1)


# 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--no-such-option", "."],
        ["one", "two"],
        ["-n", "127.0.0.1", "."],
        ["-n", "127.0.0.1", "..", "dest"],
        ["-n", "127.0.0.1", "a/../b", "dest"],
        ["-n", "127.0.0.1", "/etc", "dest"],
        ["-n", "127.0.0.1", "", "dest"],
        ["-p", "0", "."],
        ["-p", "65536", "."],
        ["-p", "nine", "."],
        ["-w", "0", "."],
        ["--timeout", "soon", "."],
        ["--linger", "-1", "."],
        ["--config", "missing.toml", "."],
    ],
    ids=" ".join,
)
def test_a_wrong_argument_is_status_2_and_nothing_is_made(cluster: Cluster, arguments: list[str]) -> None:
    one_line(cluster.run(*arguments), 2)
    assert [path.name for path in cluster.base.iterdir()] == []


def test_an_unknown_option_in_the_config_file_is_status_2(cluster: Cluster) -> None:
    (cluster.base / "xget.toml").write_text("prot = 20004\n")
    assert "'prot'" in one_line(cluster.run("--config", "xget.toml", "."), 2)


def test_options_are_read_from_a_file(cluster: Cluster, master: Master) -> None:
    config = cluster.base / "xget.toml"
    config.write_text(f'host = "127.0.0.1"\nport = {master.port}\nlinger = 0\nquiet = true\n')
    ended = cluster.run("--config", config, "top", cluster.base / "dest")
    assert (ended.status, ended.stdout, ended.stderr) == (0, "", "")
    assert (cluster.base / "dest" / "top").read_bytes() == b"at the top\n"


# 3


def test_a_master_that_does_not_answer_is_status_3(cluster: Cluster) -> None:
    port = free_port()
    where = ["-n", "127.0.0.1", "-p", str(port), "--timeout", "0.5"]
    line = one_line(cluster.run(*where, ".", cluster.base / "dest"), 3)
    assert line.startswith(f"cannot reach the master at 127.0.0.1 port {port}: Connection refused")
    one_line(cluster.run("status", *where), 3)
    assert not (cluster.base / "dest").exists()


def test_a_master_that_accepts_and_says_nothing_is_status_3(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = ["-n", "127.0.0.1", "-p", str(silent.getsockname()[1]), "--timeout", "0.5"]
        one_line(cluster.run(*where, ".", cluster.base / "dest"), 3)


def test_a_master_whose_name_is_unknown_is_status_3(cluster: Cluster) -> None:
    where = ["-n", "no-such-host.invalid", "--timeout", "0.5"]
    assert "no-such-host.invalid" in one_line(cluster.run(*where, ".", cluster.base / "dest"), 3)


def test_a_client_waits_for_a_master_that_starts_later(cluster: Cluster) -> None:
    """Nodes boot before masters."""
    port = free_port()
    where = ["-n", "127.0.0.1", "-p", str(port), "--linger", "0", "--timeout", "20"]
    client = cluster.start(*where, ".", cluster.base / "dest")
    client.background()
    cluster.master(small_tree(cluster.base / "served"), port=port)
    assert client.ended().status == 0


# 4


def test_a_source_that_is_not_served_is_status_4_and_nothing_is_written(cluster: Cluster, master: Master) -> None:
    dest = cluster.base / "dest"
    line = one_line(get(cluster, master, "top", "a/missing", dest), 4)
    assert line == "a/missing: not served by the master (nothing was written)"
    assert not dest.exists()
    ended = cluster.get(master, dest, "missing")
    assert (ended.status, ended.done["exit"], ended.done["fetched"]) == (4, 4, 0)
    assert ended.events[-2]["event"] == "error"


# 6


def test_a_destination_that_is_a_file_is_status_6(cluster: Cluster, master: Master) -> None:
    (cluster.base / "file").write_bytes(b"mine\n")
    assert one_line(get(cluster, master, ".", cluster.base / "file"), 6).startswith(f"{cluster.base / 'file'}: ")
    assert (cluster.base / "file").read_bytes() == b"mine\n"


def test_a_destination_whose_parent_is_missing_is_status_6(cluster: Cluster, master: Master) -> None:
    dest = cluster.base / "missing" / "dest"
    assert one_line(get(cluster, master, ".", dest), 6).startswith(f"{dest}: ")


def test_a_directory_where_a_file_must_be_is_status_6(cluster: Cluster, master: Master) -> None:
    dest = cluster.base / "dest"
    (dest / "top" / "of mine").mkdir(parents=True)
    assert "top" in one_line(get(cluster, master, "top", dest), 6)
    assert (dest / "top" / "of mine").is_dir()


@pytest.mark.root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="root writes everywhere, and setpriv is missing")
def test_a_destination_that_may_not_be_written_is_status_6(cluster: Cluster, master: Master) -> None:
    dest = cluster.base / "dest"
    dest.mkdir(mode=0o555)
    os.chown(dest, NOBODY, NOBODY)  # its owner would make it writable
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
    where = ["-n", "127.0.0.1", "-p", str(master.port), "--linger", "0", "--insecure-dest"]
    line = one_line(cluster.run(*where, ".", dest, prefix=bound), 6)
    assert line.startswith(str(dest))
    assert line.lower().endswith("permission denied")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "xget-test", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_without_room_is_status_6_before_anything_is_fetched(
    cluster: Cluster, master: Master, small_disk: Path
) -> None:
    ended = cluster.get(master, small_disk / "dest")
    assert (ended.status, ended.done["fetched"]) == (6, 0)
    assert "disk full" in ended.stderr


def test_a_disk_that_becomes_full_is_status_6(cluster: Cluster, master: Master) -> None:
    """A limit on the size of files is told in the same way, and needs no disk."""
    ended = cluster.get(master, cluster.base / "dest", prefix=["prlimit", f"--fsize={MIB}:{MIB}"])
    assert ended.status == ended.done["exit"] == 6
    assert ended.stderr.count("\n") == 1
    assert not (cluster.base / "dest" / "large").exists()

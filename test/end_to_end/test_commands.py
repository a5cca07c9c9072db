"""status, stop and list, with real masters and clients on this machine."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, ended_by_itself, eventually, free_port
from test.support.relay import Relay
from test.support.trees import small_tree

HOST = os.uname().nodename.partition(".")[0]
HELD = 100_000
"""Bytes after which a relay holds: less than a master serves here."""


@pytest.fixture
def source(cluster: Cluster) -> Path:
    return small_tree(cluster.base / "source")


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


def child(cluster: Cluster, master: Master, name: str, *options: str) -> tuple[int, int]:
    """A client that serves on. Its process and port, as its last event says."""
    client = cluster.client(master, cluster.base / name, options=["--linger", "forever", *options])
    ended = client.ended()
    assert ended.status == 0
    serves = ended.done["serves"]
    return serves["pid"], serves["port"]


def test_every_process_of_this_machine_is_found_with_its_role(cluster: Cluster, master: Master) -> None:
    pid, port = child(cluster, master, "one")
    follower, _ = child(cluster, master, "two", "--follow")
    roles = {each["pid"]: each["role"] for each in cluster.run("status", "--json").events}
    assert [roles.get(process) for process in (master.pid, pid, follower)] == ["master", "child", "follower"]
    (one,) = cluster.run("status", "--json", str(port)).events
    facts = {"path": str(cluster.base / "one"), "master": f"127.0.0.1:{master.port}", "port": port}
    assert {name: one[name] for name in facts} == facts
    assert one["generation"] == master.status()["generation"]
    row = cluster.run("status", str(cluster.base / "one"))
    header, line = row.stdout.splitlines()
    assert header.split() == ["ROLE", "PID", "PORT", "AGE", "GENERATION", "STATE", "WHAT"]
    assert line.split()[:3] == ["child", str(pid), str(port)]


def test_a_child_whose_files_are_of_an_earlier_generation_says_so(
    cluster: Cluster, source: Path, master: Master
) -> None:
    _, port = child(cluster, master, "one")
    before = master.status()["generation"]
    (source / "more").write_bytes(b"more")
    assert cluster.run("reload", "-p", str(master.port)).status == 0
    assert master.status()["generation"] != before

    def told() -> bool:
        (one,) = cluster.run("status", "--json", str(port)).events
        return bool(one["outdated"] and one["generation"] == master.status()["generation"])

    eventually(told, "the child serves what has not changed")
    assert "outdated, serves " in cluster.run("status", str(port)).stdout
    asked = cluster.run("status", "-n", f"127.0.0.1:{master.port}").stdout
    assert f"port {port}): outdated, " in asked
    assert "its files are of an earlier generation" in cluster.run("status", "-n", f"127.0.0.1:{port}").stdout


def test_where_nothing_runs_the_status_is_3(cluster: Cluster) -> None:
    port = str(free_port())
    asked = cluster.run("status", port)
    line = f"xget: {port}: no such xget runs on this machine (xget.py status -n HOST asks another one)\n"
    assert (asked.status, asked.stdout, asked.stderr) == (3, "", line)


def test_a_client_that_is_stopped_ends_and_the_others_go_on(cluster: Cluster, master: Master) -> None:
    first, port = child(cluster, master, "one")
    second, _ = child(cluster, master, "two")
    several = cluster.run("stop", str(cluster.base))
    assert several.status == 3
    stopped = cluster.run("stop", "child", str(port))
    line = f"stopped: child of {cluster.base / 'one'}, process {first}, port {port}\n"
    assert (stopped.status, stopped.stdout, stopped.stderr) == (0, line, "")
    assert ended_by_itself(first)
    assert cluster.run("status", str(cluster.base / "two")).status == 0
    assert cluster.run("stop", str(cluster.base / "two"), "-q").stdout == ""
    assert ended_by_itself(second)
    assert cluster.run("stop", str(cluster.base / "two")).status == 3


def test_several_are_stopped_only_if_all_are_meant(cluster: Cluster, source: Path) -> None:
    port = free_port()
    one = cluster.master(source, "--bind", "127.0.0.1", port=port)
    other = cluster.start("-p", str(port), "--bind", "127.0.0.2", "-w", "1", source)
    eventually(lambda: len(cluster.run("status", "--json", str(port)).events) == 2, "two masters of one port")
    refused = cluster.run("stop", str(port))
    assert refused.status == 2
    *named, why = refused.stderr.splitlines()
    assert sorted(named) == sorted(
        f"xget: master of {source}, process {pid}, port {port}" for pid in (one.pid, other.pid)
    )
    assert why == "xget: 2 processes are meant (name one by its role, port or path, or use --all)"
    stopped = cluster.run("stop", "--all", str(port), "--json")
    assert (stopped.status, [each["stopped"] for each in stopped.events]) == (0, [True, True])
    assert (one.ended().status, other.ended().status) == (0, 0)


def test_a_download_is_found_and_interrupted(cluster: Cluster, master: Master) -> None:
    with Relay(master.port, hold_after=HELD) as relay:
        client = cluster.client(relay, cluster.base / "dest")
        relay.wait_until_it_holds()
        (asked,) = cluster.run("status", "--json", "download", str(cluster.base / "dest")).events
        assert asked["pid"] == client.background()
        assert cluster.run("stop", "download", str(cluster.base / "dest")).status == 0
        assert client.ended().status == 143


def test_a_process_that_hangs_is_named_and_not_killed(cluster: Cluster, master: Master) -> None:
    pid, port = child(cluster, master, "one")
    os.kill(pid, signal.SIGSTOP)
    try:
        asked = cluster.run("stop", str(port), "--timeout", "0.5")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert asked.status == 1
    assert "does not answer (is it stopped? kill -KILL" in asked.stderr


def test_the_last_line_of_a_client_says_what_is_left_and_how_to_stop_it(cluster: Cluster, master: Master) -> None:
    where = ["-n", "127.0.0.1", "-p", str(master.port)]
    ended = cluster.run(*where, "--linger", "7", ".", cluster.base / "dest")
    (one,) = cluster.run("status", "--json", str(cluster.base / "dest")).events
    left = f"xget: serving other nodes as process {one['pid']} on port {one['port']} until no node has read for 7 s"
    last = ended.stdout.splitlines()[-1]
    how = f"; to stop it: xget.py stop {one['port']}"
    assert last in (f"{left}; log: {log}{how}" for log in ("syslog", "none (see --log)"))
    ended = cluster.run(*where, "--follow", "--log", cluster.base / "log", ".", cluster.base / "dest")
    assert "xget: following the master and serving other nodes as process " in ended.stdout.splitlines()[-1]
    assert f" until it is stopped; log: {cluster.base / 'log'}; to stop it: " in ended.stdout.splitlines()[-1]


def test_a_client_serves_on_the_first_free_port_that_it_may(cluster: Cluster, master: Master) -> None:
    port = free_port()
    assert child(cluster, master, "one", "--ports", f"{port}-{port}")[1] == port
    refused = cluster.get(master, cluster.base / "two", options=["--ports", f"{port}-{port}"])
    assert refused.status == 1
    why = f"cannot listen on any address: no port from {port} to {port} is free (give more with --ports)"
    assert why in refused.stderr


# A whole distribution.


def test_the_distribution_of_a_master_agrees_with_what_clients_say(cluster: Cluster, master: Master) -> None:
    first = cluster.client(master, cluster.base / "one", options=["--linger", "forever"]).ended()
    gone = cluster.get(master, cluster.base / "two")
    (cluster.base / "three").write_text("not a directory")
    assert cluster.get(master, cluster.base / "three").status == 6
    eventually(lambda: master.status()["distribution"]["left"] == {"complete": 1, "failed": 1}, "both have left")
    distribution = master.status()["distribution"]
    assert (distribution["states"], distribution["percent"]) == ({"complete": 1}, 100.0)
    assert distribution["fetched"] == first.done["fetched"] + gone.done["fetched"]
    assert distribution["from_master"] == first.done["from_master"] + gone.done["from_master"]
    (failure,) = distribution["failures"]
    assert failure["nodes"] == 1 and "not a directory" in failure["why"].lower()


def test_who_expects_a_node_learns_whether_it_has_the_generation(
    cluster: Cluster, source: Path, master: Master
) -> None:
    ask = ["status", "-n", f"127.0.0.1:{master.port}", "--expect"]
    missing = cluster.run(*ask, f"{HOST},127.0.0.1")
    assert missing.status == 1
    assert "2 missing" in missing.stderr
    assert cluster.get(master, cluster.base / "one").status == 0
    eventually(lambda: cluster.run(*ask, f"{HOST},127.0.0.1").status == 0, "the node is known by name and by address")
    (source / "new").write_text("x")
    assert cluster.run("reload", "-p", str(master.port)).status == 0
    old = cluster.run(*ask, HOST, "--json")
    assert old.status == 1
    assert old.events[0]["expected"]["outdated"] == [HOST]


def test_watching_ends_when_all_expected_nodes_have_it(cluster: Cluster, master: Master) -> None:
    watching = cluster.start("status", "-n", f"127.0.0.1:{master.port}", "--watch", "--expect", HOST)
    eventually(lambda: "1 missing" in watching.so_far()[0], "it is told what is missing")
    assert cluster.get(master, cluster.base / "one").status == 0
    assert watching.ended().status == 0


def test_the_tree_names_each_node(cluster: Cluster, master: Master) -> None:
    _, port = child(cluster, master, "one")
    printed = cluster.run("status", "-n", f"127.0.0.1:{master.port}", "--tree").stdout.splitlines()
    top = printed.index("master")
    assert printed[top + 1].startswith(f"└─ {os.uname().nodename} (127.0.0.1 port {port}): complete, 100 %, ")


# What is served.


def test_a_list_shows_what_the_master_serves(cluster: Cluster, source: Path, master: Master) -> None:
    ask = ["list", "-n", f"127.0.0.1:{master.port}"]
    shown = cluster.run(*ask)
    assert (shown.status, shown.stderr) == (0, "")
    names = {line.split(" -> ")[0].split(None, 7)[-1] for line in shown.stdout.splitlines()}
    assert names == {each.name for each in source.iterdir()}
    assert all(line[0] in "-dl" for line in shown.stdout.splitlines())
    listed = [json.loads(line) for line in cluster.run(*ask, "--json", "a").stdout.splitlines()]
    assert {each["path"] for each in listed} == {f"a/{each.name}" for each in (source / "a").iterdir()}
    missing = cluster.run(*ask, "missing")
    assert missing.status == 4

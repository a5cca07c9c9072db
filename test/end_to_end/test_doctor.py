"""`xget doctor` with real masters and nodes on this machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from test.support.certificates import Authority
from test.support.cluster import Cluster, Ended, eventually, free_port
from test.support.relay import Relay
from test.support.trees import noise, write

MIB = 1 << 20
KEY = b"the key of the cluster"


@pytest.fixture
def source(cluster: Cluster) -> Path:
    source = cluster.base / "source"
    source.mkdir()
    write(source / "content", noise(4 * MIB, 1))
    return source


@pytest.fixture
def dest(cluster: Cluster) -> Path:
    dest = cluster.base / "dest"
    dest.mkdir()
    return dest


def doctor(cluster: Cluster, port: int, *words: str | Path, **options: Any) -> Ended:
    return cluster.run("doctor", "--json", "-n", f"127.0.0.1:{port}", *words, **options)


def found(ended: Ended, check: str) -> list[str]:
    return [f"{each['result']}: {each['what']}" for each in ended.events if each.get("check") == check]


def problems(ended: Ended) -> list[str]:
    """Without those of other tests, which run their own xgets on this machine, some of them stopped."""
    found = [f"{each['check']}: {each['what']}" for each in ended.events if each.get("result") == "problem"]
    return [each for each in found if not each.startswith("processes: ")]


def lines_of(ended: Ended) -> list[str]:
    """What people see, likewise."""
    return [line for line in ended.stdout.splitlines() if not line.startswith("PROBLEM  processes ")]


def test_a_swarm_that_is_well(cluster: Cluster, source: Path, dest: Path) -> None:
    master = cluster.master(source)
    for name in ("one", "two", "three"):
        assert cluster.client(master, cluster.base / name, options=["--linger", "forever"]).ended().status == 0
    master.wait_for_children(3)
    before = master.status()
    ended = doctor(cluster, master.port, dest)
    assert (problems(ended), ended.stderr) == ([], "")
    assert any(each.startswith("ok: master ") for each in found(ended, "processes"))
    assert len(found(ended, "processes")) >= 4
    assert found(ended, "version")[1] == "ok: the master has 2.0.0 too"
    assert found(ended, "clock")[0].startswith("ok: agrees with that of the master")
    assert found(ended, "packets")[0].startswith("ok: full ones get through both ways")
    rates = found(ended, "rate")
    assert len(rates) == 3
    assert all("iB/s" in rate and "limited by" in rate for rate in rates)
    assert len(found(ended, "peers")) == 2
    assert os.listdir(dest) == []
    assert ended.events[-1]["problems"] == len([each for each in ended.events if each.get("result") == "problem"])
    assert ended.status == ended.events[-1]["exit"] == min(1, ended.events[-1]["problems"])
    # Nothing of it counts as a download.
    after = master.status()
    assert (after["offered"], len(after["children"])) == (before["offered"], 3)


def test_for_people_each_finding_is_a_line(cluster: Cluster, source: Path) -> None:
    port = free_port()
    ended = cluster.run("doctor", "-p", str(port), source)
    lines = lines_of(ended)
    if "PROBLEM  processes " not in ended.stdout:
        assert ended.status == 0 and lines.pop().startswith("0 problems, ")
    assert len(lines) > 5 and all(line.startswith(("ok ", "note ")) for line in lines)
    master = cluster.master(source, port=port)
    quiet = cluster.run("doctor", "-q", "-n", f"127.0.0.1:{port}", source)
    [line] = lines_of(quiet)
    assert quiet.status == 6 and line.startswith("PROBLEM  destination ")
    assert "is in the directory that this master serves (choose another destination)" in quiet.stdout
    assert quiet.stderr.startswith("xget: doctor: ")
    again = cluster.run("doctor", "-p", str(port), source)
    assert f"is that of the master {master.pid}, which serves {source}" in again.stdout


def test_a_secret_that_is_not_the_masters(cluster: Cluster, source: Path) -> None:
    right, wrong = cluster.base / "right", cluster.base / "wrong"
    for file, key in ((right, KEY), (wrong, b"the key of somebody else")):
        write(file, key, mode=0o600)
    master = cluster.master(source, "--secret", str(right), key=KEY)
    ended = doctor(cluster, master.port, "--secret", right)
    assert (ended.status, problems(ended)) == (0, [])
    assert found(ended, "admission") == ["ok: both sides have proved that they belong with the secret"]
    ended = doctor(cluster, master.port, "--secret", wrong)
    assert ended.status == 7
    assert problems(ended) == [f"admission: the master: it refuses this node: its secret is not that of {wrong}"]
    ended = doctor(cluster, master.port)
    assert (ended.status, len(problems(ended))) == (7, 1)
    assert "it asks for a proof" in problems(ended)[0]
    right.chmod(0o644)
    ended = doctor(cluster, master.port, "--secret", right)
    assert ended.status == 2
    assert "others can read or change it" in problems(ended)[0]


def test_certificates_of_both_sides(cluster: Cluster, source: Path) -> None:
    authority = Authority(cluster.base)
    head, node = authority.sign("head"), authority.sign("node")
    expired = authority.sign("expired", days=-1)
    port = free_port()
    master = cluster.master(source, *head.options(authority), port=port, wait=False)
    eventually(lambda: "generation" in master.log.read_text() if master.log.exists() else False, "it serves")
    ended = doctor(cluster, port, *node.options(authority))
    assert (ended.status, problems(ended)) == (0, [])
    assert found(ended, "admission")[0].startswith("ok: accepted over TLS (certificate of the server accepted, valid")
    assert any("CN=node ends in" in each for each in found(ended, "credentials"))
    ended = doctor(cluster, port, *expired.options(authority))
    assert ended.status == 7
    assert any("CN=expired was valid until" in each for each in problems(ended))


def test_a_master_that_hangs_and_one_that_is_something_else(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    os.kill(master.pid, signal.SIGSTOP)
    try:
        ended = doctor(cluster, master.port, "--timeout", "3")
    finally:
        os.kill(master.pid, signal.SIGCONT)
    assert ended.status == 3
    assert any("does not answer (is it stopped?)" in each for each in found(ended, "processes"))
    assert any("it accepts connections, but does not answer" in each for each in problems(ended))


def test_large_answers_that_do_not_come(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    with Relay(master.port, hold_after=2000) as relay:
        ended = doctor(cluster, relay.port)
    assert ended.status == 3
    assert problems(ended) == [
        "packets: small answers come, large ones do not: large packets of the server do not get here"
    ]


def test_a_child_is_not_a_master(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    assert cluster.client(master, cluster.base / "one", options=["--linger", "forever"]).ended().status == 0
    (child,) = master.wait_for_children(1)
    ended = doctor(cluster, child["port"])
    assert ended.status == 3
    assert f"127.0.0.1 port {child['port']} is a child, of the master 127.0.0.1:{master.port}" in problems(ended)[0]


def test_a_configuration_file_names_what_is_examined(cluster: Cluster, source: Path, dest: Path) -> None:
    master = cluster.master(source)
    file = cluster.base / "xget.toml"
    file.write_text(f"[client]\nhost = '127.0.0.1:{master.port}'\ndestination = '{dest}'\n")
    ended = cluster.run("doctor", "--json", f"--config={file}")
    assert (ended.status, problems(ended)) == (0, [])
    assert found(ended, "config") == [f"ok: {file}, 2 settings"]
    assert str(dest) in found(ended, "destination")[0]
    file.write_text("[client]\nhots = 'head'\n")
    ended = cluster.run("doctor", "--json", f"--config={file}", "-n", f"127.0.0.1:{master.port}")
    assert ended.status == 2
    assert problems(ended) == [f"config: {file} line 2: unknown option 'hots' (did you mean host?)"]
    assert found(ended, "rate")

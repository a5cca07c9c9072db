"""Waiting has an end, and words: a master that cannot be reached, or hangs, ends a client within --timeout."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, Master, ended_by_itself, eventually, free_port
from test.support.processes import PATIENCE, Watched
from test.support.relay import MIB, Relay
from test.support.trees import differences, noise, small_tree, write

STALL = re.compile(r"xget: waiting for .+ from .+ for \d+ s \(since \d\d:\d\d:\d\d\)(: .+)?; .+")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = small_tree(tmp_path / "served")
    write(source / "large", noise(8 * MIB, 2))
    return source


def unreachable(ended: Ended, seconds: float) -> str:
    """The last line, of a client that has tried for about so many seconds and says so."""
    *stalls, line = ended.stderr.splitlines()
    assert (ended.status, [stall for stall in stalls if not STALL.fullmatch(stall)]) == (3, []), ended
    tried = re.search(r"tried for ([\d.]+) s", line)
    assert tried and seconds * 0.9 <= float(tried[1]) <= seconds + PATIENCE / 2, line
    return line


def stop_all(cluster: Cluster, but: int) -> Iterator[int]:
    """Stop every process of the master, and give their numbers."""
    for pid in cluster.processes():
        if f"{but}" not in (str(pid), Path(f"/proc/{pid}/stat").read_text().split()[3]):
            Watched(pid).signal(signal.SIGSTOP)
            yield pid


def test_a_master_that_hangs_in_the_midst_of_a_download_ends_the_client(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0", "--timeout", "2"])
        relay.wait_until_it_holds()
        stopped = list(stop_all(cluster, client.pid))
        assert master.pid in stopped
        begun = time.monotonic()
        relay.open()
        ended = client.ended()
        assert time.monotonic() - begun < PATIENCE
        for pid in stopped:
            Watched(pid).signal(signal.SIGCONT)
    assert "no answer" in unreachable(ended, 2)
    assert (ended.done["exit"], ended.done["from_master"] > 0) == (3, True)


def test_a_master_whose_main_process_alone_hangs_ends_the_client(cluster: Cluster, source: Path) -> None:
    """Its workers still answer, but nobody tells them what to give. They end when the master is silent."""
    master = cluster.master(source)
    workers = [Watched(pid) for pid in master.workers()]
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0", "--timeout", "2"])
        relay.wait_until_it_holds()
        master.signal(signal.SIGSTOP)
        relay.open()
        ended = client.ended(3 * PATIENCE)
        assert all(worker.ends() for worker in workers)
        master.signal(signal.SIGCONT)
    # What it had been offered before may have been enough.
    assert ended.status in (0, 3)
    eventually(lambda: master.workers() and not {each.pid for each in workers} & set(master.workers()), "new workers")
    for worker in workers:
        worker.dispose()


def test_a_master_that_hangs_before_it_names_a_generation_ends_the_client(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    stopped = list(stop_all(cluster, 0))
    ended = cluster.get(master, cluster.base / "dest", options=["--timeout", "1"])
    for pid in stopped:
        Watched(pid).signal(signal.SIGCONT)
    assert "it accepts connections, but does not answer" in unreachable(ended, 1)


def test_a_master_that_is_lost_before_its_manifest_has_arrived_is_status_3(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    with Relay(master.port, hold_after=400) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0", "--timeout", "2"])
        relay.wait_until_it_holds()
        ended = client.ended()
    unreachable(ended, 2)


@pytest.fixture
def dead(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """127.0.0.2 with a port that answers nothing: its backlog is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.2", 0))
        listening.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening


@pytest.mark.root
def test_a_name_whose_first_address_is_dead_is_reached_at_its_second(
    cluster: Cluster, source: Path, dead: socket.socket
) -> None:
    port = dead.getsockname()[1]
    cluster.master(source, "--bind", "127.0.0.1", port=port)
    (cluster.base / "hosts").write_text("127.0.0.2 head\n127.0.0.1 head\n")
    own_hosts = ["unshare", "--mount", "sh", "-c", 'mount --bind hosts /etc/hosts && exec "$@"', "sh"]
    where = ["-n", f"head:{port}", "--linger", "0", "--timeout", "10"]
    ended = cluster.run(*where, ".", cluster.base / "dest", prefix=own_hosts)
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
@pytest.mark.parametrize("quiet", [[], ["-q"], ["--json"]])
def test_after_five_seconds_one_line_says_what_is_waited_for(cluster: Cluster, host: str, quiet: list[str]) -> None:
    where = ["-n", f"{host}:{free_port()}", "--timeout", "6.5"]
    ended = cluster.run(*where, *quiet, ".", cluster.base / "dest")
    line = unreachable(ended, 6.5)
    why = "Connection refused" if host == "127.0.0.1" else "host name no-such-host.invalid is not known"
    assert why in line
    if quiet == ["--json"]:
        (stall,) = (event["message"] for event in ended.events if event["event"] == "stall")
        stall = f"xget: {stall}"
        assert [event["event"] for event in ended.events[-2:]] == ["error", "done"]
    else:
        stall, _ = ended.stderr.splitlines()
    assert STALL.fullmatch(stall) and why in stall


def test_a_client_that_is_in_time_says_nothing_of_waiting(cluster: Cluster, source: Path) -> None:
    ended = cluster.get(cluster.master(source), cluster.base / "dest")
    assert ended.stderr == ""


@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_is_ignored_at_the_start_does_not_end_the_run(
    cluster: Cluster, source: Path, ignored: signal.Signals
) -> None:
    """nohup ignores SIGHUP; a shell without job control ignores SIGINT for what runs in its background."""
    master = cluster.master(source)
    ignoring = ["sh", "-c", f'trap "" {ignored.name.removeprefix("SIG")}; exec "$@"', "sh"]
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"], prefix=ignoring)
        relay.wait_until_it_holds()
        client.signal(ignored)
        relay.open()
        ended = client.ended()
    assert ended.status == 0
    assert differences(source, cluster.base / "dest") == []


def test_a_hang_up_ends_a_run_that_does_not_ignore_it(cluster: Cluster, source: Path) -> None:
    """The tests themselves may run under nohup."""
    master = cluster.master(source)
    default = ["env", "--default-signal=HUP"]
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"], prefix=default)
        relay.wait_until_it_holds()
        client.signal(signal.SIGHUP)
        assert client.ended().status == 143


def test_a_follower_whose_master_hangs_serves_on_and_follows_again(cluster: Cluster, source: Path) -> None:
    master: Master = cluster.master(source)
    dest = cluster.base / "dest"
    client = cluster.client(master, dest, options=["--follow"])
    pid = client.background()
    assert client.ended().status == 0
    stopped = [each for each in cluster.processes() if each != pid]
    for each in stopped:
        Watched(each).signal(signal.SIGSTOP)
    for each in stopped:
        Watched(each).signal(signal.SIGCONT)
    write(source / "top", b"another\n")
    eventually(lambda: (dest / "top").read_bytes() == b"another\n", "the follower does not follow")
    Watched(pid).signal(signal.SIGTERM)
    assert ended_by_itself(pid)

"""A client whose master lies, hangs, drips or floods: it ends in bounded time, and says the truth in one line."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, eventually
from test.support.hostile_master import hostile_master
from test.support.processes import PATIENCE, Watched
from test.support.relay import MIB, Relay
from test.support.trees import differences, noise, small_tree, write

IN_TIME = ["--timeout", "3", "--stall-timeout", "3"]
LINE = re.compile(r"xget: [^\n]+")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = small_tree(tmp_path / "served")
    write(source / "large", noise(8 * MIB, 2))
    return source


def run(cluster: Cluster, kind: str, source: Path, *options: str, seconds: float = 2 * PATIENCE) -> tuple[Ended, str]:
    """A client of a hostile master: how it ended, and its log."""
    log = cluster.base / "client.log"
    with hostile_master(kind, source, cluster.mark) as master:
        where = ["-n", "127.0.0.1", "-p", str(master.port), "--linger", "0", "-D", "1", "--log", str(log)]
        client = cluster.start(*where, *IN_TIME, *options, ".", cluster.base / "dest")
        ended = client.ended(seconds)
    return ended, log.read_text()


def assert_honest(text: str) -> None:
    """Nothing that a terminal obeys, and no line that a stranger wrote."""
    assert all(c.isprintable() or c == "\n" for c in text), repr(text)
    assert not re.search(r"^xget: everything is in place", text, re.MULTILINE), text


FORGERS = ["refuse_attach", "refuse_peers", "refuse_manifest", "refuse_data", "refuse_offer", "refuse_reads"]
FORGERS += ["forged_offer", "forged_places", "forged_problem", "forged_manifest", "forged_user", "forged_reason"]
FORGERS += ["forged_omitted_path", "forged_attribute", "wrong_content", "stranger", "other_version"]


@pytest.mark.parametrize("kind", FORGERS)
def test_no_text_of_a_master_forges_a_line_or_reaches_the_terminal_unescaped(
    cluster: Cluster, source: Path, kind: str
) -> None:
    ended, log = run(cluster, kind, source)
    for text in (ended.stdout, ended.stderr, log):
        assert_honest(text)
    assert all(LINE.fullmatch(line) for line in ended.stderr.splitlines())
    assert all(re.match(r"\d{4}-\d\d-\d\d ", line) for line in log.splitlines()), log
    assert "Traceback" not in log
    if kind in ("forged_attribute", "refuse_offer"):  # a file system may keep it; content comes without offers too
        assert ended.status in (0, 1)
    else:
        assert ended.status in (1, 3, 5), ended
        last = ended.stderr.splitlines()[-1]
        assert last.count("127.0.0.1") <= 1, last


@pytest.mark.parametrize("kind", ["refuse_manifest", "forged_problem", "refuse_reads"])
def test_no_event_of_a_run_with_json_has_a_text_that_is_not_printable(
    cluster: Cluster, source: Path, kind: str
) -> None:
    ended, _ = run(cluster, kind, source, "--json")
    assert all(each.isprintable() for event in ended.events for each in event.values() if isinstance(each, str))
    assert ended.done["exit"] == ended.status != 0


@pytest.mark.parametrize("name", ["peers", "places", "manifest", "offer", "data"])
def test_a_master_that_stops_in_any_phase_is_status_3_in_time(cluster: Cluster, source: Path, name: str) -> None:
    begun = time.monotonic()
    ended, _ = run(cluster, f"stop_at_{name}", source)
    assert ended.status == 3, ended
    assert "cannot reach the master at 127.0.0.1 port " in ended.stderr.splitlines()[-1]
    assert time.monotonic() - begun < PATIENCE


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("no_news", "its first news"),
        ("no_offers", r"8\.\d MiB, the first of [^ ]+,"),
        ("drip_content", r"8\.\d MiB, the first of [^ ]+,"),
    ],
)
def test_a_master_that_answers_and_gives_nothing_ends_the_client_after_the_stall_timeout(
    cluster: Cluster, source: Path, kind: str, missing: str
) -> None:
    ended, _ = run(cluster, kind, source, "--timeout", "60")
    *_, last = ended.stderr.splitlines()
    what = rf"xget: no progress for \d+ s: {missing} did not arrive; asked: the master at 127.0.0.1 port \d+.* \(.*\)"
    assert ended.status == 3 and re.fullmatch(what, last), ended


def test_a_manifest_that_comes_a_byte_at_a_time_ends_the_client(cluster: Cluster, source: Path) -> None:
    ended, _ = run(cluster, "drip_manifest", source, "--timeout", "60")
    assert ended.status == 3, ended
    assert "the manifest (976.6 KiB) did not arrive; asked: the master at " in ended.stderr.splitlines()[-1]


def test_a_manifest_without_an_end_is_refused_before_it_is_read(cluster: Cluster, source: Path) -> None:
    ended, log = run(cluster, "endless_manifest", source)
    assert ended.status == 3 and "peers: manifest is not a number from 0 to 1073741824" in ended.stderr, ended
    assert len(log) < 100_000


def test_a_manifest_that_is_nested_too_deeply_is_refused_at_once(cluster: Cluster, source: Path) -> None:
    ended, _ = run(cluster, "deep_manifest", source)
    assert (ended.status, ended.stderr) == (5, "xget: invalid manifest: path too long\n")
    assert not (cluster.base / "dest").exists()


@pytest.mark.parametrize("kind", ["many_peers", "named_peers"])
def test_peers_that_are_too_many_or_have_no_numeric_address_are_not_connected_to(
    cluster: Cluster, source: Path, kind: str
) -> None:
    ended, log = run(cluster, kind, source)
    assert ended.status == 3 and "peers: " in ended.stderr.splitlines()[-1], ended
    assert not re.search(r"peer (10\.|head)", log)


def test_a_master_that_names_a_new_generation_all_the_time_ends_the_client(cluster: Cluster, source: Path) -> None:
    ended, log = run(cluster, "new_generations", source, "--timeout", "60", "--stall-timeout", "60", seconds=180)
    *_, last = ended.stderr.splitlines()
    why = r"xget: the master's directory keeps changing: 10 generations in \d+ s, and none of them could be .* \(.*\)"
    assert ended.status == 1 and re.fullmatch(why, last), ended
    assert log.count("the master has a new generation") == 10


def test_a_client_that_decodes_millions_of_entries_ends_when_it_is_told_to(cluster: Cluster, source: Path) -> None:
    """The manifest has arrived when the last wait of the network is over. Then the client computes for seconds."""
    with hostile_master("many_entries", source, cluster.mark) as master:
        eventually(lambda: master.port, "no port")
        client = cluster.client(master, cluster.base / "dest", options=["--linger", "0", "-D", "2"])
        pid = client.background()
        log = next(cluster.base.glob("client*.log"))
        size = 3_000_000 * 30
        eventually(lambda: f"offset {size // MIB * MIB}" in log.read_text() or resident(pid) > size, "no manifest")
        begun = time.monotonic()
        client.signal(signal.SIGTERM)
        ended = client.ended()
    print(f"ended {time.monotonic() - begun:.1f} s after SIGTERM")
    assert ended.status == 143 and time.monotonic() - begun < PATIENCE / 2


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


# Honest masters, and pauses.


def test_a_directory_that_changes_all_the_time_ends_with_a_true_status(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    client = cluster.client(master, cluster.base / "dest", options=["--linger", "0"])
    number = 0
    while client.process.poll() is None:
        number += 1
        write(source / "hot", noise(1000, number))
        time.sleep(0.2)  # how often it changes; nothing is waited for
    ended = client.ended()
    assert ended.status in (0, 1), ended
    assert [line for line in differences(source, cluster.base / "dest") if "hot" not in line] == []
    if ended.status == 1:
        assert "hot: not readable at the master: still changing" in ended.stderr


def test_content_that_does_not_come_while_the_master_answers_is_not_a_silent_master(
    cluster: Cluster, source: Path
) -> None:
    """--timeout bounds the silence of the master only."""
    master = cluster.master(source)
    with Relay(master.port, hold_after=2 * MIB) as relay:
        options = ["--linger", "0", "--timeout", "1", "--stall-timeout", "60"]
        client = cluster.client(relay, cluster.base / "dest", options=options)
        relay.wait_until_it_holds()
        client.event(lambda event: event["event"] == "stall", "it does not say that it waits")
        relay.open()
        ended = client.ended()
    assert (ended.status, differences(source, cluster.base / "dest")) == (0, []), ended


def test_the_pause_of_a_client_is_no_silence_of_its_master(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    with Relay(master.port, hold_after=2 * MIB) as relay:
        options = ["--linger", "0", "--timeout", "2", "--stall-timeout", "2"]
        client = cluster.client(relay, cluster.base / "dest", options=options)
        background = Watched(client.background())
        relay.wait_until_it_holds()
        background.signal(signal.SIGSTOP)
        relay.open()
        paused = time.monotonic()
        while time.monotonic() - paused < 6:  # three times what it may wait for others
            time.sleep(0.1)
        background.signal(signal.SIGCONT)
        ended = client.ended()
        background.dispose()
    assert (ended.status, differences(source, cluster.base / "dest")) == (0, []), ended


def test_a_master_that_is_restarted_while_a_client_waits_for_the_manifest(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    port = master.port
    with Relay(port, hold_after=400) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0", "--timeout", "20"])
        relay.wait_until_it_holds()
        workers = [Watched(pid) for pid in master.workers()]
        master.signal(signal.SIGKILL)
        for worker in workers:
            assert worker.ends()
            worker.dispose()
        relay.open()
        cluster.master(source, port=port)
        ended = client.ended()
    assert (ended.status, differences(source, cluster.base / "dest")) == (0, []), ended


def test_a_client_whose_process_hangs_ends_after_a_signal_nevertheless(cluster: Cluster, source: Path) -> None:
    with hostile_master("no_news", source, cluster.mark) as master:
        client = cluster.client(master, cluster.base / "dest", options=["--linger", "0"])
        background = Watched(client.background())
        background.signal(signal.SIGSTOP)
        client.signal(signal.SIGTERM)
        ended = client.ended(3 * PATIENCE)
        assert background.ends()
        background.dispose()
    assert (ended.status, ended.done["exit"]) == (143, 143)


def test_a_master_that_pauses_has_its_own_time_and_a_new_chance(cluster: Cluster, source: Path) -> None:
    """A pause that is longer than --stall-timeout, and shorter than --timeout."""
    master = cluster.master(source)
    stopped = [Watched(pid) for pid in cluster.processes()]
    with Relay(master.port, hold_after=2 * MIB) as relay:
        options = ["--linger", "0", "--timeout", "30", "--stall-timeout", "2"]
        client = cluster.client(relay, cluster.base / "dest", options=options)
        relay.wait_until_it_holds()
        for each in stopped:
            each.signal(signal.SIGSTOP)
        relay.open()
        silent = client.event(lambda event: event["event"] == "stall", "it does not say that it waits")["message"]
        for each in stopped:
            each.signal(signal.SIGCONT)
        ended = client.ended()
    assert "from the master at" in silent or "the master does not answer" in silent
    assert (ended.status, differences(source, cluster.base / "dest")) == (0, []), ended

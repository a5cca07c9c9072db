"""A short run of the fault bench, and whether it finds what is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from test.faults.__main__ import Result, numbers, run_one, summary
from test.faults.case import draw
from test.faults.fault import MASTER, Strike, Struck
from test.faults.judge import Facts, Observed, exact, lateness, silent, status, tracebacks, wrong_bytes
from test.faults.lies import LIES
from test.faults.members import Hostile
from test.faults.run import left_alive
from test.faults.source import CHANGES, Source
from test.faults.table import FAULTS
from test.support.cluster import SESSION_MARK, Cluster
from test.support.installed import lacking
from test.support.leftovers import MARK
from test.support.processes import PATIENCE
from test.support.trees import small_tree

SEEDS = numbers("1-24,130")
"""Of the short run. In 130 the master is stopped for good, and a client has a --timeout of 20 s."""
PROGRAMS = ("unshare", "nsenter", "ip", "tc", "mount", "setpriv", "prlimit", "rsync")
UNREACHABLE = "xget: cannot reach the master at 10.77.0.2 port 20004: no answer, tried for 5.0 s"
NOW = 1_000_000.0


def observed(dest: Path = Path("/nowhere"), *, name: str = "node0", status: int | None = 0, **more: Any) -> Observed:
    """A client that began at 0 and ended after 20 s."""
    facts: dict[str, Any] = {"timeout": 5, "started": NOW, "ended": NOW + 20, "events": (), "said": "", **more}
    return Observed(name, status=status, dest=dest, **facts)


def struck(fault: str, target: str = MASTER, *, began: float = 0, over: float | None = None) -> Struck:
    found = Struck(Strike(fault, target, 0, 0), NOW + began)
    found.hit = True
    found.over = None if over is None else NOW + over
    return found


def event(kind: str, after: float, **facts: Any) -> dict[str, Any]:
    return {"event": kind, "time": NOW + after, **facts}


@pytest.fixture(scope="module")
def results() -> Iterator[dict[int, Future[Result]]]:
    """Of the short run, which goes on while tests wait for it."""
    for program in PROGRAMS:
        if not shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin"):
            lacking(f"needs {program}")
    with ThreadPoolExecutor(2) as pool:
        yield {seed: pool.submit(run_one, seed) for seed in SEEDS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.root
@pytest.mark.parametrize("seed", SEEDS)
def test_honest_clients_end_with_the_right_bytes_or_a_true_status(
    results: dict[int, Future[Result]], seed: int
) -> None:
    result = results[seed].result()
    assert not result.problems, str(result)


# Cases


def test_a_seed_is_always_the_same_case() -> None:
    assert [draw(seed) for seed in SEEDS] == [draw(seed) for seed in SEEDS]
    assert len({str(draw(seed)) for seed in SEEDS}) == len(SEEDS)


def test_a_thousand_seeds_have_every_fault_and_every_lie() -> None:
    cases = [draw(seed) for seed in range(1, 1001)]
    assert {strike.fault for case in cases for strike in case.strikes} == set(FAULTS)
    assert {lie for case in cases for lie in case.lies} == set(LIES)


def test_at_most_a_third_of_the_peers_is_hostile() -> None:
    assert all(2 * len(case.lies) <= len(case.clients) for case in map(draw, range(1, 1001)))


def test_every_hostile_peer_registers(cluster: Cluster) -> None:
    """One that does not would make every run with it end after two minutes, as a problem of the bench."""
    source = small_tree(cluster.base / "source")
    master = cluster.master(source)

    def registers(lie: str) -> None:
        with Hostile(lie, ("127.0.0.1", master.port), source, cluster.base, address="127.0.0.2"):
            pass

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(registers, LIES))


def test_seeds_are_numbers_and_ranges() -> None:
    assert numbers("7,1-3") == [7, 1, 2, 3]


def test_the_summary_has_the_seeds_of_each_kind_of_problem() -> None:
    results = [Result(1, [], 0.5, [], 4.0), Result(2, ["late: x", "late: y"], 40.0, [], 50.0)]
    text = summary(results, 54.0)
    assert "2 runs in 54 s: 1 ok, 1 failed" in text
    assert "late             1  seeds 2" in text
    assert "median 20.2 s, most 40.0 s (seed 2)" in text


# The source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path, seed=3)


@pytest.fixture
def copy(source: Source, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", str(source.path), str(tmp_path / "copy")], check=True)
    return tmp_path / "copy"


@pytest.mark.parametrize("kind", CHANGES)
def test_each_change_of_the_source_is_a_state(source: Source, kind: str) -> None:
    source.change(kind)
    former, state = source.states
    assert exact(observed(source.path), [state]) == []
    assert exact(observed(source.path), [former]) != []


def test_a_client_may_have_the_state_when_it_started_or_a_later_one(source: Source) -> None:
    source.change("replace")
    former, state = source.states
    first, second = source.since
    assert source.states_since(first) == [former, state]
    assert source.states_since(second) == [former, state]
    assert source.states_since(second + 0.001) == [state]


# (1) and (3)


def test_a_right_copy_is_right(source: Source, copy: Path) -> None:
    assert exact(observed(copy), source.states) == []
    assert wrong_bytes(observed(copy), source.states) == []


def test_a_follower_may_keep_the_pieces_of_an_update_and_nothing_else(source: Source, copy: Path) -> None:
    (copy / ".xget" / "parts").mkdir(parents=True)
    (copy / ".xget" / "parts" / "1").touch()
    assert exact(observed(copy, follows=True), source.states) == []
    assert exact(observed(copy), source.states) != []
    (copy / "other").touch()
    assert exact(observed(copy, follows=True), source.states) != []


def test_a_wrong_byte_is_found_whatever_the_status(source: Source, copy: Path) -> None:
    path = copy / "b" / "another name"
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(b"\0wrong")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "content of b'b/another name'" in exact(observed(copy), source.states)[0]
    assert wrong_bytes(observed(copy, status=3), source.states)[0].startswith("wrong byte: node0 (status 3) has ")


def test_what_was_there_before_or_a_fault_wrote_is_no_wrong_byte(source: Source, copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "before", symlinks=True)
    (tmp_path / "before" / "old").write_bytes(b"old")
    (copy / "old").write_bytes(b"old")
    (copy / "tampered").write_bytes(b"by a fault")
    (copy / ".xget").mkdir()
    (copy / ".xget" / "part").write_bytes(b"not complete")
    seen = observed(copy, status=3, tampered=frozenset(("tampered",)))
    assert wrong_bytes(seen, source.states, tmp_path / "before") == []
    assert len(wrong_bytes(seen, source.states)) == 1


@pytest.mark.parametrize("what", ["mode", "time", "missing", "extra", "link", "hard link", ".xget"])
def test_every_difference_is_found(source: Source, copy: Path, what: str) -> None:
    path = copy / "b" / "another name"
    match what:
        case "mode":
            path.chmod(0o4444)
        case "time":
            os.utime(path, ns=(0, 1))
        case "missing":
            path.unlink()
        case "extra":
            (copy / "extra").touch()
        case "link":
            (copy / "link").unlink()
            (copy / "link").symlink_to("b")
        case "hard link":
            data, times = path.read_bytes(), path.stat()
            path.unlink()
            path.write_bytes(data)
            path.chmod(times.st_mode & 0o7777)
            os.utime(path, ns=(0, times.st_mtime_ns))
        case ".xget":
            (copy / ".xget").mkdir()
    assert exact(observed(copy), source.states) != []


def test_a_destination_that_is_gone_is_found(source: Source, tmp_path: Path) -> None:
    assert "it is not there" in exact(observed(tmp_path / "gone"), source.states)[0]


# (2)


def test_a_failure_without_a_fault_is_found() -> None:
    assert status(observed(status=0), Facts()) == []
    assert "without a reason" in status(observed(status=3, said=UNREACHABLE), Facts())[0]
    assert "which no table has, without a reason" in status(observed(status=139), Facts())[0]


def test_a_status_that_names_the_fault_is_true() -> None:
    dead = Facts([struck("kill master")])
    assert status(observed(status=3, said=UNREACHABLE), dead) == []
    assert status(observed(status=1, said=UNREACHABLE), dead) != []
    assert status(observed(status=3, said="xget: internal error: KeyError: 3"), dead) != []
    assert status(observed(status=3, said=f"{UNREACHABLE} xget: internal error: KeyError: 3"), dead) != []


def test_a_fault_of_another_client_or_after_the_end_is_no_reason() -> None:
    full = "xget: /dest: disk full: needs 2 MB, has room for 1 MB"
    assert status(observed(status=6, said=full), Facts([struck("full disk", "node0")])) == []
    assert status(observed(status=6, said=full), Facts([struck("full disk", "node1")])) != []
    changed = "xget: /dest/a: another program changed it during the download (run again)\n"
    assert status(observed(status=6, said=changed), Facts([struck("change parts", "node0", over=1)])) == []
    assert status(observed(status=6, said=full), Facts([struck("change parts", "node0", over=1)])) != []
    assert status(observed(status=3, said=UNREACHABLE), Facts([struck("kill master", began=21)])) != []


def test_an_outage_is_a_reason_only_if_it_is_longer_than_the_timeout() -> None:
    outage = Facts([struck("pause master", began=5, over=12)])
    assert status(observed(status=3, said=UNREACHABLE, timeout=5), outage) == []
    assert status(observed(status=3, said=UNREACHABLE, timeout=20), outage) != []


def test_a_failure_where_another_node_has_everything_is_found() -> None:
    knew = (event("start", 1),)
    waiting = observed(status=3, said=UNREACHABLE, events=knew)
    holder = observed(name="node1", ended=NOW + 4, events=knew, lingers=True)
    dead = struck("kill master", began=5)
    assert "node1 had everything" in status(waiting, Facts([dead], [waiting, holder]))[0]
    stopped = Facts([dead, struck("stop download", "node1", began=4)], [waiting, holder])
    assert status(waiting, stopped) == []
    stranger = observed(name="node1", ended=NOW + 4, events=(event("start", 4.5),), lingers=True)
    assert status(waiting, Facts([dead], [waiting, stranger])) == []


# (4)


@pytest.fixture
def process() -> Iterator[str]:
    """The mark of a process that lives."""
    mark = f"{SESSION_MARK}faults-left-"
    running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={MARK: mark})
    yield mark
    running.send_signal(signal.SIGKILL)
    running.wait(PATIENCE)


def test_a_process_that_is_left_is_found(process: str) -> None:
    assert "left: processes of node0" in left_alive("node0", process, deadline=0)[0]
    assert left_alive("node0", f"{process}another", deadline=0) == []


# (5)


def progress(*seconds: float) -> list[dict[str, Any]]:
    return [event("progress", after, fetched=number) for number, after in enumerate(seconds)]


def test_a_client_that_waits_without_a_word_is_found() -> None:
    assert silent(observed(events=progress(2, 8, 14)), NOW + 20) == []
    assert "no progress for 18 s" in silent(observed(events=progress(2)), NOW + 20)[0]
    assert "no progress for 20 s" in silent(observed(), NOW + 20)[0]


def test_a_slow_start_of_the_interpreter_is_no_silence() -> None:
    done = event("done", 20, seconds=5.0)
    assert silent(observed(events=[done]), NOW + 20) == []
    assert silent(observed(events=[{**done, "seconds": 15.0}]), NOW + 20) != []


def test_events_without_progress_are_no_progress() -> None:
    waiting = [event("progress", after, fetched=7) for after in range(20)]
    assert silent(observed(events=waiting), NOW + 20) != []


def test_a_line_within_ten_seconds_and_one_a_minute_are_enough() -> None:
    stall = event("stall", 7, message="waiting")
    assert silent(observed(events=[*progress(2), stall]), NOW + 20) == []
    assert silent(observed(events=[*progress(2), stall, event("progress", 20, fetched=9)]), NOW + 50) == []
    assert silent(observed(events=[*progress(2), event("stall", 19, message="waiting")]), NOW + 20) != []
    assert silent(observed(events=[*progress(2), stall, event("progress", 70, fetched=9)]), NOW + 100) != []


# (6) and (7)


def test_lateness_counts_from_the_end_of_the_last_fault() -> None:
    assert lateness(observed(), usual=3, healed=0) == 17
    assert lateness(observed(), usual=3, healed=NOW + 15) == 2
    assert lateness(observed(ended=None), usual=3, healed=0) is None


def test_a_traceback_in_a_log_is_found(tmp_path: Path) -> None:
    (tmp_path / "node0.log").write_text("INFO: all is well\n")
    (tmp_path / "hostile.log").write_text("Traceback (most recent call last):\n")
    assert tracebacks(tmp_path) == []
    lines = "12 ERROR: Traceback (most recent call last):\n12 ERROR:   File x\n12 ERROR: KeyError: 'a'\n"
    (tmp_path / "node0.log").write_text(lines)
    assert tracebacks(tmp_path) == ["log: a traceback in node0.log: 12 ERROR: KeyError: 'a'"]

"""The benchmark measures what it says: a small run for real, and the sums that are made of results."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.bench import isolation, report
from scripts.bench.bittorrent import bencoded, piece_length
from scripts.bench.cases import Case, Result
from scripts.bench.payload import Payload
from scripts.bench.tools import CHECKOUT, Nginx

WHY_NOT = isolation.obstacle()
for_real = pytest.mark.skipif(bool(WHY_NOT), reason=f"the benchmark cannot run here: {WHY_NOT}")
RATE = 50_000_000
CASE = Case("xget", 2, RATE, 1 << 20, limit=60.0)


@for_real
def test_two_nodes_get_the_file_over_shaped_links() -> None:
    result = isolation.measure(CASE)
    assert not result.failures
    assert result.total is not None
    assert all(taken is not None and taken <= result.total for taken in result.seconds)
    assert result.total > CASE.size * 8 / RATE, "faster than the link: it was not shaped"
    assert CASE.size < result.head_sent < 3 * CASE.size
    assert result.cpu["client"] > 0 < result.cpu["worker"]
    assert result.memory["client"] > 1 << 20


@for_real
def test_who_is_not_done_in_time_has_failed() -> None:
    result = isolation.measure(replace(CASE, size=8 << 20, limit=0.5))
    assert result.failures == ["2 nodes not done in 0.5 s"]
    assert not result.valid
    assert result.total is None


@for_real
@pytest.mark.skipif(bool(Nginx().missing()), reason=f"its unit is measured with {Nginx.package}: not installed")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_benchmark_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    """The mark stands in the environment, so in every process that the run leaves anywhere."""
    mark = f"BENCH_TEST={tmp_path}"
    words = ["--nodes", "2", "--rate", "1", "--size", "8", "--limit", "60"]
    bench = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench", *words],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "BENCH_TEST": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    try:
        _until(lambda: len(_marked(mark)) > 3)
        bench.send_signal(number)
        assert bench.wait(60) == (-number if number == signal.SIGKILL else 128 + number)
        _until(lambda: not _marked(mark))
    finally:
        bench.kill()
        bench.wait()


def _until(true: object) -> None:
    limit = time.monotonic() + 60
    assert callable(true)
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def _marked(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            continue
    return found


def test_without_root_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "scripts.bench", "--nodes", "2"]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is not installed")
        program = ["setpriv", "--reuid=65534", "--clear-groups", "--", *program]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
    said = subprocess.run(program, cwd="/", env=environment, capture_output=True, text=True, timeout=30, check=False)
    if "ModuleNotFound" in said.stderr or "Permission" in said.stderr:
        pytest.skip("the checkout cannot be read by somebody else")
    assert said.returncode == 2
    assert "root is required" in said.stderr


# Payload.


def test_a_truncated_and_a_changed_file_are_found(tmp_path: Path) -> None:
    payload = Payload(tmp_path / "source", 0, 3)
    for name in ("right", "short", "changed", "lacking"):
        shutil.copytree(payload.root, tmp_path / name)
    victim = payload.files[1]
    os.truncate(tmp_path / "short" / victim, 100)
    with (tmp_path / "changed" / victim).open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    (tmp_path / "lacking" / victim).unlink()
    wrong = payload.check([tmp_path / name for name in ("right", "short", "changed", "lacking")])
    assert {directory.name for directory in wrong} == {"short", "changed", "lacking"}


def test_a_payload_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = Payload(tmp_path / "a", 3 << 20, 0), Payload(tmp_path / "b", 3 << 20, 0)
    assert first.size == 3 << 20
    assert not first.check([second.root])


# Results.


def result(case: Case = CASE, total: float | None = 1.0, **changes: Any) -> Result:
    return replace(Result(case, [total] * case.nodes, total, case.size, busy=0.5), **changes)


def test_a_result_survives_being_stored() -> None:
    stored = result(cpu={"client": 1.5}, failures=["x"])
    assert Result.decode(json.loads(stored.encode())) == stored


def test_busy_processors_and_failures_make_a_result_invalid() -> None:
    assert result().valid
    assert not result(busy=0.95).valid
    assert not result(failures=["node0 lied"]).valid
    assert not result(total=None).valid


def test_the_table_shows_multiples_of_the_unit_and_the_cost_of_a_slow_node() -> None:
    case = replace(CASE, nodes=4)
    slow = replace(case, slow=True)
    run = report.Run([], units=[result(total=2.0)])
    run.results = [result(case, 3.0), Result(slow, [3.3, 3.3, 3.3, 20.0], 20.0, case.size, busy=0.5)]
    shown = report.table(run)
    plain, slowed = (line.split() for line in shown.splitlines()[1:3])
    assert plain[2:5] == ["1.50", "1.50", "1.50"]
    assert slowed[4:7] == ["10.00", "1.65", "1.65"]
    assert "the other nodes took 1.10 times as long as without it" in shown


def test_of_several_runs_the_median_is_shown() -> None:
    run = report.Run([], units=[result(total=1.0)], results=[result(total=seconds) for seconds in (9.0, 1.0, 2.0)])
    assert report.table(run).splitlines()[1].split()[2] == "2.00"


def test_a_picture_is_made_of_valid_plain_results_of_one_payload() -> None:
    run = report.Run([], units=[result(total=2.0)])
    run.results = [
        *(result(total=seconds) for seconds in (3.0, 4.0, 9.0)),
        result(total=1.0, failures=["truncated"]),
        result(replace(CASE, slow=True), 1.0),
        result(replace(CASE, tool="rsync", nodes=4), 8.0),
    ]
    assert report.curves([run]) == {"xget": {2: 2.0}, "rsync": {4: 4.0}}
    run.results.append(result(replace(CASE, size=1)))
    with pytest.raises(ValueError, match="different"):
        report.curves([run])


# Torrents.


def test_bencoding_is_that_of_the_specification() -> None:
    assert bencoded({"spam": ["a", "b"], "cow": -3, "e": {}}) == b"d3:cowi-3e1:ede4:spaml1:a1:bee"


@given(st.integers(0, 1 << 45))
def test_pieces_of_a_torrent_are_powers_of_two(size: int) -> None:
    length = piece_length(size)
    assert length & (length - 1) == 0
    assert 16 << 10 <= length <= 4 << 20

"""The benchmark measures what it says: small runs for real."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.bench import isolation
from scripts.bench.bittorrent import bencoded, piece_length
from scripts.bench.cases import Case
from scripts.bench.payload import Payload, expected_size
from scripts.bench.processes import waited
from scripts.bench.roster import TOOLS
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
def test_a_file_takes_as_long_as_the_link_needs() -> None:
    """Two seconds, of which a full bucket of the shaper is sent at once."""
    slow = replace(CASE, tool="nginx", nodes=1, rate=4_000_000)
    result = isolation.measure(slow)
    assert not result.failures
    assert result.total is not None
    assert result.total > 0.9 * slow.size * 8 / slow.rate
    assert slow.size < result.sent < 1.1 * slow.size


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


@for_real
def test_latency_is_added_once_in_each_direction() -> None:
    """The command of a node asks the head and is answered."""
    result = isolation.measure(replace(CASE, tool="nginx", nodes=1, rate=0, size=1, latency=0.2))
    assert not result.failures
    assert result.total is not None
    assert result.total > 4 * 0.2, "one round trip to connect, and one for the file"
    assert result.shares is not None
    assert result.limit == "latency"


@for_real
def test_frames_of_all_sizes_pass_the_switch_that_delays() -> None:
    result = isolation.measure(replace(CASE, nodes=3, latency=0.002))
    assert not result.failures
    assert result.total is not None
    assert result.total > CASE.size * 8 / RATE


@for_real
def test_multicast_passes_the_switch_that_delays() -> None:
    if package := TOOLS["udpcast"].missing():
        pytest.skip(f"{package} is not installed")
    assert isolation.measure(replace(CASE, tool="udpcast", latency=0.002)).failures == []


@for_real
@pytest.mark.parametrize("tool", ["xget", "rsync"])
def test_an_update_moves_what_has_changed(tool: str) -> None:
    if package := TOOLS[tool].missing():
        pytest.skip(f"{package} is not installed")
    case = replace(CASE, tool=tool, nodes=1, rate=0, files=100, changed=10)
    result = isolation.measure(case)
    assert not result.failures
    assert 10 * case.smallest <= result.payload <= 10 * case.largest
    assert 1 < result.wire < 2, "more than has changed"


@for_real
def test_a_link_without_a_limit_has_none() -> None:
    result = isolation.measure(replace(CASE, tool="nginx", nodes=1, rate=0, size=64 << 20))
    assert not result.failures
    assert result.shares is not None
    assert result.shares.link == 0.0
    assert sum((result.shares.processor, result.shares.latency)) == pytest.approx(1.0, abs=0.01)
    assert 0 < result.processor_a_gib < result.processor_a_client * 1000


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


# Processes.


def test_a_thread_that_waits_for_a_processor_is_seen() -> None:
    """Two threads on one processor, which both compute without the interpreter's lock."""
    allowed = os.sched_getaffinity(0)
    stat = Path(f"/proc/self/task/{os.getpid()}/schedstat")
    if not stat.exists():
        pytest.skip("this kernel does not say how long threads wait (CONFIG_SCHED_INFO)")
    before, first = waited(os.getpid()), int(stat.read_bytes().split()[1]) / 1e9
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda data: hashlib.sha256(data).digest(), [bytes(64 << 20)] * 2))
            of_first = int(stat.read_bytes().split()[1]) / 1e9 - first
            assert waited(os.getpid()) - before > of_first + 0.005
    finally:
        os.sched_setaffinity(0, allowed)


# Payload.


def test_a_truncated_and_a_changed_file_are_found(tmp_path: Path) -> None:
    payload = Payload(tmp_path / "source", replace(CASE, files=3))
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
    case = replace(CASE, size=3 << 20)
    first, second = Payload(tmp_path / "a", case), Payload(tmp_path / "b", case)
    assert first.size == 3 << 20
    assert not first.check([second.root])


def test_compressible_content_compresses_two_to_one_in_small_files_too(tmp_path: Path) -> None:
    payload = Payload(tmp_path, replace(CASE, files=3, compressible=True))
    for name in payload.files:
        content = (tmp_path / name).read_bytes()
        assert len(zlib.compress(content)) == pytest.approx(len(content) / 2, rel=0.15)
    assert payload.size == expected_size(replace(CASE, files=3))


def test_a_change_leaves_sizes_and_all_other_files(tmp_path: Path) -> None:
    case = replace(CASE, files=10, changed=3)
    payload = Payload(tmp_path / "source", case)
    shutil.copytree(payload.root, tmp_path / "copy")
    before = {name: ((payload.root / name).read_bytes(), (payload.root / name).stat()) for name in payload.files}
    payload.change(3)
    changed = []
    for name, (content, status) in before.items():
        assert (payload.root / name).stat().st_size == status.st_size
        if (payload.root / name).read_bytes() != content:
            changed.append(name)
            assert (payload.root / name).stat().st_mtime > status.st_mtime + 60, "it may be taken for unchanged"
    assert len(changed) == 3
    assert payload.size == sum(before[name][1].st_size for name in changed)
    assert payload.check([tmp_path / "copy", payload.root]).keys() == {tmp_path / "copy"}


# Torrents.


def test_bencoding_is_that_of_the_specification() -> None:
    assert bencoded({"spam": ["a", "b"], "cow": -3, "e": {}}) == b"d3:cowi-3e1:ede4:spaml1:a1:bee"


@given(st.integers(0, 1 << 45))
def test_pieces_of_a_torrent_are_powers_of_two(size: int) -> None:
    length = piece_length(size)
    assert length & (length - 1) == 0
    assert 16 << 10 <= length <= 4 << 20

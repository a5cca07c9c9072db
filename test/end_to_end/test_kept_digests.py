"""A master that is started again: it hashes what has changed since, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually
from test.support.trees import differences, noise, small_tree, write

SETTLED = 2.1  # seconds after a change from which a look may rely on the times of files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = small_tree(tmp_path / "served")
    write(root / "large", noise(3_000_000, 3))
    wait_until_settled(root)
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "here"


def wait_until_settled(root: Path) -> None:
    newest = max(path.stat().st_ctime for path in root.rglob("*"))
    eventually(lambda: time.time() > newest + SETTLED, "the files are old enough")


def start(cluster: Cluster, source: Path, cache: Path, *options: str) -> Master:
    return cluster.master(source, "--cache", str(cache), *options)


def pieces_hashed(master: Master, generations: int = 1) -> int:
    """How many pieces the master hashed for the last of so many generations."""

    def said() -> list[str]:
        return re.findall(r"generation .* (\d+) pieces hashed", master.log.read_text())

    return int(eventually(lambda: said()[generations - 1 :], "the master says what it hashed")[-1])


def end_when_kept(master: Master, cache: Path, before: int = 0) -> None:
    """End a master when it has saved its digests; `before` is when (ns) they were saved before."""
    eventually(
        lambda: any(file.stat().st_mtime_ns > before and file.suffix != ".new" for file in cache.glob("*")),
        "digests are kept",
    )
    master.signal(signal.SIGTERM)
    assert master.ended().status == 0


def test_a_master_that_is_started_again_hashes_what_has_changed_since(
    cluster: Cluster, source: Path, cache: Path
) -> None:
    first = start(cluster, source, cache)
    assert pieces_hashed(first) == 3 + 4 + 46  # of top, other and file2; of file1; of large
    generation = first.status()["generation"]
    end_when_kept(first, cache)
    (kept,) = cache.iterdir()

    again = start(cluster, source, cache)
    assert pieces_hashed(again) == 0
    assert again.status()["generation"] == generation
    write(source / "top", b"another\n")
    again.signal(signal.SIGHUP)
    assert pieces_hashed(again, generations=2) == 1
    again.signal(signal.SIGKILL)
    again.ended()

    third = start(cluster, source, cache)
    assert pieces_hashed(third) == 1, "killed before it had saved more"
    assert cluster.get(third, cluster.base / "dest").status == 0
    assert differences(source, cluster.base / "dest") == []
    assert [*cache.iterdir()] == [kept]


def test_rehash_believes_nothing_and_keeps_what_it_finds(cluster: Cluster, source: Path, cache: Path) -> None:
    first = start(cluster, source, cache)
    whole = pieces_hashed(first)
    end_when_kept(first, cache)
    (kept,) = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    broken = kept.stat().st_mtime_ns
    second = start(cluster, source, cache, "--rehash")
    assert pieces_hashed(second) == whole
    assert "ignoring the digest cache" not in second.log.read_text()
    end_when_kept(second, cache, broken)
    assert pieces_hashed(start(cluster, source, cache)) == 0


def test_what_is_broken_is_said_in_one_line_and_hashed_anew(cluster: Cluster, source: Path, cache: Path) -> None:
    first = start(cluster, source, cache)
    whole = pieces_hashed(first)
    end_when_kept(first, cache)
    (kept,) = cache.iterdir()
    os.truncate(kept, kept.stat().st_size // 2)
    second = start(cluster, source, cache)
    assert pieces_hashed(second) == whole
    said = [line for line in second.log.read_text().splitlines() if "digest cache" in line]
    assert len(said) == 1
    assert said[0].endswith(f"WARNING: ignoring the digest cache: {kept}: damaged")


def test_a_cache_that_cannot_be_written_stops_nothing(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source, "--cache", "/proc/nowhere")
    assert "No such file or directory" in master.logged("cannot save digests: /proc/nowhere")
    assert cluster.get(master, cluster.base / "dest").status == 0

"""A master whose digests are wrong finds that out by itself when nodes report it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from blake3 import blake3

from test.support.cluster import Cluster, eventually
from test.support.plain_client import PlainClient
from test.support.trees import differences, noise
from xget_lib.ninep.messages import ORDWR
from xget_lib.snapshot import digest_cache
from xget_lib.swarm.messages import Registration

SETTLED = 2.1  # seconds after a change from which the digest of a file is kept


def spoil_digests(cache: Path, digest: bytes) -> None:
    """Change the last digest in the cache of a master: as if the content of that file changed unseen."""
    (path,) = cache.iterdir()
    kept = digest_cache.load(bytes(path))
    assert kept is not None
    encoded = bytearray(kept.encode())
    at = len(encoded) - 64
    encoded[at : at + 32] = digest
    data = bytes(encoded[:-32])
    path.write_bytes(data + blake3(data).digest())


def test_wrong_content_that_a_node_reports_makes_the_master_hash_that_file_again(cluster: Cluster) -> None:
    source, cache = cluster.base / "source", cluster.base / "cache"
    source.mkdir()
    for number in range(5):
        (source / f"file{number}").write_bytes(noise(300_000, number))
        os.utime(source / f"file{number}", (1e9, 1e9))
    newest = max(path.stat().st_ctime for path in source.iterdir())
    eventually(lambda: time.time() > newest + SETTLED, "the files are old enough")
    first = cluster.master(source, "--cache", str(cache))
    eventually(lambda: [file for file in cache.glob("*") if file.suffix != ".new"], "the digests are kept")
    first.signal(signal.SIGTERM)
    assert first.ended().status == 0
    spoil_digests(cache, bytes(32))
    master = cluster.master(source, "--cache", str(cache))
    ended = cluster.get(master, cluster.base / "dest")
    log = master.log.read_text()
    assert ended.status == 0, (ended.stderr, log)
    assert differences(source, cluster.base / "dest") == []
    assert "file4: content changed without a change of size or time; making a new generation" in log
    assert log.count("content changed without") == 1


def test_one_that_reports_what_is_not_true_costs_the_master_a_chunk_in_ten_seconds(cluster: Cluster) -> None:
    source = cluster.base / "source"
    source.mkdir()
    (source / "file").write_bytes(noise(50_000_000, 1))
    master = cluster.master(source)
    status = master.status()
    generation, chunks = bytes.fromhex(status["generation"]), status["chunks"]
    with PlainClient(master.port, "swarm") as liar:
        peers = liar.open("peers", mode=ORDWR)
        for number in range(200):
            liar.write(peers, Registration(1025, generation, 0, wrong_chunk=number % chunks).encode())
        master.logged("file is right on disk, although a node got other content from here")
        assert cluster.get(master, cluster.base / "dest").status == 0
    assert master.log.read_text().count("right on disk") <= 3
    assert master.status()["generation"] == status["generation"]

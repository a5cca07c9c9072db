"""Taking a snapshot with all workers: one scans, all hash, one assembles.

Files are hashed only if they changed since they were hashed last: for the former snapshot, in an earlier run of the
master (`digest_saver`), or in an attempt that failed because another file changed while it was read. The jobs are those
of `ipc.jobs`; the master only passes descriptors of memfds from one to the next, so that half a million files do not
keep it from accepting connections.
"""

from __future__ import annotations

import os
import time
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import gevent
from gevent.pool import Pool

from xget_lib.errors import Failed, printable
from xget_lib.ipc import jobs
from xget_lib.manifest.manifest import DIGEST_SIZE
from xget_lib.master.workers import WorkerPool
from xget_lib.process.memfd import read_all
from xget_lib.report.log import LOGGER

_RUN_BYTES = 64 * 1024 * 1024
_RUN_PIECES = 1024
"""The size of a hash job: small enough to share the work evenly, and its digests fit into one message."""
_JOBS_A_WORKER = 2
_ATTEMPTS = 10
"""How many times a directory is scanned while files in it change, with a second between two scans."""

R = TypeVar("R", bound=jobs.Result)


@dataclass(frozen=True)
class Snapshot:
    """What the master knows of a generation. Owns its descriptors."""

    facts: jobs.Assembled
    manifest: int
    """Descriptor of the encoded manifest."""
    stamps: int
    """Descriptor of the stamps of its files."""
    digest_cache: int
    """Descriptor of the digests, for the next snapshot and the next run."""
    hashed: int
    """How many pieces were hashed for it."""
    scan_digest: bytes
    """The BLAKE3 of the scan: if the next scan has the same, nothing changed."""

    def close(self) -> None:
        for descriptor in (self.manifest, self.stamps, self.digest_cache):
            os.close(descriptor)


class _Jobs(ExitStack):
    """Jobs whose results have descriptors. They are closed at the end of the `with`."""

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__()
        self.pool = pool

    def do(self, request: jobs.Request, expected: type[R], *descriptors: int) -> tuple[R, list[int]]:
        """Have a job done: its result and descriptors. Raises Failed."""
        result, received = self.pool.work("snapshot", request, expected, descriptors)
        for descriptor in received:
            self.callback(os.close, descriptor)
        return result, received


class _FilesChanged(Exception):
    """Files changed while they were read. `digest_cache` has the digests of all others."""

    def __init__(self, path: bytes, digest_cache: int) -> None:
        super().__init__(f"{printable(path)} changed")
        self.digest_cache = digest_cache


def take_snapshot(pool: WorkerPool, scan: jobs.ScanTree, former: Snapshot | None, cache_path: bytes) -> Snapshot | None:
    """Take a snapshot of a directory (or file). Returns None if nothing changed since the former one.

    If there is no former one, the digests saved in the file `cache_path` (b"": none) save work. Raises Failed if the
    directory cannot be read, or does not stop changing.
    """
    with _Jobs(pool) as kept:
        if former is not None:
            cache = former.digest_cache
        else:
            _, (cache,) = kept.do(jobs.LoadDigestCache(cache_path), jobs.DigestCacheMade)
        for _ in range(_ATTEMPTS):
            with _Jobs(pool) as attempt:
                try:
                    return _attempt(attempt, scan, former, cache)
                except _FilesChanged as changed:
                    LOGGER.warning("%s while it was read; scanning again", changed)
                    cache = os.dup(changed.digest_cache)
                    kept.callback(os.close, cache)
            gevent.sleep(1)
    raise Failed("snapshot", "files keep changing while they are read")


def _attempt(attempt: _Jobs, request: jobs.ScanTree, former: Snapshot | None, cache: int) -> Snapshot | None:
    """Raises _FilesChanged."""
    begun = time.time_ns()
    scanned, (scan,) = attempt.do(request, jobs.Scanned)
    _, (digests, listed) = attempt.do(jobs.FindUnknown(), jobs.Unknown, scan, cache)
    runs = array("Q", read_all(listed))
    if former is not None and scanned.digest == former.scan_digest and not runs:
        return None
    length = max(1, min(_RUN_PIECES, _RUN_BYTES * scanned.pieces // max(scanned.size, 1)))
    changed, unreadable = _hash(attempt, scan, digests, runs, length)
    without = jobs.MakeDigestCache(begun, (*changed, *unreadable))
    _, (new_cache,) = attempt.do(without, jobs.DigestCacheMade, scan, digests)
    if changed:
        raise _FilesChanged(next(iter(changed.values())), new_cache)
    assembling = jobs.AssembleManifest(tuple(sorted(unreadable.items())))
    facts, (manifest, stamps) = attempt.do(assembling, jobs.Assembled, scan, digests)
    if former is not None and former.scan_digest == scanned.digest and former.facts.generation == facts.generation:
        return None  # files that cannot be read are tried again each time
    for line in facts.omitted:
        LOGGER.warning("not served: %s", line)
    return Snapshot(
        facts,
        manifest=os.dup(manifest),
        stamps=os.dup(stamps),
        digest_cache=os.dup(new_cache),
        hashed=sum(runs[1::2]) - sum(runs[::2]),
        scan_digest=scanned.digest,
    )


def _hash(
    attempt: _Jobs, scan: int, digests: int, runs: array[int], length: int
) -> tuple[dict[int, bytes], dict[int, str]]:
    """Hash runs of pieces (first, end, first, end, ...) in jobs of `length` pieces.

    Returns, by the number of the file: the path of each that is not as it was scanned, and why others cannot be read.
    """
    changed: dict[int, bytes] = {}
    unreadable: dict[int, str] = {}

    def hash_run(job: jobs.HashPieces) -> None:
        hashed, _ = attempt.do(job, jobs.Hashed, scan)
        os.pwrite(digests, hashed.digests, job.first * DIGEST_SIZE)
        changed.update(hashed.changed)
        unreadable.update(hashed.unreadable)

    hashing = (
        jobs.HashPieces(first, min(first + length, end))
        for start, end in zip(runs[::2], runs[1::2], strict=True)
        for first in range(start, end, length)
    )
    greenlets = Pool(_JOBS_A_WORKER * attempt.pool.size)
    for _ in greenlets.imap_unordered(hash_run, hashing):
        pass
    return changed, unreadable

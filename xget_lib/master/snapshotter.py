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
from collections.abc import Collection
from contextlib import ExitStack
from typing import TypeVar

import gevent
from gevent.pool import Pool

from xget_lib.dataclass import dataclass
from xget_lib.errors import SourceSuspect, StillChanging, printable
from xget_lib.ipc import jobs
from xget_lib.manifest.manifest import DIGEST_SIZE, STILL_CHANGING
from xget_lib.master.scan_progress import Progress
from xget_lib.master.workers import WorkerPool
from xget_lib.process.memfd import memfd, read_all
from xget_lib.report.log import LOGGER
from xget_lib.snapshot.source_identity import SourceIdentity, may_hide, suspicion, suspicion_at_start

_RUN_BYTES = 64 * 1024 * 1024
_RUN_PIECES = 1024
"""The size of a hash job: small enough to share the work evenly, and its digests fit into one message."""
_JOBS_A_WORKER = 2
_ATTEMPTS = 2
"""How often a directory is scanned if files change while they are read. Those that change in the last attempt too are
left out."""
_PAUSE = 0.5
"""Seconds between two attempts."""

R = TypeVar("R", bound=jobs.Result)


@dataclass(frozen=True)
class Snapshot:
    """What the master knows of a generation. Owns its descriptors."""

    facts: jobs.Assembled
    manifest: int
    """Descriptor of the encoded manifest."""
    stamps: int
    """Descriptor of the stamps of its files."""
    base: int
    """Descriptor of the directory that files are read below."""
    digest_cache: int
    """Descriptor of the digests, for the next snapshot and the next run."""
    hashed: int
    """How many pieces were hashed for it."""
    scanned: jobs.Scanned
    """If the next scan has the same digest, nothing changed."""

    def close(self) -> None:
        for descriptor in (self.manifest, self.stamps, self.base, self.digest_cache):
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


@dataclass(frozen=True)
class Taken:
    """The result of `take_snapshot`."""

    snapshot: Snapshot | None
    """None if nothing changed since the former one."""
    changing: bool
    """Whether files are left out because they are still changing."""


class _FilesChanged(Exception):
    """Files changed while they were read. `digest_cache` has the digests of all others."""

    def __init__(self, path: bytes, digest_cache: int) -> None:
        super().__init__(f"{printable(path)} changed")
        self.digest_cache = digest_cache


def take_snapshot(
    pool: WorkerPool,
    scan: jobs.ScanTree,
    former: Snapshot | None,
    cache_path: bytes,
    *,
    progress: Progress,
    rehash: bool = False,
    force: bool = False,
    distrusted: Collection[bytes] = (),
) -> Taken:
    """Take a snapshot of a directory (or file).

    If there is no former one, the digests saved in the file `cache_path` save work, unless `rehash`. Raises Failed if
    the directory cannot be read, and SourceSuspect if it looks like another one than that of the former snapshot, or of
    the saved digests, unless `force`. `distrusted` are paths below the directory that is read of files that are hashed
    whatever their stamps say.
    """
    with _Jobs(pool) as kept:
        saved = b""
        if former is not None:
            cache = former.digest_cache
        else:
            loaded, (cache,) = kept.do(jobs.LoadDigestCache(cache_path, not rehash), jobs.DigestCacheLoaded)
            saved = loaded.source
        for attempts_left in reversed(range(_ATTEMPTS)):
            progress.pieces = progress.hashed = 0
            with _Jobs(pool) as attempt:
                try:
                    return _attempt(
                        attempt,
                        scan,
                        former,
                        saved,
                        cache,
                        progress,
                        force=force,
                        leave_out_changed=not attempts_left,
                        distrusted=distrusted,
                    )
                except _FilesChanged as changed:
                    LOGGER.debug("%s while it was read; scanning again", changed)
                    cache = os.dup(changed.digest_cache)
                    kept.callback(os.close, cache)
            gevent.sleep(_PAUSE)
    raise AssertionError("the last attempt leaves out what changes")


def _scan(attempt: _Jobs, scan: jobs.ScanTree, progress: Progress) -> tuple[jobs.Scanned, list[int]]:
    begun = time.monotonic()
    try:
        with progress.reading():
            return attempt.do(scan, jobs.Scanned)
    finally:
        progress.scan_seconds = time.monotonic() - begun


def _check_source(attempt: _Jobs, root: bytes, former: Snapshot | None, saved: bytes, now: SourceIdentity) -> None:
    """Raise SourceSuspect if a file system was probably mounted or unmounted, by accident or for a while.

    `saved`: the source of an earlier run; it counts if there is no former snapshot.
    """
    if former is None:
        if why := suspicion_at_start(SourceIdentity.decode(saved), now):
            raise SourceSuspect(root, why, at_start=True)
        return
    before = SourceIdentity.decode(former.scanned.source)
    if why := suspicion(before, now):
        raise SourceSuspect(root, why)
    if hiding := may_hide(before, now):
        found, _ = attempt.do(jobs.FindContent(tuple(hiding)), jobs.ContentFound, former.manifest)
        for path in found.paths:
            raise SourceSuspect(root, hiding[path])


def _attempt(
    attempt: _Jobs,
    request: jobs.ScanTree,
    former: Snapshot | None,
    saved: bytes,
    cache: int,
    progress: Progress,
    *,
    force: bool,
    leave_out_changed: bool,
    distrusted: Collection[bytes],
) -> Taken:
    """Scan, hash and assemble. Raises _FilesChanged."""
    begun = time.time_ns()
    scanned, (scan,) = _scan(attempt, request, progress)
    if not force:
        _check_source(attempt, request.root, former, saved, SourceIdentity.decode(scanned.source))
    _, (digests, listed) = attempt.do(jobs.FindUnknown(tuple(distrusted)), jobs.Unknown, scan, cache)
    runs = array("Q", read_all(listed))
    if former is not None and scanned.digest == former.scanned.digest and not runs:
        return Taken(None, changing=False)
    length = max(1, min(_RUN_PIECES, _RUN_BYTES * scanned.pieces // max(scanned.size, 1)))
    changed_path, changed, left_out = _hash(attempt, scan, digests, runs, length, progress)
    left_out_descriptor = memfd("left-out", jobs.encode_left_out({**left_out, STILL_CHANGING: changed}))
    attempt.callback(os.close, left_out_descriptor)
    inputs = scan, digests, left_out_descriptor
    _, (new_cache,) = attempt.do(jobs.MakeDigestCache(begun), jobs.DigestCacheMade, *inputs)
    if changed and not leave_out_changed:
        raise _FilesChanged(changed_path, new_cache)
    if changed and scanned.single:
        raise StillChanging(changed_path)
    facts, (manifest, stamps, base) = attempt.do(jobs.AssembleManifest(), jobs.Assembled, *inputs)
    same = former is not None and former.scanned.digest == scanned.digest
    if same and former is not None and former.facts.generation == facts.generation:
        return Taken(None, bool(changed))  # files that cannot be read are tried again each time
    if former is None or former.facts.omitted != facts.omitted:
        for line in facts.omitted:
            LOGGER.warning("not served: %s", line)
    snapshot = Snapshot(
        facts,
        manifest=os.dup(manifest),
        stamps=os.dup(stamps),
        base=os.dup(base),
        digest_cache=os.dup(new_cache),
        hashed=progress.hashed,
        scanned=scanned,
    )
    return Taken(snapshot, bool(changed))


def _hash(
    attempt: _Jobs, scan: int, digests: int, runs: array[int], length: int, progress: Progress
) -> tuple[bytes, list[int], dict[str, list[int]]]:
    """Hash runs of pieces (first, end, first, end, ...) in jobs of so many pieces.

    Returns the path of one file that is not as it was scanned, the numbers of all such files, and why others cannot be
    read, with their numbers.
    """
    path = b""
    changed: set[int] = set()
    skipped: list[tuple[int, int]] = []  # pieces of files that have changed: the first that was hashed, and the end
    unreadable: dict[str, list[int]] = {}
    progress.pieces = sum(runs[1::2]) - sum(runs[::2])

    def hash_run(job: jobs.HashPieces) -> None:
        nonlocal path
        progress.hashed += job.end - job.first
        if any(first <= job.first and job.end <= end for first, end in skipped):
            return
        hashed, _ = attempt.do(job, jobs.Hashed, scan)
        progress.got_on()
        os.pwrite(digests, hashed.digests, job.first * DIGEST_SIZE)
        if hashed.changed:
            path = path or hashed.changed_path
            changed.update(hashed.changed)
            skipped.append((job.end, hashed.changed_end))
        for why, files in hashed.unreadable:
            unreadable.setdefault(why, []).extend(files)

    hashing = (
        jobs.HashPieces(first, min(first + length, end))
        for start, end in zip(runs[::2], runs[1::2], strict=True)
        for first in range(start, end, length)
    )
    greenlets = Pool(_JOBS_A_WORKER * attempt.pool.size)
    with progress.reading():
        for _ in greenlets.imap_unordered(hash_run, hashing):
            pass
    return path, sorted(changed), unreadable

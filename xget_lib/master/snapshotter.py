"""Taking a snapshot with all workers: one scans, all hash, one assembles.

Master and workers pass the scan, the digests and the manifest to each other as memfds; the master never looks into
them, so that half a million files do not stop it from accepting connections. Only those files are hashed that are not
as they were when they last were: at a look before, in an earlier run of the master (`keeping`), or at a try just before
that a file made vain which changed while it was read. The kinds of `orders.Job`:

    scan      arguments: root, one file system?, names of owners?
              result: pieces, bytes of content, the scan's BLAKE3; descriptors: the scan
    recall    arguments: path of a file with kept digests (`snapshot.digest_cache`), or b""
              descriptors: the digests kept
    compare   descriptors: the scan, the digests kept
              descriptors: room for all digests, those that are known filled in; runs of pieces to hash
    hash      arguments: first piece, end piece; descriptors: the scan
              result: the digests, 32 bytes a piece; number and path of each file that is not as it was scanned;
              number of each file that cannot be read, and why
    retain    arguments: when the survey began (ns since the epoch), numbers of the files that have no digests
              descriptors: the scan, the digests
              descriptors: the digests to keep
    assemble  arguments: number of each file that cannot be read, and why
              descriptors: the scan, the digests
              result: generation, entries, files, bytes, chunks, base, location, skipped
              descriptors: the manifest, the stamps
    save      arguments: path of a file; descriptors: the digests to keep
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.pool import Pool as GreenletPool

from xget_lib.errors import Failed, StaleGeneration
from xget_lib.manifest.manifest import DIGEST_SIZE
from xget_lib.master.workers import Pool
from xget_lib.process.memfd import read_all
from xget_lib.report.log import LOGGER

_RUN_BYTES = 64 * 1024 * 1024
_RUN_PIECES = 1024
"""A job hashes about so much: short enough to spread well, its digests fit in one message."""
_JOBS_A_WORKER = 2
_TRIES = 10
"""How often a directory that changes while it is read is looked at again, a second later each time."""


@dataclass(frozen=True)
class Snapshot:
    """What the master knows of a generation. Owns its descriptors."""

    generation: bytes
    entries: int
    files: int
    size: int
    chunks: int
    base: bytes
    """Absolute path of the directory that files are read below."""
    location: bytes
    """The name below it of a single served file; b"" where a directory is served."""
    manifest: int
    """Descriptor of the encoded manifest."""
    stamps: int
    """Descriptor of the stamps of its files."""
    manifest_size: int
    hashed: int
    """How many pieces were hashed for it."""
    scan: bytes
    """The BLAKE3 of the scan: another look that finds the same need not go on."""
    kept: int
    """Descriptor of the digests that spare the next survey work, and the next run."""

    def close(self) -> None:
        for descriptor in (self.manifest, self.stamps, self.kept):
            os.close(descriptor)


class _Work:
    """Jobs of one survey. Closes, at the end of the `with`, the descriptors of their results."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._unused = ExitStack()

    def __enter__(self) -> _Work:
        return self

    def __exit__(self, *_: object) -> None:
        self._unused.close()

    def do(self, kind: str, arguments: list[object], descriptors: list[int]) -> tuple[Sequence[Any], list[int]]:
        """Have a job done: its result and descriptors. Raises Failed."""
        done, received = self.pool.work(kind, arguments, descriptors)
        for descriptor in received:
            self._unused.callback(os.close, descriptor)
        if done.error:
            raise Failed("snapshot", done.error)
        return done.result, received


def survey(
    pool: Pool, root: bytes, *, one_file_system: bool, owner_names: bool, former: Snapshot | None, known: bytes = b""
) -> Snapshot | None:
    """Take a snapshot of the directory (or file) `root`; None where all is as it was at the former one.

    Where there is no former one, digests kept in the file `known` spare work. Raises Failed where the directory cannot
    be read, or does not stop changing.
    """
    scanned: list[object] = [root, one_file_system, owner_names]
    with ExitStack() as stack:

        def hold(kept: int) -> int:
            held = os.dup(kept)
            stack.callback(os.close, held)
            return held

        if former is not None:
            kept = former.kept
        else:
            with _Work(pool) as work:
                kept = hold(work.do("recall", [known], [])[1][0])
        for _ in range(_TRIES):
            with _Work(pool) as work:
                try:
                    return _survey(work, scanned, former, kept)
                except _Changed as changed:
                    LOGGER.warning("%s while it was read; looking again", changed.error)
                    kept = hold(changed.kept)
            gevent.sleep(1)
    raise Failed("snapshot", "files keep changing while they are read")


class _Changed(Exception):
    """Files changed while they were read. `kept` is what is known of all others."""

    def __init__(self, error: StaleGeneration, kept: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.kept = kept


def _survey(work: _Work, scanned: list[object], former: Snapshot | None, kept: int) -> Snapshot | None:
    """One try. Raises _Changed."""
    begun = time.time_ns()
    (pieces, size, scan_digest), (scan,) = work.do("scan", scanned, [])
    _, (digests, listed) = work.do("compare", [], [scan, kept])
    runs = array("Q", read_all(listed))
    if former is not None and scan_digest == former.scan and not runs:
        return None
    length = max(1, min(_RUN_PIECES, _RUN_BYTES * pieces // max(size, 1)))
    stale, unreadable = _hash(work, scan, digests, runs, length)
    _, (kept,) = work.do("retain", [begun, [*stale, *unreadable]], [scan, digests])
    if stale:
        raise _Changed(StaleGeneration(next(iter(stale.values()))), kept)
    refused = sorted(unreadable.items())
    (*facts, said), (manifest, stamps) = work.do("assemble", [refused], [scan, digests])
    if former is not None and former.scan == scan_digest and former.generation == facts[0]:
        return None  # what cannot be read is tried at each look
    for line in said:
        LOGGER.warning("not served: %s", line)
    generation, entries, files, size, chunks, base, location = facts
    hashed = sum(runs[1::2]) - sum(runs[::2])
    manifest_size = os.fstat(manifest).st_size
    manifest, stamps, kept = map(os.dup, (manifest, stamps, kept))
    return Snapshot(
        generation,
        entries,
        files,
        size,
        chunks,
        base,
        location,
        manifest,
        stamps,
        manifest_size,
        hashed,
        scan_digest,
        kept,
    )


def _hash(
    work: _Work, scan: int, digests: int, runs: array[int], length: int
) -> tuple[dict[int, bytes], dict[int, str]]:
    """Hash runs of pieces (first, end, first, end, ...) in jobs of so many pieces.

    Returns the path of each file that is not as it was scanned, and why others cannot be read, by number.
    """
    stale: dict[int, bytes] = {}
    unreadable: dict[int, str] = {}

    def hash_run(first: int, end: int) -> None:
        (made, changed, refused), _ = work.do("hash", [first, end], [scan])
        os.pwrite(digests, made, first * DIGEST_SIZE)
        stale.update(changed)
        unreadable.update(refused)

    jobs = (
        (first, min(first + length, end))
        for start, end in zip(runs[::2], runs[1::2], strict=True)
        for first in range(start, end, length)
    )
    greenlets = GreenletPool(_JOBS_A_WORKER * work.pool.size)
    for _ in greenlets.imap_unordered(lambda job: hash_run(*job), jobs):
        pass
    return stale, unreadable

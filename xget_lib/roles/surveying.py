"""Taking a snapshot with all workers: one scans, all hash, one assembles.

Master and workers pass the scan, the digests and the manifest to each other as memfds; the master never looks into
them, so that half a million files do not stop it from accepting connections. A later look at the same directory hashes
only what has changed since the one before. The kinds of `orders.Job`:

    scan      arguments: root, one file system?, names of owners?
              result: pieces, bytes of content; descriptors: the scan
    compare   arguments: when the former survey began (ns since the epoch)
              descriptors: the scan, the former scan, the former digests
              result: all the same?; descriptors: digests, those of unchanged files filled in; runs of pieces to hash
    hash      arguments: first piece, end piece; descriptors: the scan
              result: the digests, 32 bytes a piece
    assemble  descriptors: the scan, the digests
              result: generation, entries, files, bytes, chunks, base, location, skipped
              descriptors: the manifest, the stamps
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

from xget_lib.content.manifest import DIGEST_SIZE
from xget_lib.errors import Failed, StaleGeneration
from xget_lib.report.log import LOGGER
from xget_lib.roles.jobs import read_all
from xget_lib.roles.pool import Pool

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
    begun: int
    """When the survey began, ns since the epoch, as file times are."""
    scan: int
    digests: int
    """Descriptors of what the next survey compares with."""

    def close(self) -> None:
        for descriptor in (self.manifest, self.stamps, self.scan, self.digests):
            os.close(descriptor)


def survey(
    pool: Pool, root: bytes, *, one_file_system: bool, owner_names: bool, former: Snapshot | None
) -> Snapshot | None:
    """Take a snapshot of the directory (or file) `root`; None where all is as it was at the former one.

    Raises Failed where it cannot be read, or does not stop changing.
    """
    for _ in range(_TRIES):
        try:
            return _survey(pool, [root, one_file_system, owner_names], former)
        except StaleGeneration as error:
            LOGGER.warning("%s while it was read; looking again", error)
            gevent.sleep(1)
    raise Failed("snapshot", "files keep changing while they are read")


def _survey(pool: Pool, scanned: list[object], former: Snapshot | None) -> Snapshot | None:
    begun = time.time_ns()
    with ExitStack() as unused:

        def work(kind: str, arguments: list[object], descriptors: list[int]) -> tuple[Sequence[Any], list[int]]:
            result, received = _work(pool, kind, arguments, descriptors)
            for descriptor in received:
                unused.callback(os.close, descriptor)
            return result, received

        (pieces, size), (scan,) = work("scan", scanned, [])
        if former is None:
            digests = os.memfd_create("xget-digests", os.MFD_CLOEXEC)
            unused.callback(os.close, digests)
            runs = array("Q", [0, pieces])
        else:
            (same,), received = work("compare", [former.begun], [scan, former.scan, former.digests])
            if same:
                return None
            digests, listed = received
            runs = array("Q", read_all(listed))
        _hash(pool, scan, digests, runs, max(1, min(_RUN_PIECES, _RUN_BYTES * pieces // max(size, 1))))
        (*facts, skipped), (manifest, stamps) = work("assemble", [], [scan, digests])
        for line in skipped:
            LOGGER.warning("not served: %s", line)
        kept = [os.dup(descriptor) for descriptor in (manifest, stamps, scan, digests)]
    generation, entries, files, size, chunks, base, location = facts
    manifest, stamps, scan, digests = kept
    manifest_size = os.fstat(manifest).st_size
    return Snapshot(
        generation, entries, files, size, chunks, base, location, manifest, stamps, manifest_size, begun, scan, digests
    )


def _hash(pool: Pool, scan: int, digests: int, runs: array[int], length: int) -> None:
    """Hash runs of pieces (first, end, first, end, ...) in jobs of so many pieces."""

    def hash_run(first: int, end: int) -> None:
        (made,), _ = _work(pool, "hash", [first, end], [scan])
        os.pwrite(digests, made, first * DIGEST_SIZE)

    jobs = (
        (first, min(first + length, end))
        for start, end in zip(runs[::2], runs[1::2], strict=True)
        for first in range(start, end, length)
    )
    greenlets = GreenletPool(_JOBS_A_WORKER * pool.size)
    for _ in greenlets.imap_unordered(lambda job: hash_run(*job), jobs):
        pass


def _work(pool: Pool, kind: str, arguments: list[object], descriptors: list[int]) -> tuple[Sequence[Any], list[int]]:
    done, received = pool.work(kind, arguments, descriptors)
    if done.stale:
        raise StaleGeneration(os.fsencode(done.error))
    if done.error:
        raise Failed("snapshot", done.error)
    return done.result, received

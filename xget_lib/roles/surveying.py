"""Taking a snapshot with all workers: one scans, all hash, one assembles.

Master and workers pass the scan, the digests and the manifest to each other as memfds; the master never looks into
them, so that half a million files do not stop it from accepting connections. The kinds of `orders.Job`:

    scan      arguments: root, one file system?, names of owners?
              result: pieces, bytes of content; descriptors: the scan
    hash      arguments: first piece, end piece; descriptors: the scan
              result: the digests, 32 bytes a piece
    assemble  descriptors: the scan, the digests
              result: generation, entries, files, bytes, chunks, base, location, skipped
              descriptors: the manifest, the stamps
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import cast

import gevent
from gevent.pool import Pool as GreenletPool

from xget_lib.content.manifest import DIGEST_SIZE
from xget_lib.errors import Failed, StaleGeneration
from xget_lib.report.log import LOGGER
from xget_lib.roles import orders
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

    def close(self) -> None:
        os.close(self.manifest)
        os.close(self.stamps)


def survey(pool: Pool, root: bytes, one_file_system: bool, owner_names: bool) -> Snapshot:
    """Take a snapshot of the directory (or file) `root`.

    Raises Failed where it cannot be read, or does not stop changing.
    """
    for _ in range(_TRIES):
        try:
            return _survey(pool, [root, one_file_system, owner_names])
        except StaleGeneration as error:
            LOGGER.warning("%s while it was read; looking again", error)
            gevent.sleep(1)
    raise Failed("snapshot", "files keep changing while they are read")


def _survey(pool: Pool, scanned: list[object]) -> Snapshot:
    done, (scan,) = _work(pool, "scan", scanned, [])
    digests = os.memfd_create("xget-digests", os.MFD_CLOEXEC)
    try:
        pieces, size = done.result
        _hash(pool, scan, digests, pieces, size)
        done, (manifest, stamps) = _work(pool, "assemble", [], [scan, digests])
    finally:
        os.close(digests)
        os.close(scan)
    generation, entries, files, size, chunks, base, location, skipped = done.result
    for line in skipped:
        LOGGER.warning("not served: %s", line)
    return Snapshot(
        generation, entries, files, size, chunks, base, location, manifest, stamps, os.fstat(manifest).st_size
    )


def _hash(pool: Pool, scan: int, digests: int, pieces: int, size: int) -> None:
    if not pieces:
        return
    run = max(1, min(_RUN_PIECES, _RUN_BYTES * pieces // max(size, 1)))

    def hash_run(first: int) -> None:
        done, _ = _work(pool, "hash", [first, min(first + run, pieces)], [scan])
        os.pwrite(digests, cast(bytes, done.result[0]), first * DIGEST_SIZE)

    greenlets = GreenletPool(_JOBS_A_WORKER * pool.size)
    for _ in greenlets.imap_unordered(hash_run, range(0, pieces, run)):
        pass


def _work(pool: Pool, kind: str, arguments: list[object], descriptors: list[int]) -> tuple[orders.Done, list[int]]:
    done, received = pool.work(kind, arguments, descriptors)
    if done.stale:
        raise StaleGeneration(os.fsencode(done.error))
    if done.error:
        raise Failed("snapshot", done.error)
    return done, received

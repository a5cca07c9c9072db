"""The work of a snapshot, as a worker does it, in a thread of its own (see `surveying` for what the jobs are).

The steps are those of `content.snapshot`; here their inputs and results become memfds, and their failures messages.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from typing import Any

from blake3 import blake3

from xget_lib.content import kept, snapshot
from xget_lib.content.beneath import Root
from xget_lib.content.kept import Kept
from xget_lib.content.manifest import DIGEST_SIZE
from xget_lib.errors import Failed, StaleGeneration, XGetError, printable
from xget_lib.report.log import LOGGER
from xget_lib.roles import orders

_SETTLED = 2_000_000_000
"""Nanoseconds. A file that changed so shortly before a survey may have changed again within the same tick of its clock
(FAT counts in 2 s), so it is read again whatever its times say."""
_SKIPPED_SHOWN = 100
"""Lines of what is not served that go into the log."""


def perform(job: orders.Job, descriptors: Sequence[int]) -> tuple[orders.Done, list[int]]:
    """Do a job; its result, and descriptors that the caller sends along and closes. Raises nothing but bugs."""
    try:
        result, made = _KINDS[job.kind](descriptors, *job.arguments)
    except XGetError as error:
        return orders.Done(job.number, (), str(error)), []
    except OSError as error:
        return orders.Done(job.number, (), error.strerror or str(error)), []
    return orders.Done(job.number, result), made


def _scan(_: Sequence[int], root: bytes, one_file_system: bool, owner_names: bool) -> tuple[list[Any], list[int]]:
    scan = snapshot.scan(root, one_file_system, owner_names)
    encoded = scan.encode()
    return [scan.layout.piece_count, scan.layout.size, blake3(encoded).digest()], [memfd("scan", encoded)]


def _recall(_: Sequence[int], path: bytes) -> tuple[list[Any], list[int]]:
    known = None
    try:
        known = kept.load(path) if path else None
    except Failed as error:
        LOGGER.warning("kept digests are not used: %s", error)
    return [], [memfd("kept", (known or kept.NOTHING).encode())]


def _compare(descriptors: Sequence[int]) -> tuple[list[Any], list[int]]:
    scan = _decoded(descriptors[0])
    digests, runs = Kept.decode(read_all(descriptors[1])).spare(scan.stamps, scan.layout.first_pieces)
    return [], [memfd("digests", digests), memfd("runs", runs.tobytes())]


def _hash(descriptors: Sequence[int], first: int, end: int) -> tuple[list[Any], list[int]]:
    scan = _decoded(descriptors[0])
    with Root(scan.base) as root:
        try:
            return [snapshot.hash_pieces(root, scan, scan.layout, first, end), []], []
        except StaleGeneration:
            return list(_hash_what_stayed(root, scan, first, end)), []


def _hash_what_stayed(root: Root, scan: snapshot.Scan, first: int, end: int) -> tuple[bytes, list[tuple[int, bytes]]]:
    """The digests of a run of pieces, file by file: zeros for those that changed, which are listed."""
    layout = scan.layout
    digests = bytearray()
    changed = []
    while first < end:
        file = layout.file_of_piece(first)
        stop = min(end, layout.file_pieces(file).stop)
        try:
            digests += snapshot.hash_pieces(root, scan, layout, first, stop)
        except StaleGeneration as error:
            digests += bytes((stop - first) * DIGEST_SIZE)
            changed.append((file, error.path))
        first = stop
    return bytes(digests), changed


def _retain(descriptors: Sequence[int], begun: int, stale: Sequence[int]) -> tuple[list[Any], list[int]]:
    scan = _decoded(descriptors[0])
    made = Kept.of(
        scan.stamps, scan.layout.first_pieces, read_all(descriptors[1]), settled=begun - _SETTLED, without=stale
    )
    return [], [memfd("kept", made.encode())]


def _assemble(descriptors: Sequence[int]) -> tuple[list[Any], list[int]]:
    scan = _decoded(descriptors[0])
    manifest = snapshot.assemble(scan, read_all(descriptors[1]))
    encoded = manifest.encode()
    skipped = [f"{printable(path)}: {why}" for path, why in scan.skipped[:_SKIPPED_SHOWN]]
    if len(scan.skipped) > _SKIPPED_SHOWN:
        skipped.append(f"and {len(scan.skipped) - _SKIPPED_SHOWN} more")
    layout = manifest.layout
    result = [manifest.generation, len(manifest.entries), layout.file_count, layout.size, layout.chunk_count]
    stamps = array("q", scan.stamps)
    return [*result, scan.base, scan.location, skipped], [
        memfd("manifest", encoded),
        memfd("stamps", stamps.tobytes()),
    ]


def _save(descriptors: Sequence[int], path: bytes) -> tuple[list[Any], list[int]]:
    kept.save(path, read_all(descriptors[0]))
    return [], []


_KINDS: dict[str, Any] = {
    "scan": _scan,
    "recall": _recall,
    "compare": _compare,
    "hash": _hash,
    "retain": _retain,
    "assemble": _assemble,
    "save": _save,
}

_last_scan: tuple[tuple[int, int], snapshot.Scan] | None = None


def _decoded(descriptor: int) -> snapshot.Scan:
    """The scan in a memfd. The last one is kept: all jobs of one survey come with the same."""
    global _last_scan
    status = os.fstat(descriptor)
    if _last_scan is None or _last_scan[0] != (status.st_dev, status.st_ino):
        _last_scan = (status.st_dev, status.st_ino), snapshot.Scan.decode(read_all(descriptor))
    return _last_scan[1]


def forget() -> None:
    """A survey is over: its scan isn't needed any more."""
    global _last_scan
    _last_scan = None


def read_all(descriptor: int) -> bytes:
    """The whole content of a memfd, wherever its offset is."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def memfd(name: str, data: bytes | bytearray) -> int:
    """A new memfd that contains these bytes; the caller closes it."""
    descriptor = os.memfd_create(f"xget-{name}", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor

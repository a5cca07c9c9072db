"""The work of a snapshot, as a worker does it, in a thread of its own (see `surveying` for what the jobs are).

The steps are those of `content.snapshot`; here their inputs and results become memfds, and their failures messages.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from typing import Any

from xget_lib.content import snapshot
from xget_lib.content.beneath import Root
from xget_lib.errors import StaleGeneration, XGetError, printable
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
    except StaleGeneration as error:
        return orders.Done(job.number, (), os.fsdecode(error.path), stale=True), []
    except XGetError as error:
        return orders.Done(job.number, (), str(error)), []
    except OSError as error:
        return orders.Done(job.number, (), error.strerror or str(error)), []
    return orders.Done(job.number, result), made


def _scan(_: Sequence[int], root: bytes, one_file_system: bool, owner_names: bool) -> tuple[list[Any], list[int]]:
    scan = snapshot.scan(root, one_file_system, owner_names)
    return [scan.layout.piece_count, scan.layout.size], [_memfd("scan", scan.encode())]


def _compare(descriptors: Sequence[int], former_begun: int) -> tuple[list[Any], list[int]]:
    new, former = read_all(descriptors[0]), read_all(descriptors[1])
    scan, before = snapshot.Scan.decode(new), snapshot.Scan.decode(former)
    digests, runs = snapshot.unchanged(scan, before, read_all(descriptors[2]), former_begun - _SETTLED)
    if new == former and not runs:
        return [True], []
    return [False], [_memfd("digests", digests), _memfd("runs", runs.tobytes())]


def _hash(descriptors: Sequence[int], first: int, end: int) -> tuple[list[Any], list[int]]:
    scan = _decoded(descriptors[0])
    with Root(scan.base) as root:
        return [snapshot.hash_pieces(root, scan, scan.layout, first, end)], []


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
        _memfd("manifest", encoded),
        _memfd("stamps", stamps.tobytes()),
    ]


_KINDS: dict[str, Any] = {"scan": _scan, "compare": _compare, "hash": _hash, "assemble": _assemble}

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


def _memfd(name: str, data: bytes | bytearray) -> int:
    descriptor = os.memfd_create(f"xget-{name}", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor

"""The work of a snapshot, as a worker does it, in a thread of its own (see `surveying` for what the jobs are).

The steps are those of `snapshot.hash`; here their inputs and results become memfds, and their failures messages.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from blake3 import blake3

from xget_lib import ipc
from xget_lib.errors import Failed, XGetError, printable
from xget_lib.fs.rooted import Root
from xget_lib.process.memfd import memfd, read_all
from xget_lib.report.log import LOGGER
from xget_lib.snapshot import digest_cache
from xget_lib.snapshot.assemble import assemble, without_unreadable
from xget_lib.snapshot.digest_cache import DigestCache
from xget_lib.snapshot.hash import hash_pieces
from xget_lib.snapshot.scan import Scan, scan

_SETTLED = 2_000_000_000
"""Nanoseconds. A file that changed so shortly before a survey may have changed again within the same tick of its clock
(FAT counts in 2 s), so it is read again whatever its times say."""
_SKIPPED_SHOWN = 100
"""Lines of what is not served that go into the log."""


def perform(job: ipc.Job, descriptors: Sequence[int]) -> tuple[ipc.Done, list[int]]:
    """Do a job; its result, and descriptors that the caller sends along and closes. Raises nothing but bugs."""
    try:
        result, made = _KINDS[job.kind](descriptors, *job.arguments)
    except XGetError as error:
        return ipc.Done(job.number, (), str(error)), []
    except OSError as error:
        return ipc.Done(job.number, (), error.strerror or str(error)), []
    return ipc.Done(job.number, result), made


def _scan(_: Sequence[int], root: bytes, one_file_system: bool, owner_names: bool) -> tuple[list[Any], list[int]]:
    found = scan(root, one_file_system, owner_names)
    encoded = found.encode()
    descriptor = memfd("scan", encoded)
    _remember(descriptor, found)
    return [found.layout.piece_count, found.layout.size, blake3(encoded).digest()], [descriptor]


def _recall(_: Sequence[int], path: bytes) -> tuple[list[Any], list[int]]:
    known = None
    try:
        known = digest_cache.load(path) if path else None
    except Failed as error:
        LOGGER.warning("kept digests are not used: %s", error)
    return [], [memfd("kept", (known or digest_cache.EMPTY).encode())]


def _compare(descriptors: Sequence[int]) -> tuple[list[Any], list[int]]:
    found = _decoded(descriptors[0])
    digests, runs = DigestCache.decode(read_all(descriptors[1])).look_up(found.cache_keys, found.layout.first_pieces)
    return [], [memfd("digests", digests), memfd("runs", runs.tobytes())]


def _hash(descriptors: Sequence[int], first: int, end: int) -> tuple[list[Any], list[int]]:
    found = _decoded(descriptors[0])
    with Root(found.base) as root:
        hashed = hash_pieces(root, found, first, end)
    return [hashed.digests, list(hashed.changed.items()), list(hashed.unreadable.items())], []


def _retain(descriptors: Sequence[int], begun: int, without: Sequence[int]) -> tuple[list[Any], list[int]]:
    found = _decoded(descriptors[0])
    digests = read_all(descriptors[1])
    made = DigestCache.build(
        found.cache_keys, found.layout.first_pieces, digests, settled=begun - _SETTLED, without=without
    )
    return [], [memfd("kept", made.encode())]


def _assemble(descriptors: Sequence[int], unreadable: Sequence[tuple[int, str]]) -> tuple[list[Any], list[int]]:
    found, digests = without_unreadable(_decoded(descriptors[0]), read_all(descriptors[1]), dict(unreadable))
    manifest = assemble(found, digests)
    encoded = manifest.encode()
    said = [f"{printable(each.path)}: {each.why}" for each in manifest.omitted]
    if len(said) > _SKIPPED_SHOWN:
        said[_SKIPPED_SHOWN:] = [f"and {len(said) - _SKIPPED_SHOWN} more"]
    layout = manifest.layout
    result = [manifest.generation, len(manifest.entries), layout.file_count, layout.size, layout.chunk_count]
    return [*result, found.base, found.location, said], [
        memfd("manifest", encoded),
        memfd("stamps", found.stamps.tobytes()),
    ]


def _save(descriptors: Sequence[int], path: bytes) -> tuple[list[Any], list[int]]:
    digest_cache.save(path, read_all(descriptors[0]))
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

_last_scan: tuple[tuple[int, int], Scan] | None = None


def _decoded(descriptor: int) -> Scan:
    """The scan in a memfd. The last one is kept: all jobs of one survey come with the same."""
    if _last_scan is None or _last_scan[0] != _inode(descriptor):
        return _remember(descriptor, Scan.decode(read_all(descriptor)))
    return _last_scan[1]


def _remember(descriptor: int, found: Scan) -> Scan:
    global _last_scan
    _last_scan = _inode(descriptor), found
    return found


def _inode(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def forget() -> None:
    """A survey is over: its scan isn't needed any more."""
    global _last_scan
    _last_scan = None

"""The jobs of a snapshot (`ipc.jobs`), as a worker does them in a thread.

The package `snapshot` does the work. Here inputs and results are read from and written to memfds, and errors become
messages.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice, takewhile
from logging import DEBUG, WARNING

from blake3 import blake3

from xget_lib import ipc
from xget_lib.dataclass import replace
from xget_lib.errors import Failed, PathRefused, XGetError, printable
from xget_lib.fs.rooted import Root
from xget_lib.ipc import jobs
from xget_lib.manifest.decoding import decode_trusted
from xget_lib.manifest.entry import DIRECTORY
from xget_lib.manifest.index import MANIFEST_LIMIT
from xget_lib.manifest.patterns import Patterns
from xget_lib.process.memfd import memfd, read_all
from xget_lib.report.events import size
from xget_lib.report.log import LOGGER
from xget_lib.signing import signature_file
from xget_lib.snapshot import digest_cache
from xget_lib.snapshot.assemble import assemble, without_unreadable
from xget_lib.snapshot.digest_cache import DigestCache
from xget_lib.snapshot.hash import hash_pieces
from xget_lib.snapshot.scan import Scan, scan
from xget_lib.snapshot.source_identity import SourceIdentity
from xget_lib.snapshot.steps import Steps
from xget_lib.worker.check_chunk import wrong_files

_SETTLED = 2_000_000_000
"""Nanoseconds. A file that changed so shortly before a snapshot may have changed again within the same tick of its
clock (FAT counts in 2 s), so it is read again whatever its times say."""
_OMITTED_SHOWN = 100
"""Lines about files that are not served that go into the log."""

_PATH_SIZE = 1024
_PATHS_SIZE = 32 * 1024
"""Bytes of a path, and of several, that go into a message."""

STEPS = Steps()
"""What the jobs of this process have done so far."""

_Done = tuple[jobs.Result, list[int]]
"""A result, and the descriptors that go with it."""


def perform(job: ipc.Job, descriptors: Sequence[int]) -> tuple[ipc.Done | ipc.JobFailed, list[int]]:
    """Do a job. Returns the answer, and its descriptors, which the caller sends along and closes.

    The caller keeps `descriptors`. Errors become a JobFailed.
    """
    try:
        result, made = _perform(job.request, descriptors)
    except XGetError as error:
        return ipc.JobFailed(job.number, str(error)), []
    except OSError as error:
        return ipc.JobFailed(job.number, error.strerror or str(error)), []
    return ipc.Done(job.number, result), made


def _perform(request: jobs.Request, descriptors: Sequence[int]) -> _Done:
    match request:
        case jobs.ScanTree():
            return _scan(request)
        case jobs.LoadDigestCache():
            return _load_digest_cache(request)
        case jobs.FindContent(paths):
            return _find_content(paths, *descriptors), []
        case jobs.FindUnknown(distrusted):
            return _find_unknown(frozenset(distrusted), *descriptors)
        case jobs.HashPieces(first, end):
            return _hash(first, end, *descriptors), []
        case jobs.MakeDigestCache():
            return _make_digest_cache(request, *descriptors)
        case jobs.AssembleManifest():
            return _assemble(*descriptors)
        case jobs.CheckChunk():
            return _check_chunk(request, *descriptors), []
        case jobs.SaveDigestCache(path):
            digest_cache.save(path, read_all(*descriptors))
            return jobs.Saved(), []
        case jobs.ReadSignatures(root, path):
            return _read_signatures(path or signature_file.usual_path(root) or b""), []
        case jobs.AddSignature(path, line):
            return jobs.SignatureAdded(signature_file.add(path, *signature_file.decode(line))), []
    raise Failed("snapshot", f"unknown job {type(request).__name__}")


def _scan(request: jobs.ScanTree) -> _Done:
    found = scan(
        request.root,
        request.one_file_system,
        request.owner_names,
        public_only=request.public_only,
        exclude=Patterns(request.exclude),
        own_files=request.own_files,
        steps=STEPS,
    )
    encoded = found.encode()
    descriptor = memfd("scan", encoded)
    _remember(descriptor, found)
    result = jobs.Scanned(
        found.layout.piece_count,
        found.layout.size,
        blake3(encoded).digest(),
        bool(found.location),
        _fitting(found.source).encode(),
        found.private,
    )
    return result, [descriptor]


def _fitting(source: SourceIdentity) -> SourceIdentity:
    """The source with as many mounts as go into a message."""
    room = _Room(_PATHS_SIZE)
    return replace(source, mounts=tuple(takewhile(lambda each: room.has(each.path + each.identity), source.mounts)))


def _load_digest_cache(request: jobs.LoadDigestCache) -> _Done:
    loaded = _load(request.path, WARNING if request.digests else DEBUG)
    used = loaded if request.digests else digest_cache.EMPTY
    return jobs.DigestCacheLoaded(_fitting(loaded.source).encode()), [memfd("digest-cache", used.encode())]


def _load(path: bytes, level: int) -> DigestCache:
    try:
        return digest_cache.load(path) or digest_cache.EMPTY
    except Failed as error:
        LOGGER.log(level, "ignoring the digest cache: %s", error)
        return digest_cache.EMPTY


def _find_unknown(distrusted: frozenset[bytes], scan_descriptor: int, cache_descriptor: int) -> _Done:
    found = _decoded(scan_descriptor)
    cache = DigestCache.decode(read_all(cache_descriptor))
    if distrusted:
        doubted = [file for file in range(found.layout.file_count) if found.path_of(file) in distrusted]
        cache = cache.without(found.cache_keys, doubted)
    digests, runs = cache.look_up(found.cache_keys, found.layout.first_pieces)
    return jobs.Unknown(), [memfd("digests", digests), memfd("runs", runs.tobytes())]


def _hash(first: int, end: int, scan_descriptor: int) -> jobs.Hashed:
    found = _decoded(scan_descriptor)
    with Root(found.base) as root:
        hashed = hash_pieces(root, found, first, end, STEPS)
    changed = sorted(hashed.changed)
    unreadable: dict[str, list[int]] = {}
    for file, why in hashed.unreadable.items():
        unreadable.setdefault(why, []).append(file)
    return jobs.Hashed(
        hashed.digests,
        tuple(changed),
        found.path_of(changed[0])[:_PATH_SIZE] if changed else b"",
        found.layout.file_pieces(changed[-1]).stop if changed else 0,
        tuple((why, tuple(files)) for why, files in unreadable.items()),
    )


def _find_content(paths: Sequence[bytes], manifest_descriptor: int) -> jobs.ContentFound:
    entries = decode_trusted(read_all(manifest_descriptor)).entries
    found = []
    for path in paths:
        number = entries.find(path)
        if number is not None and entries.kind(number) == DIRECTORY and len(entries.children_of(number)):
            found.append(path)
    return jobs.ContentFound(tuple(found))


def _check_chunk(request: jobs.CheckChunk, manifest_descriptor: int, base: int) -> jobs.ChunkChecked:
    manifest = decode_trusted(read_all(manifest_descriptor))
    with Root(b"", base) as root:
        path, wrong = wrong_files(manifest, root, request.location, request.chunk)
    return jobs.ChunkChecked(path[:_PATHS_SIZE], tuple(takewhile(_Room(_PATHS_SIZE).has, wrong)))


def _make_digest_cache(request: jobs.MakeDigestCache, scan_descriptor: int, digests: int, left_out: int) -> _Done:
    found = _decoded(scan_descriptor)
    made = DigestCache.build(
        found.cache_keys,
        found.layout.first_pieces,
        read_all(digests),
        settled=request.begun - _SETTLED,
        without=jobs.decode_left_out(read_all(left_out)),
        source=found.source,
    )
    return jobs.DigestCacheMade(), [memfd("digest-cache", made.encode())]


def _assemble(scan_descriptor: int, digests_descriptor: int, left_out_descriptor: int) -> _Done:
    left_out = jobs.decode_left_out(read_all(left_out_descriptor))
    found, digests = without_unreadable(_decoded(scan_descriptor), read_all(digests_descriptor), left_out)
    manifest = assemble(found, digests)
    encoded = manifest.encode()
    if len(encoded) > MANIFEST_LIMIT:
        raise PathRefused(found.base, f"its manifest has {size(len(encoded))}, more than {size(MANIFEST_LIMIT)}")
    lines = (f"{printable(each.path)}: {each.why}" for each in manifest.omitted)
    room = _Room(_PATHS_SIZE)
    omitted = list(takewhile(lambda line: room.has(line.encode()), islice(lines, _OMITTED_SHOWN)))
    if len(omitted) < len(manifest.omitted):
        omitted.append(f"and {len(manifest.omitted) - len(omitted)} more")
    layout = manifest.layout
    result = jobs.Assembled(
        manifest.generation,
        len(manifest.entries),
        layout.file_count,
        layout.size,
        layout.chunk_count,
        found.base,
        found.location,
        tuple(omitted),
    )
    # The directory that was scanned, for workers to come: its name may mean another one by then, or none.
    base = os.open(found.base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return result, [memfd("manifest", encoded), memfd("stamps", found.stamps.tobytes()), base]


def _read_signatures(file: bytes) -> jobs.SignaturesRead:
    signed, trouble = signature_file.read_valid(file) if file else ([], None)
    return jobs.SignaturesRead(file, signature_file.encode(signed), str(trouble or ""))


class _Room:
    """So many bytes for texts."""

    def __init__(self, size: int) -> None:
        self._left = size

    def has(self, text: bytes) -> bool:
        """Whether this text fits too. Then it takes its room."""
        self._left -= len(text)
        return self._left >= 0


_last_scan: tuple[os.stat_result, Scan] | None = None


def _decoded(descriptor: int) -> Scan:
    """The scan in a memfd. The last one is cached, since all jobs of one snapshot have the same."""
    if _last_scan is None or not os.path.samestat(_last_scan[0], os.fstat(descriptor)):
        return _remember(descriptor, Scan.decode(read_all(descriptor)))
    return _last_scan[1]


def _remember(descriptor: int, found: Scan) -> Scan:
    global _last_scan
    _last_scan = os.fstat(descriptor), found
    return found


def forget() -> None:
    """Free the cached scan: its snapshot is done."""
    global _last_scan
    _last_scan = None

"""The jobs of a snapshot: the requests of the master, and the results of workers. Each request names its result.

Master and workers pass the scan, the digests and the manifest to each other as memfds, whose descriptors travel with
the message in the order that the docstring gives. The master never looks into them. What is left out of the manifest is
such a memfd too: why, and the numbers of the files (`encode_left_out`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgpack

from xget_lib.ipc.codec import Message, message


def encode_left_out(why: Mapping[str, Iterable[int]]) -> bytes:
    """The files that a manifest does not have: the reason -> their numbers. There may be too many for a message."""
    encoded: bytes = msgpack.packb({reason: sorted(files) for reason, files in why.items()})
    return encoded


def decode_left_out(encoded: bytes) -> dict[int, str]:
    """The number of each file that a manifest does not have -> the reason."""
    why: dict[str, list[int]] = msgpack.unpackb(encoded)
    return {file: reason for reason, files in why.items() for file in files}


class Request(Message):
    """Base of all requests."""

    __slots__ = ()


class Result(Message):
    """Base of all results."""

    __slots__ = ()


@message
class ScanTree(Request):
    """List a directory, or a file. Result: Scanned."""

    root: bytes
    one_file_system: bool
    owner_names: bool
    """Whether to look up the names of owners and groups."""
    public_only: bool
    """Whether to leave out what not everybody may read."""
    own_files: tuple[bytes, ...] = ()
    """Paths below the root that the master writes to itself: they are left out."""
    exclude: tuple[bytes, ...] = ()
    """Patterns (`manifest.patterns`) for what is left out."""


@message
class Scanned(Result):
    """Descriptor: the scan."""

    DESCRIPTORS = 1

    pieces: int
    size: int
    """Bytes of content."""
    digest: bytes
    """The BLAKE3 of the scan."""
    single: bool
    """Whether one file is served."""
    source: bytes
    """What it is recognised by: an encoded `snapshot.source_identity.SourceIdentity`."""
    private: int
    """Files that not everybody may read."""


@message
class LoadDigestCache(Request):
    """Read the digests that an earlier run saved in this file. Result: DigestCacheLoaded."""

    path: bytes
    digests: bool
    """Whether to use them."""


@message
class DigestCacheLoaded(Result):
    """Descriptor: an encoded `snapshot.digest_cache.DigestCache`."""

    DESCRIPTORS = 1

    source: bytes
    """What the directory of the earlier run is recognised by, as in Scanned."""


@message
class DigestCacheMade(Result):
    """Descriptor: an encoded `snapshot.digest_cache.DigestCache`."""

    DESCRIPTORS = 1


@message
class FindUnknown(Request):
    """Find the pieces whose digests are not in the cache. Descriptors: the scan, the digest cache. Result: Unknown."""

    DESCRIPTORS = 2

    distrusted: tuple[bytes, ...]
    """Paths below `base` of files whose digests are unknown, whatever the cache has."""


@message
class Unknown(Result):
    """Descriptors: all digests, those that are unknown left blank; the runs of pieces to hash (first, end, ...)."""

    DESCRIPTORS = 2


@message
class HashPieces(Request):
    """Hash the pieces from `first` to before `end`. Descriptor: the scan. Result: Hashed."""

    DESCRIPTORS = 1

    first: int
    end: int


@message
class Hashed(Result):
    """The digests of a run of pieces."""

    digests: bytes
    """32 bytes a piece; blank where there is none."""
    changed: tuple[int, ...]
    """Numbers of the files that are not as they were scanned."""
    changed_path: bytes
    """The path of the first of them, for the log."""
    changed_end: int
    """The end of the pieces of the last of them: no other job needs to hash those."""
    unreadable: tuple[tuple[str, tuple[int, ...]], ...]
    """Why files cannot be read, and the numbers of those."""


@message
class MakeDigestCache(Request):
    """Make a digest cache. Descriptors: the scan, the digests, what is left out. Result: DigestCacheMade."""

    DESCRIPTORS = 3

    begun: int
    """When the snapshot began, in nanoseconds since the epoch."""


@message
class AssembleManifest(Request):
    """Make the manifest. Descriptors: the scan, the digests, what is left out. Result: Assembled."""

    DESCRIPTORS = 3


@message
class Assembled(Result):
    """Descriptors: the encoded manifest, the stamps of its files, the directory `base`."""

    DESCRIPTORS = 3

    generation: bytes
    entries: int
    files: int
    size: int
    """Bytes of content."""
    chunks: int
    base: bytes
    """Absolute path of the directory that files are read below."""
    location: bytes
    """The name below it of a single served file; b"" if a directory is served."""
    omitted: tuple[str, ...]
    """What is not served, and why: lines for the log."""


@message
class FindContent(Request):
    """Find out which directories are not empty in a manifest. Descriptor: the manifest. Result: ContentFound."""

    DESCRIPTORS = 1

    paths: tuple[bytes, ...]


@message
class ContentFound(Result):
    """Those of the paths."""

    paths: tuple[bytes, ...]


@message
class CheckChunk(Request):
    """Read a chunk and compare it with its digests. Descriptors: the manifest, the directory `base`. Result:
    ChunkChecked."""

    DESCRIPTORS = 2

    chunk: int
    """It exists in this manifest."""
    location: bytes
    """As in Assembled."""


@message
class ChunkChecked(Result):
    """Paths are below `base`, as many as fit in a message."""

    path: bytes
    """Of the first file of the chunk."""
    wrong: tuple[bytes, ...]
    """Of the files whose part of the chunk is not as in the manifest, or cannot be read."""


@message
class SaveDigestCache(Request):
    """Write a digest cache to this file. Descriptor: the digest cache. Result: Saved."""

    DESCRIPTORS = 1

    path: bytes


@message
class ReadSignatures(Request):
    """Read a signature file. Result: SignaturesRead."""

    root: bytes
    """What is served."""
    path: bytes
    """The file; b"" for the usual one of `root`."""


@message
class SignaturesRead(Result):
    """What was signed (`signing.signature_file`)."""

    path: bytes
    """The file; b"" if `root` has no usual one."""
    lines: bytes
    trouble: str
    """Why the file, or a part of it, cannot be read; "" if all of it could be read, or there is no file."""


@message
class AddSignature(Request):
    """Add a line to a signature file. Result: SignatureAdded."""

    path: bytes
    line: bytes


@message
class SignatureAdded(Result):
    done: bool
    """False: the file has a serial as high by now."""


@message
class Saved(Result):
    """The file is written."""

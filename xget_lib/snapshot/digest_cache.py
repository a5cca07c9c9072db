"""Digests of files, kept from one snapshot to the next, and in a file from one run of a master to the next.

The key of a file is its stamp: device, inode, size, and the times of its last modification and change. A file that
changed shortly before the snapshot may change again within the same tick of the clock, and then has the same stamp. So
its digests are not kept, and it is hashed again (git calls such a file "racily clean").

The encoding, with numbers in the byte order of this machine:

    b"xgetkept", version, words of a stamp, number of files, number of pieces, bytes of the source
    source      what the directory is recognised by (snapshot.source_identity)
    stamps      STAMP_WORDS numbers of 8 bytes a file
    counts      a number of 4 bytes a file: how many pieces it has
    digests     DIGEST_SIZE bytes a piece
    BLAKE3      of all before it

Half a million small files take 38 MB. Reading checks everything, because another program may have changed the file.
"""

from __future__ import annotations

import os
import stat
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, compress, islice
from operator import sub

from blake3 import blake3

from xget_lib.errors import Failed, printable
from xget_lib.fs.stamp import CTIME_WORD, MTIME_WORD, STAMP_WORDS
from xget_lib.manifest.manifest import DIGEST_SIZE
from xget_lib.snapshot.source_identity import UNKNOWN_SOURCE, SourceIdentity

VERSION = 3
_MAGIC = b"xgetkept"
_HEAD = struct.Struct("=8sIIQQI")
_STAMP = struct.Struct(f"={8 * STAMP_WORDS}s")
_UNKNOWN = -1


class DigestCache:
    """The digests of files, by stamp. Immutable."""

    def __init__(
        self, stamps: bytes, counts: array[int], digests: bytes | memoryview, source: SourceIdentity = UNKNOWN_SOURCE
    ) -> None:
        """Of each file its stamp, its number of pieces, and their digests, in the same order of files. `source`: of the
        directory with these files."""
        self.source = source
        self._stamps = stamps
        self._counts = counts
        self._digests = digests

    @classmethod
    def build(
        cls,
        stamps: array[int],
        first_pieces: Sequence[int],
        digests: bytes,
        *,
        settled: int,
        without: Iterable[int] = (),
        source: SourceIdentity = UNKNOWN_SOURCE,
    ) -> DigestCache:
        """The digests of a snapshot that can be kept: of files last changed before `settled` (ns since the epoch).

        `stamps`: of all its files (Scan.cache_keys). `digests`: of all its pieces. `first_pieces`: see Layout.
        `without`: the files, by number, that have no digests.
        """
        counts = _counts(first_pieces)
        changed = map(max, stamps[MTIME_WORD::STAMP_WORDS], stamps[CTIME_WORD::STAMP_WORDS])
        chosen = bytearray(time < settled for time in changed)
        for file in without:
            chosen[file] = 0
        if 0 not in chosen:
            return cls(stamps.tobytes(), counts, digests, source)
        runs = [digests[first_pieces[a] * DIGEST_SIZE : first_pieces[b] * DIGEST_SIZE] for a, b in _runs(chosen)]
        kept = (stamp for (stamp,) in compress(_STAMP.iter_unpack(stamps.tobytes()), chosen))
        return cls(b"".join(kept), array("I", compress(counts, chosen)), b"".join(runs), source)

    def without(self, stamps: array[int], files: Iterable[int]) -> DigestCache:
        """This cache without the digests of some files, by number in a scan with these stamps."""
        words = stamps.tobytes()
        doubted = {words[file * _STAMP.size : (file + 1) * _STAMP.size] for file in files}
        kept = bytearray(stamp not in doubted for (stamp,) in _STAMP.iter_unpack(self._stamps))
        first = array("Q", accumulate(self._counts, initial=0))
        digests = b"".join(self._digests[first[a] * DIGEST_SIZE : first[b] * DIGEST_SIZE] for a, b in _runs(kept))
        left = b"".join(stamp for (stamp,) in compress(_STAMP.iter_unpack(self._stamps), kept))
        return DigestCache(left, array("I", compress(self._counts, kept)), digests)

    def look_up(self, stamps: array[int], first_pieces: Sequence[int]) -> tuple[bytearray, array[int]]:
        """Finds the digests of a new scan with these stamps.

        Returns the digests of all its pieces, with zeros where they are not known, and the ranges of pieces that must
        be hashed: first, end, first, end, ...
        """
        counts = _counts(first_pieces)
        found = stamps.tobytes()
        if found == self._stamps and counts == self._counts:
            return bytearray(self._digests), array("Q")
        filled = bytearray(first_pieces[-1] * DIGEST_SIZE)
        runs = array("Q")
        kept_first = array("Q", accumulate(self._counts, initial=0))
        for file, end, kept in self._known(found, counts):
            first, stop = first_pieces[file], first_pieces[end]
            if first == stop:
                continue
            if kept == _UNKNOWN:
                runs.extend((first, stop))
            else:
                start = kept_first[kept] * DIGEST_SIZE
                size = (stop - first) * DIGEST_SIZE
                filled[first * DIGEST_SIZE : stop * DIGEST_SIZE] = self._digests[start : start + size]
        return filled, runs

    def _known(self, found: bytes, counts: array[int]) -> Iterator[tuple[int, int, int]]:
        """(first, end, number of the first in this cache or _UNKNOWN) of each range of files that are in a row here."""
        numbers = {stamp: number for number, (stamp,) in enumerate(_STAMP.iter_unpack(self._stamps))}
        first, kept = 0, _UNKNOWN
        expected = _UNKNOWN
        for file, ((stamp,), count) in enumerate(zip(_STAMP.iter_unpack(found), counts, strict=True)):
            number = numbers.get(stamp, _UNKNOWN)
            if number != _UNKNOWN and self._counts[number] != count:
                number = _UNKNOWN
            if number != expected:
                yield first, file, kept
                first, kept = file, number
            expected = number if number == _UNKNOWN else number + 1
        yield first, len(counts), kept

    def encode(self) -> bytes:
        source = self.source.encode()
        pieces = len(self._digests) // DIGEST_SIZE
        head = _HEAD.pack(_MAGIC, VERSION, STAMP_WORDS, len(self._counts), pieces, len(source))
        data = b"".join((head, source, self._stamps, self._counts.tobytes(), self._digests))
        return data + blake3(data).digest()

    @classmethod
    def decode(cls, data: bytes) -> DigestCache:
        """The inverse of encode. Raises ValueError, which says why, for anything else."""
        if len(data) < _HEAD.size + DIGEST_SIZE:
            raise ValueError("truncated")
        magic, version, words, files, pieces, source_size = _HEAD.unpack_from(data)
        if (magic, version, words) != (_MAGIC, VERSION, STAMP_WORDS):
            raise ValueError("written by another version of XGet")
        view = memoryview(data)
        stamps_at = _HEAD.size + source_size
        counts_at = stamps_at + files * _STAMP.size
        digests_at = counts_at + files * 4
        end = digests_at + pieces * DIGEST_SIZE
        if len(data) != end + DIGEST_SIZE or blake3(view[:end]).digest() != view[end:]:
            raise ValueError("damaged")
        counts = array("I", bytes(view[counts_at:digests_at]))
        if sum(counts) != pieces:
            raise ValueError("damaged")
        source = SourceIdentity.decode(bytes(view[_HEAD.size : stamps_at]))
        return cls(bytes(view[stamps_at:counts_at]), counts, view[digests_at:end], source)


EMPTY = DigestCache(b"", array("I"), b"")


def _counts(first_pieces: Sequence[int]) -> array[int]:
    """How many pieces each file has."""
    return array("I", map(sub, islice(first_pieces, 1, None), first_pieces))


def _runs(chosen: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """(first, end) of each range of ones."""
    end = 0
    while (first := chosen.find(1, end)) >= 0:
        end = chosen.find(0, first)
        if end < 0:
            end = len(chosen)
        yield first, end


def load(path: bytes) -> DigestCache | None:
    """What was saved there; None if there is no file. Raises Failed if the file cannot be used."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise Failed(printable(path), "belongs to another user, or is not a regular file")
            return DigestCache.decode(file.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(printable(path), error.strerror or str(error)) from error
    except ValueError as error:
        raise Failed(printable(path), str(error)) from None


def save(path: bytes, encoded: bytes) -> None:
    """Replaces the file by this encoding in one step, unless it is the same. Raises OSError.

    Does not sync: after a power failure the file may be damaged, which `load` notices; only time is lost.
    """
    if _ends_with(path, encoded[-DIGEST_SIZE:]):
        return
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    new = path + b".new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(encoded)
    os.rename(new, path)


def _ends_with(path: bytes, checksum: bytes) -> bool:
    """Whether the file has the same checksum at its end."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(checksum), os.SEEK_END)
            return file.read() == checksum
    except OSError:
        return False

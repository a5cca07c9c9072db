"""Digests that are kept: from one look at a directory to the next, and in a file from one run of a master to the next.

A file is known again by its stamp: device, inode, size, and the times of its last modification and change. What was
written so shortly before it was read that a further write may have come within the same tick of the clock is not kept
(git calls such entries of its index racily clean): whatever its stamp says later, the file is hashed again.

The encoding, with numbers as this machine has them:

    b"xgetkept", version, words of a stamp, number of files, number of pieces
    stamps      STAMP_WORDS numbers of 8 bytes a file
    counts      a number of 4 bytes a file: how many pieces it has
    digests     DIGEST_SIZE bytes a piece
    BLAKE3      of all before it

Half a million small files take 38 MB. What is read from a disk is a stranger's: bytes that are not a whole encoding are
refused, and those that are one can do no worse than name wrong digests.
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

VERSION = 2
_MAGIC = b"xgetkept"
_HEAD = struct.Struct("=8sIIQQ")
_STAMP = struct.Struct(f"={8 * STAMP_WORDS}s")
_UNKNOWN = -1


class DigestCache:
    """The digests of files by their stamps."""

    def __init__(self, stamps: bytes, counts: array[int], digests: bytes | memoryview) -> None:
        """Of each file its stamp, how many pieces it has, and their digests, all in one order."""
        self._stamps = stamps
        self._counts = counts
        self._digests = digests

    @classmethod
    def of(
        cls,
        stamps: array[int],
        first_pieces: Sequence[int],
        digests: bytes,
        *,
        settled: int,
        without: Iterable[int] = (),
    ) -> DigestCache:
        """What can be kept of a survey: the files that were last changed before `settled` (ns since the epoch).

        `stamps` and `digests` are those of all its files and pieces, `first_pieces` as Layout has them; the files
        `without` have no digests.
        """
        counts = _counts(first_pieces)
        changed = map(max, stamps[MTIME_WORD::STAMP_WORDS], stamps[CTIME_WORD::STAMP_WORDS])
        chosen = bytearray(time < settled for time in changed)
        for file in without:
            chosen[file] = 0
        if 0 not in chosen:
            return cls(stamps.tobytes(), counts, digests)
        runs = [digests[first_pieces[a] * DIGEST_SIZE : first_pieces[b] * DIGEST_SIZE] for a, b in _runs(chosen)]
        kept = (stamp for (stamp,) in compress(_STAMP.iter_unpack(stamps.tobytes()), chosen))
        return cls(b"".join(kept), array("I", compress(counts, chosen)), b"".join(runs))

    def spare(self, stamps: array[int], first_pieces: Sequence[int]) -> tuple[bytearray, array[int]]:
        """What these spare a survey that found files with such stamps.

        Returns room for the digests of all its pieces with the known ones filled in, and the runs of pieces (first,
        end, first, end, ...) that are to be hashed.
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
        """Which of the files found are kept: (first, end, number of the first among the kept, or _UNKNOWN)."""
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
        head = _HEAD.pack(_MAGIC, VERSION, STAMP_WORDS, len(self._counts), len(self._digests) // DIGEST_SIZE)
        data = b"".join((head, self._stamps, self._counts.tobytes(), self._digests))
        return data + blake3(data).digest()

    @classmethod
    def decode(cls, data: bytes) -> DigestCache:
        """What encode gave. Anything else raises ValueError, which says why."""
        if len(data) < _HEAD.size + DIGEST_SIZE:
            raise ValueError("too short")
        magic, version, words, files, pieces = _HEAD.unpack_from(data)
        if (magic, version, words) != (_MAGIC, VERSION, STAMP_WORDS):
            raise ValueError("not what this version of xget keeps")
        view = memoryview(data)
        counts_at = _HEAD.size + files * _STAMP.size
        digests_at = counts_at + files * 4
        end = digests_at + pieces * DIGEST_SIZE
        if len(data) != end + DIGEST_SIZE or blake3(view[:end]).digest() != view[end:]:
            raise ValueError("damaged")
        counts = array("I", bytes(view[counts_at:digests_at]))
        if sum(counts) != pieces:
            raise ValueError("damaged")
        return cls(bytes(view[_HEAD.size : counts_at]), counts, view[digests_at:end])


NOTHING = DigestCache(b"", array("I"), b"")


def _counts(first_pieces: Sequence[int]) -> array[int]:
    """How many pieces each file has."""
    return array("I", map(sub, islice(first_pieces, 1, None), first_pieces))


def _runs(chosen: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """(first, end) of each run of ones."""
    end = 0
    while (first := chosen.find(1, end)) >= 0:
        end = chosen.find(0, first)
        if end < 0:
            end = len(chosen)
        yield first, end


def load(path: bytes) -> DigestCache | None:
    """What was saved there; None where nothing was. Raises Failed where there is something that is not to be used."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise Failed(printable(path), "not a file of this user")
            return DigestCache.decode(file.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(printable(path), error.strerror or str(error)) from error
    except ValueError as error:
        raise Failed(printable(path), str(error)) from None


def save(path: bytes, encoded: bytes) -> None:
    """Puts an encoding there in place of what is there, in one step. Raises OSError.

    Not synced: after a loss of power it may be damaged, which `load` notices, and costs no more than its loss.
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
    """Whether the same was saved there already, so far as its end says."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(checksum), os.SEEK_END)
            return file.read() == checksum
    except OSError:
        return False

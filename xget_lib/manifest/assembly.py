"""Putting an encoded manifest together from what is known and what has to be read, without I/O.

First the root, then the pages that are not known, then the parts that are not known. Each is compared with its digest
as soon as it is there, so what came from one server can be used with the rest from another one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterable
from functools import cached_property

from blake3 import blake3

from xget_lib.errors import MalformedManifest
from xget_lib.manifest.index import HEAD_SIZE, Index, Part, root_size, verify

SMALL = 1 << 16
"""Bytes of a manifest that is read at once, whatever is known."""
_ROOT_LEAST, _PER_ROOT_BYTE = 512, 2048
"""Bytes that a root has, about: so many, and one for so many bytes of the manifest. What lacks is read then."""
_SPARE = 1 << 20
"""Bytes that may be taken from what is known, besides twice its size: a short index must not become a long manifest."""

Assembly = Generator[list[range], list[bytes], "bytes | None"]
"""Yields ranges of the manifest to be read, and gets what is there; fewer bytes where it ends before."""


class KnownParts:
    """The pages and parts of an older manifest, and those that have been read of a newer one."""

    def __init__(self, old: bytes | memoryview) -> None:
        """`old` is a whole encoded manifest, perhaps a damaged one, that must not change. Raises MalformedManifest."""
        self._old = memoryview(old)
        index = Index.of(self._old)
        self.generation = index.generation
        self._pages = {page.digest: (page.start, page.size) for page in index.pages}
        self._parts = {part.digest: (part.start, part.size) for part in index.parts(self._old)}
        self._read: dict[bytes, bytes] = {}
        self._left = 2 * len(self._old) + _SPARE

    def whole(self, generation: bytes) -> bytes | memoryview | None:
        """The old manifest, verified, if it is of this generation."""
        return self._old if self.generation == generation and self._is_right else None

    @cached_property
    def _is_right(self) -> bool:
        try:
            verify(self._old)
        except MalformedManifest:
            return False
        return True

    def page(self, digest: bytes) -> bytes | memoryview | None:
        return self._found(digest, self._pages)

    def part(self, part: Part) -> bytes | memoryview | None:
        """Compared with its digest."""
        found = self._found(part.digest, self._parts)
        if found is None or len(found) != part.size or len(found) > self._left:
            return None
        self._left -= len(found)
        return found if blake3(found).digest() == part.digest else None

    def add(self, digest: bytes, content: bytes) -> None:
        """This has been read, and has this digest."""
        self._read[digest] = content

    def _found(self, digest: bytes, among: dict[bytes, tuple[int, int]]) -> bytes | memoryview | None:
        if digest in self._read:
            return self._read[digest]
        start, size = among.get(digest, (0, 0))
        return self._old[start : start + size] if size else None


def assembly(size: int, generation: bytes, known: KnownParts | None = None) -> Assembly:
    """The encoded manifest of a generation, verified, from a server whose manifest has so many bytes; None if that is
    of another generation. Raises MalformedManifest."""
    expected = _ROOT_LEAST + size // _PER_ROOT_BYTE if known is not None and size > SMALL else SMALL
    first = range(min(size, expected))
    (head,) = yield [first]
    if len(head) < min(len(first), HEAD_SIZE):
        return None
    length = root_size(head)
    if length > len(head):
        if len(head) < len(first) or length > size:
            return None
        head += (yield [range(len(head), length)])[0]
    root = head[:length]
    if blake3(root).digest() != generation:
        return None
    index = Index(root, size)
    if known is None or size <= SMALL:
        if len(head) < size:
            head += (yield [range(len(head), size)])[0]
        verify(head)
        return head
    return (yield from _with_known(root, index, known))


def _with_known(root: bytes, index: Index, known: KnownParts) -> Assembly:
    lacking = [page for page in index.pages if known.page(page.digest) is None]
    ranges = _joined(range(page.start, page.start + page.size) for page in lacking)
    read = _Read(ranges, (yield ranges) if ranges else [])
    for page in lacking:
        content = read.at(page.start, page.size)
        page.parts(content)
        known.add(page.digest, content)
    pieces: list[bytes | memoryview | None] = [root]
    parts: list[Part] = []
    for page in index.pages:
        found = known.page(page.digest)
        assert found is not None
        pieces.append(found)
        parts += page.parts(found)
    first_part = len(pieces)
    pieces += map(known.part, parts)
    unknown = [part for part, piece in zip(parts, pieces[first_part:], strict=True) if piece is None]
    ranges = _joined(range(part.start, part.start + part.size) for part in unknown)
    read = _Read(ranges, (yield ranges) if ranges else [])
    wrong = False
    for number, part in enumerate(parts, first_part):
        if pieces[number] is None:
            content = read.at(part.start, part.size)
            if blake3(content).digest() == part.digest:
                known.add(part.digest, content)
                pieces[number] = content
            else:
                wrong = True
    if wrong:
        raise MalformedManifest("a part has another digest")
    return b"".join(piece for piece in pieces if piece is not None)


class _Read:
    """What was read of some ranges."""

    def __init__(self, ranges: list[range], contents: list[bytes]) -> None:
        self._starts = [each.start for each in ranges]
        self._contents = contents

    def at(self, start: int, size: int) -> bytes:
        number = bisect_right(self._starts, start) - 1
        begin = start - self._starts[number]
        return self._contents[number][begin : begin + size]


def _joined(ranges: Iterable[range]) -> list[range]:
    """Ranges that are in order, with those that touch made one."""
    joined: list[range] = []
    for each in ranges:
        if joined and joined[-1].stop == each.start:
            joined[-1] = range(joined[-1].start, each.stop)
        else:
            joined.append(each)
    return joined

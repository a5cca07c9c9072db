"""What the number of the manifest's format stands for: everything that a node and its master both compute.

Nodes and masters of different versions work together if the number is the same, and a node refuses another one. So a
change of the encoding, of pieces or of chunks that kept the number would make a swarm of two versions wrong in silence.
If a test here fails, give the format another number (`VERSION`), and add what is new to `EXPECTED`.
"""

from __future__ import annotations

import hashlib

from test.support.example_manifests import SINGLE, SMALL
from test.support.manifests import file, manifest, root
from test.support.manifests import layout as layout_of
from xget_lib.manifest.index import VERSION
from xget_lib.manifest.layout import Layout

KIB = 1024
MIB = 1024 * KIB

EXPECTED = {
    4: ("7dd478db96d4eaf6", "cef87d73dfb6e6da"),
}
"""By format: the digests of what is encoded, and of how content is divided."""


LARGE = manifest(root(), *(file(b"%d" % number, number, mtime_ns=number) for number in range(3000)))
"""It has several parts in several columns."""


def digest(*texts: bytes) -> str:
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]


def division(layout: Layout) -> bytes:
    """All pieces and chunks of a layout."""
    pieces = [tuple(layout.piece(number)) for number in range(layout.piece_count)]
    return repr((layout.chunk_size, pieces, [layout.chunk_pieces(n) for n in range(layout.chunk_count)])).encode()


def test_the_number_of_the_format_stands_for_this_encoding() -> None:
    assert digest(SMALL.encode(), SINGLE.encode(), LARGE.encode()) == EXPECTED[VERSION][0]


def test_the_number_of_the_format_stands_for_these_pieces_and_chunks() -> None:
    sizes = [0, 1, 70_000, 300 * KIB, 5 * MIB, 200 * MIB + 17, *(1000 * number for number in range(300))]
    layouts = (layout_of([(b"%d" % n, size) for n, size in enumerate(sizes[:count])]) for count in (3, 6, len(sizes)))
    assert digest(*map(division, layouts)) == EXPECTED[VERSION][1]

"""Putting a manifest together: no more is read than what differs, and nothing wrong is taken."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.changing_manifests import Files, files_of, manifest_of
from test.support.example_manifests import manifests
from test.support.manifests import indexed
from xget_lib.errors import MalformedManifest
from xget_lib.manifest.assembly import SMALL, Assembly, KnownParts, assembly
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.index import Index
from xget_lib.manifest.manifest import Manifest

MANY = files_of(Random(1), directories=60, files=100)
"""A manifest of some 400 KB."""


class Server:
    """Answers for a manifest, and counts."""

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded
        self.sent = 0
        self.answers = 0

    def answer(self, ranges: list[range]) -> list[bytes]:
        contents = [self.encoded[each.start : each.stop] for each in ranges]
        self.sent += sum(map(len, contents))
        self.answers += 1
        return contents

    def run(self, steps: Assembly) -> bytes | None:
        ranges = next(steps)
        while True:
            try:
                ranges = steps.send(self.answer(ranges))
            except StopIteration as end:
                found: bytes | None = end.value
                return found


def updated(old: bytes, new: bytes) -> Server:
    """A server of the new manifest, after who has the old one has read it."""
    server = Server(new)
    assert server.run(assembly(len(new), Index.of(new).generation, KnownParts(old))) == new
    return server


def encoded(files: Files) -> bytes:
    return manifest_of(files).encode()


@given(manifests())
def test_without_an_older_manifest_all_is_read(original: Manifest) -> None:
    data = original.encode()
    server = Server(data)
    assert server.run(assembly(len(data), original.generation)) == data
    assert server.sent == len(data)
    assert server.answers == 1


def test_a_long_manifest_is_read_in_two_steps() -> None:
    data = encoded(MANY)
    assert len(data) > 4 * SMALL
    server = Server(data)
    assert server.run(assembly(len(data), Index.of(data).generation)) == data
    assert (server.sent, server.answers) == (len(data), 2)


def change(files: Files, kind: str, rng: Random) -> Files:
    """A few files are changed, added or removed."""
    changed = dict(files)
    for path in rng.sample(sorted(files), rng.randint(1, 4)):
        directory = path.rpartition(b"/")[0]
        if kind == "changed":
            changed[path] = (rng.randrange(1, 60_000), rng.randrange(1 << 60), rng.randbytes(32))
        elif kind == "added":
            changed[directory + b"/%x" % rng.getrandbits(64)] = (1, rng.randrange(1 << 60), rng.randbytes(32))
        else:
            del changed[path]
    return changed


@given(st.integers(0, 1 << 32), st.sampled_from(["changed", "added", "removed"]))
def test_a_change_is_read_and_a_little_more(seed: int, kind: str) -> None:
    """A few files in distinct places: each costs one or two parts of each column, and their pages."""
    rng = Random(seed)
    new = change(MANY, kind, rng)
    count = len(set(new.items()) ^ set(MANY.items()))
    server = updated(encoded(MANY), encoded(new))
    assert server.answers <= 4
    index = Index.of(server.encoded)
    longest = max(part.size for part in index.parts(server.encoded)) + max(page.size for page in index.pages)
    assert server.sent <= index.pages[0].start + 512 + len(server.encoded) // 2048 + 12 * count * longest


def test_what_one_change_costs_does_not_grow_with_the_number_of_files() -> None:
    costs = []
    for directories in (60, 240):
        files = files_of(Random(2), directories=directories, files=100)
        new = dict(files)
        new[sorted(files)[len(files) // 2]] = (17, 17, bytes(32))
        server = updated(encoded(files), encoded(new))
        costs.append(server.sent - len(server.encoded) // 2048)  # without the root
    assert costs[1] < 2 * costs[0]
    assert costs[0] < len(encoded(MANY)) // 8


def test_a_new_first_file_moves_no_parts_but_its_own() -> None:
    new = {b"dir-000/!": (5, 5, bytes(32)), **MANY}
    assert updated(encoded(MANY), encoded(new)).sent < len(encoded(new)) // 4


def test_a_hard_link_and_holes_far_behind_a_new_file_are_the_same_bytes() -> None:
    """They say how far away their files are, not where."""
    old, new = (
        manifest_of(files, links=2000, sparse=500) for files in (MANY, {b"dir-000/!": (5, 5, bytes(32)), **MANY})
    )
    assert decode(new.encode()).entries.first_names == new.entries.first_names
    assert list(decode(new.encode()).entries.extents) == list(new.entries.extents)
    assert updated(old.encode(), new.encode()).sent < len(new.encode()) // 4


@given(st.integers(0, 1 << 32))
def test_whatever_is_known_the_result_is_the_manifest(seed: int) -> None:
    """Also of manifests that have nothing in common."""
    rng = Random(seed)
    one = files_of(rng, directories=rng.randint(1, 20), files=rng.randint(50, 100))
    other = {path: rng.choice((was, (1, 1, rng.randbytes(32)))) for path, was in one.items() if rng.random() < 0.9}
    server = updated(encoded(one), encoded(other))
    assert server.sent <= len(server.encoded) + SMALL


def test_what_one_server_has_sent_is_not_read_again_from_the_next() -> None:
    old, new = encoded(MANY), encoded(files_of(Random(3), directories=60, files=100))
    spoilt = bytearray(new)
    last = list(Index.of(new).parts(new))[-1]
    spoilt[last.start] ^= 1
    known = KnownParts(old)
    with pytest.raises(MalformedManifest, match="a part has another digest"):
        Server(bytes(spoilt)).run(assembly(len(new), Index.of(new).generation, known))
    second = Server(new)
    assert second.run(assembly(len(new), Index.of(new).generation, known)) == new
    assert second.sent <= 512 + len(new) // 2048 + last.size


def test_a_damaged_old_manifest_costs_no_more_than_none() -> None:
    old, new = bytearray(encoded(MANY)), encoded(MANY)
    for part in Index.of(new).parts(new):
        old[part.start] ^= 1
    known = KnownParts(bytes(old))
    assert known.whole(Index.of(new).generation) is None
    server = Server(new)
    assert server.run(assembly(len(new), Index.of(new).generation, known)) == new
    with pytest.raises(MalformedManifest):
        KnownParts(bytes(100))


def test_an_old_manifest_of_the_same_generation_is_all() -> None:
    data = encoded(MANY)
    assert KnownParts(data).whole(Index.of(data).generation) == data
    assert KnownParts(data).whole(bytes(32)) is None


def test_a_short_index_does_not_become_a_long_manifest() -> None:
    """One known part, a thousand times: only so many are taken, the rest must be sent."""
    part = Random(4).randbytes(SMALL)
    old = indexed(part + b"x")
    hostile = indexed(part * 1000)
    server = Server(hostile)
    assert server.run(assembly(len(hostile), Index.of(hostile).generation, KnownParts(old))) == hostile
    assert server.sent > len(hostile) - 2 * len(old) - (2 << 20)


@pytest.mark.parametrize("known", [None, KnownParts(encoded(MANY))])
def test_another_generation_is_seen_by_its_root(known: KnownParts | None) -> None:
    data = encoded(files_of(Random(5), directories=60, files=100))
    server = Server(data)
    assert server.run(assembly(len(data), bytes(32), known)) is None
    assert server.sent <= SMALL
    assert Server(b"").run(assembly(len(data), bytes(32), known)) is None


@pytest.mark.parametrize("known", [None, KnownParts(encoded(MANY))])
def test_nothing_wrong_is_taken(known: KnownParts | None) -> None:
    data = encoded(files_of(Random(6), directories=20, files=100))
    generation = Index.of(data).generation
    rng = Random(7)
    for at in (20, 60, Index.of(data).pages[0].start, *(rng.randrange(len(data)) for _ in range(30))):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << rng.randrange(8)
        try:
            found = Server(bytes(spoilt)).run(assembly(len(data), generation, known))
        except MalformedManifest:
            continue
        assert found in (None, data)  # data: it had all that is spoilt
    for end in (0, 10, 20, 100, len(data) // 2, len(data) - 1):
        try:
            found = Server(data[:end]).run(assembly(len(data), generation, None))
        except MalformedManifest:
            continue
        assert found is None

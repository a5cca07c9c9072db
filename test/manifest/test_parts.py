"""Where a manifest is cut: by what is next to the cut, and never too far apart."""

from __future__ import annotations

from random import Random

import pytest

from test.support.changing_manifests import Files, files_of, manifest_of
from test.support.manifests import file, manifest, root
from xget_lib.manifest.entry import EntryMetadata
from xget_lib.manifest.index import PART_LIMIT, Index
from xget_lib.manifest.manifest import Manifest, Omitted
from xget_lib.manifest.parts import part_ends

FILES = files_of(Random(1), directories=50, files=100)


def parts_of(made: Manifest) -> list[bytes]:
    encoded = made.encode()
    return [encoded[part.start : part.start + part.size] for part in Index.of(encoded).parts(encoded)]


def differing(one: Manifest, other: Manifest) -> int:
    """Bytes of the parts of the second that the first does not have."""
    known = set(parts_of(one))
    return sum(len(part) for part in parts_of(other) if part not in known)


def added(files: Files, path: bytes) -> Files:
    return {**files, path: (5, 5, bytes(32))}


def test_the_parts_are_the_body_and_of_usual_size() -> None:
    made = manifest_of(FILES)
    parts = parts_of(made)
    assert b"".join(parts) == made.encode_body()
    assert 1000 < len(made.encode_body()) / len(parts) < 4000


@pytest.mark.parametrize("path", [b"dir-000/!", b"dir-025/file-0050!", b"dir-049/~"])
def test_a_new_file_changes_parts_near_to_it(path: bytes) -> None:
    assert (
        differing(manifest_of(FILES), manifest_of(added(FILES, path))) < 60_000 < len(manifest_of(FILES).encode()) // 4
    )


def test_a_new_directory_changes_parts_near_to_it() -> None:
    new = added(added(FILES, b"dir-020a/one"), b"dir-020a/two")
    assert differing(manifest_of(FILES), manifest_of(new)) < 90_000


def test_equal_times_are_cut_too() -> None:
    """As in a build with SOURCE_DATE_EPOCH."""
    same = {path: (size, 1_700_000_000, digest) for path, (size, _, digest) in FILES.items()}
    assert differing(manifest_of(same), manifest_of(added(same, b"dir-010/file-0000!"))) < 60_000


def test_many_metadata_sets_and_omitted_paths_are_cut_too() -> None:
    def made(skip: int) -> Manifest:
        names = [b"%05d" % number for number in range(3000) if number != skip]
        files = [file(name, 5, EntryMetadata(0o644, 1, 2, ((b"user.label", name),))) for name in names]
        return manifest(root(), *files, omitted=[Omitted(b"x/" + name, "Permission denied") for name in names])

    whole = len(made(-1).encode_body())
    numbers = 4 * 3000  # of metadata sets: those behind the missing one are others
    assert differing(made(-1), made(1500)) < numbers + whole // 4


def test_no_part_is_too_long_where_nothing_says_that_it_may_end() -> None:
    """One attribute after the other of 60 KB, and a long column in which all digests are the same."""
    large = [file(b"%d" % n, 5, EntryMetadata(0o644, n, 2, ((b"user.x", bytes([n]) * 60_000),))) for n in range(1, 6)]
    same = manifest(root(), *(file(b"%06d" % n, 5) for n in range(5000)), digests=b"\1" * 32 * 5000)
    for made in (manifest(root(), *large), same):
        parts = parts_of(made)
        assert b"".join(parts) == made.encode_body()
        assert 0 < min(map(len, parts)) <= max(map(len, parts)) <= PART_LIMIT


def test_parts_end_where_the_body_ends_whatever_is_in_it() -> None:
    table = manifest(root(), file(b"a")).entries
    assert part_ends(b"x" * 10, table, [4], {"kinds": (5, 7)}) == [10]
    ends = part_ends(bytes(200_000), table, [1], {"devices": (100, 150_000), "targets": (150_001, 150_001)})
    assert ends == [100, 100 + PART_LIMIT, 100 + 2 * PART_LIMIT, 150_000, 200_000]


def test_a_small_manifest_is_one_part() -> None:
    assert len(parts_of(manifest(root(), *(file(b"%d" % n) for n in range(20))))) == 1

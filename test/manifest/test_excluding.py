"""A selection without what patterns exclude."""

from __future__ import annotations

from test.support.manifests import directory, file, hard_link, manifest, root
from xget_lib.manifest.excluding import leave_out
from xget_lib.manifest.patterns import Patterns
from xget_lib.manifest.selection import select

SERVED = manifest(
    root(),
    directory(b"a"),
    directory(b"a/cache"),
    file(b"a/cache/x"),
    file(b"a/keep.o"),
    file(b"a/z.o"),
    file(b"cache"),
    hard_link(b"twin", b"cache"),
)


def left(sources: list[bytes], *patterns: bytes) -> list[bytes]:
    selection = leave_out(select(SERVED, sources), Patterns(patterns))
    return [selection.dest_path(number) for run in selection.runs for number in run]


def test_what_matches_is_left_out_with_all_below_it() -> None:
    assert left([b"."], b"cache/") == [b"", b"a", b"cache", b"twin", b"a/keep.o", b"a/z.o"]
    assert left([b"."], b"cache") == [b"", b"a", b"twin", b"a/keep.o", b"a/z.o"]
    assert left([b"."], b"+ keep.o", b"*.o") == [b"", b"a", b"cache", b"twin", b"a/cache", b"a/keep.o", b"a/cache/x"]
    assert left([b"."], b"*") == [b""]


def test_patterns_are_compared_with_the_path_in_the_destination() -> None:
    assert left([b"a/cache", b"twin"], b"/cache/x") == [b"twin", b"cache"]
    assert left([b"a"], b"/cache") == [b"a", b"a/cache", b"a/keep.o", b"a/z.o", b"a/cache/x"]
    assert left([b"a", b"twin"], b"a") == [b"twin"]


def test_a_file_of_which_the_first_name_is_excluded_is_made_under_the_next() -> None:
    selection = leave_out(select(SERVED, [b"."]), Patterns([b"/cache"]))
    (number,) = [file for file in selection.files if selection.file_dest_path(file) == b"twin"]
    assert selection.other_dest_paths(number) == []


def test_what_matches_is_protected_also_if_the_master_does_not_have_it() -> None:
    selection = leave_out(select(SERVED, [b"."]), Patterns([b"*.log", b"tmp/"]))
    assert selection.protects(b"a/b.log", is_directory=False)
    assert selection.protects(b"tmp", is_directory=True) and not selection.protects(b"tmp", is_directory=False)
    assert selection.without([]).protects(b"a/b.log", is_directory=False)
    assert not select(SERVED, [b"."]).protects(b"a/b.log", is_directory=False)

"""Selections: which entries the sources mean, and their destination paths."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from test.support.downloads import manifest_of
from test.support.manifests import directory, link, root
from test.support.manifests import file as regular
from test.support.manifests import manifest as made
from xget_lib.errors import NotServed, UsageError
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection, select


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """file, a/b/{deep/file, file1}, a/x, a-b (sorts between a and what is in it, byte by byte), other/b/file1."""
    served = tmp_path / "served"
    for path, content in (
        ("a/b/deep/file", b"deep"),
        ("a/b/file1", b"one"),
        ("a/x", b"x" * 70_000),
        ("a-b", b"-"),
        ("file", b"file"),
        ("other/b/file1", b"1"),
    ):
        (served / path).parent.mkdir(parents=True, exist_ok=True)
        (served / path).write_bytes(content)
    return manifest_of(served)


def dest_paths(manifest: Manifest, selection: Selection) -> dict[bytes, bytes]:
    """Path in the manifest -> destination path, of each selected entry."""
    numbers = [number for number in range(len(manifest.entries)) if number in selection]
    return {manifest.entries.path(number): selection.dest_path(number) for number in numbers}


def made_at(selection: Selection) -> list[tuple[bytes, list[bytes]]]:
    """Of each file: where it is made, and where links to it are made."""
    return [(selection.file_dest_path(file), selection.other_dest_paths(file)) for file in selection.files]


def test_a_dot_is_everything_under_the_same_names(manifest: Manifest) -> None:
    selection = select(manifest, [b"."])
    assert dest_paths(manifest, selection) == {entry.path: entry.path for entry in manifest.entries}
    assert selection.size == manifest.layout.size


def test_a_file_goes_to_its_last_name(manifest: Manifest) -> None:
    selection = select(manifest, [b"a/b/file1"])
    assert dest_paths(manifest, selection) == {b"a/b/file1": b"file1"}
    assert made_at(selection) == [(b"file1", [])]
    assert selection.size == 3


def test_a_directory_goes_to_its_last_name_with_all_below_it(manifest: Manifest) -> None:
    assert dest_paths(manifest, select(manifest, [b"a/b"])) == {
        b"a/b": b"b",
        b"a/b/deep": b"b/deep",
        b"a/b/deep/file": b"b/deep/file",
        b"a/b/file1": b"b/file1",
    }


def test_what_only_begins_like_a_directory_is_not_below_it(manifest: Manifest) -> None:
    assert b"a-b" not in dest_paths(manifest, select(manifest, [b"a"]))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (b"", "invalid path"),
        (b"a\0b", "invalid path"),
        (b"/", "a source must be a relative path"),
        (b"/a", "a source must be a relative path"),
        (b"..", "a source must not contain"),
        (b"a/..", "a source must not contain"),
        (b"../a", "a source must not contain"),
        (b"a/../b", "a source must not contain"),
    ],
)
def test_a_source_that_leads_outside_is_a_usage_error(manifest: Manifest, source: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        select(manifest, [b"a", source])


def test_no_source_is_a_usage_error(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="no source given"):
        select(manifest, [])


@pytest.mark.parametrize("source", [b"b", b"a/b/file", b"a/b/file1/x", b"file/", b"\xff"])
def test_a_source_that_is_not_there_is_not_served(manifest: Manifest, source: bytes) -> None:
    with pytest.raises(NotServed):
        select(manifest, [b"a", source])


def test_two_sources_that_have_one_destination_path_are_a_usage_error(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match=r"other/b and a/b would both be copied to b"):
        select(manifest, [b"a/b", b"other/b"])


def test_one_entry_under_two_names_is_a_usage_error(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="would be copied to"):
        select(manifest, [b"a", b"a/b"])


@pytest.mark.parametrize("sources", [[b"a", b"a"], [b"a", b"./a/"], [b".", b"a"], [b"file", b"."]])
def test_asking_twice_for_the_same_under_the_same_name_is_asking_once(manifest: Manifest, sources: list[bytes]) -> None:
    once = select(manifest, [b"."]) if b"." in sources else select(manifest, [b"a"])
    assert dest_paths(manifest, select(manifest, sources)) == dest_paths(manifest, once)


def test_a_source_named_like_the_staging_directory_is_a_usage_error() -> None:
    """A master of this version serves none. One of another version might."""
    served = made(root(), *map(directory, (b".xget", b"a", b"a/.xget", b"a/.xget/x")))
    for sources in ([b"a/.xget"], [b"a/.xget", b"."], [b"."]):
        with pytest.raises(UsageError, match=re.escape("the name .xget is reserved for temporary data of XGet")):
            select(served, sources)


class TestLinks:
    @pytest.fixture
    def manifest(self) -> Manifest:
        """`current` leads to releases/2, which has vmlinuz and a directory lib; `all` leads to the top."""
        return made(
            root(),
            directory(b"releases"),
            directory(b"releases/2"),
            directory(b"releases/2/lib"),
            regular(b"releases/2/lib/a.so"),
            regular(b"releases/2/vmlinuz"),
            link(b"current", b"releases/2"),
            link(b"all", b"."),
            link(b"newest", b"current/vmlinuz"),
        )

    def test_a_link_with_a_slash_is_what_it_leads_to_under_the_name_of_the_link(self, manifest: Manifest) -> None:
        for source in (b"current/", b"current/.", b"./current//"):
            selection = select(manifest, [source])
            assert dest_paths(manifest, selection) == {
                b"releases/2": b"current",
                b"releases/2/lib": b"current/lib",
                b"releases/2/lib/a.so": b"current/lib/a.so",
                b"releases/2/vmlinuz": b"current/vmlinuz",
            }
            assert sorted(made_at(selection)) == [(b"current/lib/a.so", []), (b"current/vmlinuz", [])]
            assert selection.links == []
            for path in (b"current", b"current/lib/a.so"):
                assert selection.has_dest_path(path)
            for path in (b"releases/2", b"2", b"current/", b"current/x"):
                assert not selection.has_dest_path(path)

    def test_a_link_alone_is_the_link(self, manifest: Manifest) -> None:
        selection = select(manifest, [b"current"])
        assert dest_paths(manifest, selection) == {b"current": b"current"}
        assert selection.links == [(b"current", b"releases/2")]

    def test_below_a_link_is_what_is_below_its_target(self, manifest: Manifest) -> None:
        for source in (b"current/vmlinuz", b"all/all/current/vmlinuz"):
            assert dest_paths(manifest, select(manifest, [source])) == {b"releases/2/vmlinuz": b"vmlinuz"}

    def test_a_link_to_the_top_is_everything_below_the_name_of_the_link(self, manifest: Manifest) -> None:
        selection = select(manifest, [b"all/"])
        assert dest_paths(manifest, selection) == {
            each.path: b"all/" + each.path if each.path else b"all" for each in manifest.entries
        }
        assert not selection.whole and selection.visible() is None
        assert selection.has_dest_path(b"all/current") and not selection.has_dest_path(b"all/")

    def test_one_entry_through_a_link_and_by_its_own_name_is_asked_for_once(self, manifest: Manifest) -> None:
        sources = [b"current/vmlinuz", b"releases/2/vmlinuz"]
        assert dest_paths(manifest, select(manifest, sources)) == {b"releases/2/vmlinuz": b"vmlinuz"}

    @pytest.mark.parametrize(
        "sources", [[b"current/", b"releases/2"], [b"current/", b"."], [b"all/", b"current/"], [b"all/", b"."]]
    )
    def test_one_entry_at_two_places_is_a_usage_error(self, manifest: Manifest, sources: list[bytes]) -> None:
        for order in (sources, sources[::-1]):
            with pytest.raises(UsageError, match="would be copied to"):
                select(manifest, order)

    def test_a_link_and_what_it_leads_to_cannot_both_have_its_name(self, manifest: Manifest) -> None:
        with pytest.raises(UsageError, match="would both be copied to current"):
            select(manifest, [b"current", b"current/"])


def test_one_served_file_is_everything_and_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"image")
    manifest = manifest_of(tmp_path / "image")
    for sources in ([b"."], [b"image"], [b".", b"image"]):
        assert made_at(select(manifest, sources)) == [(b"image", [])]


class TestHardLinks:
    @pytest.fixture
    def manifest(self, tmp_path: Path) -> Manifest:
        for name in "abc":
            (tmp_path / name).mkdir()
        (tmp_path / "a/first").write_bytes(b"content")
        os.link(tmp_path / "a/first", tmp_path / "b/second")
        os.link(tmp_path / "a/first", tmp_path / "b/third")
        os.link(tmp_path / "a/first", tmp_path / "c/fourth")
        return manifest_of(tmp_path)

    def test_the_first_name_takes_the_content(self, manifest: Manifest) -> None:
        selection = select(manifest, [b"."])
        assert made_at(selection) == [(b"a/first", [b"b/second", b"b/third", b"c/fourth"])]
        assert selection.size == 7

    def test_without_the_first_name_the_first_that_was_asked_for_takes_it(self, manifest: Manifest) -> None:
        selection = select(manifest, [b"b", b"c/fourth"])
        assert made_at(selection) == [(b"b/second", [b"b/third", b"fourth"])]
        assert selection.size == 7

    def test_one_name_alone_is_no_link(self, manifest: Manifest) -> None:
        selection = select(manifest, [b"c/fourth"])
        assert made_at(selection) == [(b"fourth", [])]


def test_visible_of_a_part_is_the_part_and_the_way_to_it(manifest: Manifest) -> None:
    """At the place where the master has it: that is how C clients ask for it."""
    assert select(manifest, [b"."]).visible() is None
    visible = select(manifest, [b"a/b", b"file"]).visible()
    assert visible is not None
    paths = {entry.path for entry, there in zip(manifest.entries, visible, strict=True) if there}
    assert paths == {b"", b"a", b"a/b", b"a/b/deep", b"a/b/deep/file", b"a/b/file1", b"file"}


def test_it_knows_the_destination_paths_of_what_is_selected(manifest: Manifest) -> None:
    for sources in ([b"."], [b"a/b", b"file"], [b"a", b"other"]):
        selection = select(manifest, sources)
        for path in {b"", *dest_paths(manifest, selection).values()}:
            assert selection.has_dest_path(path)
        for path in (b"x", b"b/x", b"a/b/deep/file/", b"deep", b"/", b"a//b"):
            assert not selection.has_dest_path(path)
    assert not select(manifest, [b"a/b"]).has_dest_path(b"a/b/file1")


def test_what_is_left_out_is_not_selected_with_all_below_it(manifest: Manifest) -> None:
    selection = select(manifest, [b"."])
    deep, file = manifest.entries.find(b"a/b"), manifest.entries.find(b"file")
    assert deep is not None and file is not None
    left = selection.without([deep]).without([file])
    assert set(dest_paths(manifest, left)) == {b"", b"a", b"a/x", b"a-b", b"other", b"other/b", b"other/b/file1"}
    assert sorted(path for path, _ in made_at(left)) == [b"a-b", b"a/x", b"other/b/file1"]
    assert left.whole and left.size == selection.size - len(b"deep" + b"one" + b"file")
    assert left.has_dest_path(b"a/x") and not left.has_dest_path(b"a/b/deep") and not left.has_dest_path(b"file")
    visible = left.visible()
    assert visible is not None and not visible[deep] and visible[0]


def test_a_source_may_be_left_out(manifest: Manifest) -> None:
    selection = select(manifest, [b"a/b", b"file"])
    file = manifest.entries.find(b"file")
    assert file is not None
    left = selection.without([file])
    assert not left.whole
    assert {path for path, _ in made_at(left)} == {b"b/deep/file", b"b/file1"}
    assert not left.has_dest_path(b"file")

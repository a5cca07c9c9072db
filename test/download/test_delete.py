"""`--delete`: what is removed, what stays, and that nothing outside is touched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from test.support.downloads import Served, destination, fetch, finish, inspect, run_download
from test.support.dry_and_real import run_both
from test.support.mounted import Mounts, do
from test.support.trees import differences, small_tree
from xget_lib.download.delete import Remover, surplus
from xget_lib.download.download import Download
from xget_lib.fs.rooted import Root
from xget_lib.manifest import manifest
from xget_lib.manifest.manifest import Omitted


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(small_tree(tmp_path / "served"))


@pytest.fixture
def dest(tmp_path: Path, served: Served) -> Path:
    """A copy, complete."""
    run_download(served, tmp_path / "dest")
    return tmp_path / "dest"


def delete(served: Served, dest: Path, *sources: bytes) -> Download:
    with served.download(dest, *sources, delete=True) as download:
        inspect(download)
        fetch(download, served)
        finish(download)
    return download


def test_what_the_master_does_not_have_is_removed_and_the_rest_is_as_it_was(served: Served, dest: Path) -> None:
    (dest / "a/extra/deeper").mkdir(parents=True)
    (dest / "a/extra/deeper/file").write_bytes(b"x")
    (dest / "a/extra/deeper").chmod(0)
    (dest / "a/b/file3").write_bytes(b"x")
    (dest / "dangling").symlink_to("nowhere")
    os.mkfifo(dest / "fifo")
    download = delete(served, dest)
    assert download.removed == 6
    assert differences(served.directory, dest) == []


def test_nothing_is_removed_without_the_option(served: Served, dest: Path) -> None:
    (dest / "extra").write_bytes(b"x")
    run_download(served, dest)
    assert (dest / "extra").exists()


def test_links_are_removed_and_not_followed(served: Served, dest: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep/file").write_bytes(b"mine")
    (dest / "way out").symlink_to(outside)
    (dest / "dir").mkdir()
    (dest / "dir/way out").symlink_to(outside)
    assert delete(served, dest).removed == 3
    assert (outside / "deep/file").read_bytes() == b"mine"
    assert differences(served.directory, dest) == []


def test_only_directories_that_were_asked_for_are_cleaned(served: Served, tmp_path: Path) -> None:
    dest = tmp_path / "other"
    (dest / "b").mkdir(parents=True)
    for mine in ("mine", "b/extra"):
        (dest / mine).write_bytes(b"x")
    assert delete(served, dest, b"a/b", b"top").removed == 1
    assert sorted(path.name for path in dest.iterdir()) == ["b", "mine", "top"]
    assert delete(served, dest, b"top").removed == 0


def test_what_is_in_the_way_is_removed(served: Served, dest: Path) -> None:
    for path, target in ((dest / "top", dest / "a/b/file1"), (dest / "a/other", dest / "a/b/file2")):
        path.unlink()
        (path / "full").mkdir(parents=True)
        (path / "full/file").write_bytes(target.read_bytes())
    os.rename(dest / "a/b", dest / "b was here")
    (dest / "a/b").write_bytes(b"a file where a directory was")
    delete(served, dest)
    assert differences(served.directory, dest) == []


def test_directories_in_the_place_of_links_are_removed(tmp_path: Path) -> None:
    source = small_tree(tmp_path / "served")
    (source / "link").symlink_to("a")
    os.link(source / "top", source / "a/top again")
    os.mkfifo(source / "fifo")
    served = Served(source)
    for name in ("link", "a/top again", "fifo"):
        (tmp_path / "dest" / name / "full").mkdir(parents=True)
    delete(served, tmp_path / "dest")
    assert differences(source, tmp_path / "dest") == []


def test_what_the_master_could_not_read_stays(tmp_path: Path) -> None:
    source = small_tree(tmp_path / "served")
    dest = tmp_path / "dest"
    run_download(Served(source), dest)
    assert delete(Served(source, unreadable={b"a/b/file1": "Input/output error"}), dest).removed == 0
    assert (dest / "a/b/file1").exists()


def omitting(served: Served, *paths: bytes) -> Served:
    """The same, but of a master that left out more paths, which it does not have otherwise."""
    served.manifest = replace(served.manifest, omitted=tuple(Omitted(path, "Input/output error") for path in paths))
    return served


def test_what_is_below_something_that_the_master_left_out_stays(served: Served, dest: Path) -> None:
    for name in ("lost/deep", "part/of/it/deeper", "part/other", "a/b/lost"):
        (dest / name).mkdir(parents=True)
        (dest / name / "file").write_bytes(b"x")
    ran = run_both(omitting(served, b"lost", b"part/of/it", b"a/b/lost"), dest, delete=True)
    assert ran.removed == 2 and not (dest / "part/other").exists()
    for name in ("lost/deep", "part/of/it/deeper", "a/b/lost"):
        assert (dest / name / "file").exists()


def test_nothing_is_removed_where_the_list_of_what_was_left_out_may_be_cut_off(
    served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "OMITTED_LIMIT", 2)
    (dest / "extra").mkdir()
    ran = run_both(omitting(served, b"lost", b"more"), dest, delete=True)
    assert ran.removed == 0 and (dest / "extra").exists()
    assert ran.lines == [f"{dest}: nothing was removed: the master left out too many paths to list"]


def test_nothing_is_removed_below_a_directory_that_the_master_left_out(served: Served, dest: Path) -> None:
    """It listed a part of it, and then failed."""
    (dest / "a/b/more").write_bytes(b"x")
    (dest / "a/more").write_bytes(b"x")
    assert run_both(omitting(served, b"a"), dest, delete=True).removed == 0


def test_the_data_of_other_downloads_stay_at_any_depth(served: Served, dest: Path) -> None:
    for name in ("a/.xget/parts", "extra/deep/.xget/parts", "extra/more"):
        (dest / name).mkdir(parents=True)
        (dest / name / "0123").write_bytes(b"x")
    ran = run_both(served, dest, delete=True)
    assert ran.lines == []
    assert ran.notes == ["extra/deep/.xget was not removed: it belongs to another download"]
    assert sorted(path.name for path in (dest / "extra").iterdir()) == ["deep"]
    for name in ("a/.xget/parts", "extra/deep/.xget/parts"):
        assert (dest / name / "0123").exists()


@pytest.mark.root
def test_a_subvolume_is_cleaned_as_any_directory(served: Served, tmp_path: Path, mounts: Mounts) -> None:
    dest = mounts.image(tmp_path / "dest", "mkfs.btrfs", "-q", megabytes=128)
    for name in ("a", "extra"):
        do("btrfs", "subvolume", "create", dest / name)
        (dest / name / "more").write_bytes(b"x")
    assert run_both(served, dest, delete=True).lines == []
    assert differences(served.directory, dest) == []


@pytest.mark.root
def test_what_is_on_a_mount_below_stays_and_that_is_noted(served: Served, dest: Path, mounts: Mounts) -> None:
    mounts.memory(dest / "a")
    (dest / "a/mine").write_bytes(b"x")
    ran = run_both(served, dest, delete=True)
    assert ran.notes == ["a/mine was not removed: a file system is mounted there"]
    assert (dest / "a/mine").exists() and (dest / "a/other").exists()


def test_what_the_master_skips_stays(tmp_path: Path, dest: Path) -> None:
    served = Served(small_tree(tmp_path / "other"))
    (dest / "a/extra").write_bytes(b"x")
    for omitted in (b"a/extra", b"a"):  # a socket there; another file system there
        manifest = replace(served.manifest, omitted=(Omitted(omitted, "skipped", expected=True),))
        with Root(bytes(dest)) as root:
            assert surplus(destination(root, manifest)).paths == []


def test_what_cannot_be_removed_is_listed_and_stops_nothing(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Root(bytes(dest)) as root:
        unlink = root.unlink

        def refuse(path: bytes) -> None:
            if path == b"a/other":
                raise PermissionError(1, "Operation not permitted")
            unlink(path)

        monkeypatch.setattr(root, "unlink", refuse)
        gone: list[bytes] = []
        remover = Remover(root, gone.append)
        assert not remover.remove(b"a")
        assert remover.remove(b"nothing of this name")
        assert [(path, error.strerror) for path, error in remover.refused] == [(b"a/other", "Operation not permitted")]
        assert sorted(gone) == [b"a/b", b"a/b/file1", b"a/b/file2"]
        with pytest.raises(OSError, match="what is there cannot be removed: Operation not permitted"):
            remover.make_way(b"a")


def test_what_cannot_be_removed_ends_the_run_when_all_else_is_done(
    served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("extra1", "extra2", "extra3"):
        (dest / name).write_bytes(b"x")
    (dest / "top").write_bytes(b"changed")

    def refuse(self: Root, path: bytes) -> None:
        if path in (b"extra1", b"extra3"):
            raise PermissionError(1, "Operation not permitted")
        unlink(self, path)

    unlink = Root.unlink
    monkeypatch.setattr(Root, "unlink", refuse)
    refused = delete(served, dest).failures[0]
    assert refused.lines == [f"{dest}/extra{number}: cannot be removed: Operation not permitted" for number in (1, 3)]
    assert refused.exit_status == 6
    assert not (dest / "extra2").exists()
    assert (dest / "top").read_bytes() == (served.directory / "top").read_bytes()

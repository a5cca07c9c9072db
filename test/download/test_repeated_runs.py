"""The second run says what the first said, does nothing again, and knows what the first left, even with refusals.

Each was found by test/campaigns/oddities.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from test.support.downloads import SECOND, InMemory, Served, one_of_everything, run_download
from test.support.filesystems import mounted
from test.support.mounted import Mounts, do
from test.support.somebody import as_nobody
from test.support.trees import small_tree
from xget_lib.download.download import Download
from xget_lib.download.dry_run import dry_run_steps
from xget_lib.manifest.selection import select

OWNERS = "owners and groups were not preserved (only root can set them)"
TIMES = "some modification times were not preserved exactly (the file system rounds or limits them)"


def run(served: Served, dest: Path, *sources: bytes, **options: Any) -> tuple[int, list[str], list[str]]:
    """Bytes fetched, notes, and failures."""
    said: list[list[str]] = [[], []]

    def end(download: Download) -> None:
        said[0] = download.notes
        said[1] = [line for failure in download.failures for line in failure.lines]

    fetched = run_download(served, dest, *sources, remembers=True, on_end=end, **options)
    return fetched, said[0], said[1]


def steps(served: Served, dest: Path) -> list[str]:
    """Of a dry run."""
    selection = select(served.manifest, [b"."])
    return [step.action for step in dry_run_steps(bytes(dest), served.manifest, selection, remembers=True)]


@pytest.mark.root
def test_attributes_that_a_file_system_does_not_take_are_not_tried_again(tmp_path: Path, mounts: Mounts) -> None:
    served = Served(one_of_everything(tmp_path / "served"))
    os.setxattr(served.directory / "small", "user.a", b"value")
    served = Served(served.directory)
    dest = mounts.memory(tmp_path / "memory", "ramfs") / "dest"
    first = run(served, dest)
    assert first[1] == ["some extended attributes (user) were not preserved: Operation not supported"]
    before = (dest / "small").stat().st_ctime_ns
    assert steps(served, dest) == []
    assert run(served, dest) == (0, *first[1:])
    assert (dest / "small").stat().st_ctime_ns == before


@pytest.mark.root
def test_content_of_the_same_size_and_time_is_noticed_although_something_else_was_refused(
    tmp_path: Path, mounts: Mounts
) -> None:
    served = Served(one_of_everything(tmp_path / "served"))
    dest = tmp_path / "dest"
    (dest / "a").mkdir(parents=True)
    mounts.bind(Path("/etc/hostname"), _touched(dest / ".hidden"))
    _, _, failures = run(served, dest)
    assert [line.partition(": ")[0] for line in failures] == [str(dest / ".hidden")]
    path = served.directory / "a" / "large"
    modified = path.stat().st_mtime_ns
    path.write_bytes(os.urandom(path.stat().st_size))
    os.utime(path, ns=(0, modified))
    served = Served(served.directory)
    run(served, dest)
    assert (dest / "a" / "large").read_bytes() == path.read_bytes()


@pytest.mark.root
def test_what_was_refused_is_tried_again(tmp_path: Path) -> None:
    served = Served(one_of_everything(tmp_path / "served"))
    dest = tmp_path / "dest"
    dest.mkdir()
    for name in ("small", "empty"):
        (dest / name).write_bytes(b"immutable")
        do("chattr", "+i", dest / name)
    try:
        _, _, failures = run(served, dest)
    finally:
        do("chattr", "-i", dest / "small", dest / "empty")
    assert len(failures) == 2
    assert run(served, dest)[2] == []
    for name in ("small", "empty"):
        assert (dest / name).read_bytes() == (served.directory / name).read_bytes()


@pytest.mark.root
def test_a_run_that_refused_something_and_met_limits_leaves_nothing_to_do_but_what_was_refused(tmp_path: Path) -> None:
    served = Served(one_of_everything(tmp_path / "served"))
    with mounted("ext4 with small inodes", tmp_path) as top:
        dest = top / "dest"
        (dest / "empty").mkdir(parents=True)  # where a file should be
        first = run(served, dest)
        assert TIMES in first[1] and len(first[2]) == 1
        assert steps(served, dest) == []
        assert run(served, dest) == (0, *first[1:])


@pytest.mark.root
@pytest.mark.parametrize("source", [b".", b"small", b"a/deep/er"])
def test_each_run_of_a_user_notes_that_owners_were_not_preserved(
    tmp_path: Path, open_to_all: Path, source: bytes
) -> None:
    served = InMemory(Served(one_of_everything(tmp_path / "served")))

    def twice() -> None:
        for _ in range(2):
            assert OWNERS in run(served, open_to_all / "dest", source)[1]
            assert OWNERS not in run(served, open_to_all / "other", source, owners=False)[1]

    as_nobody(twice)


def test_each_run_notes_a_time_that_no_manifest_can_contain(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(b"content")
    os.utime(tmp_path / "served" / "file", (0, 10_413_792_000))  # the year 2300
    (tmp_path / "served" / "other").mkdir()
    served = Served(tmp_path / "served")
    for _ in range(2):
        assert run(served, tmp_path / "dest")[1] == [TIMES]
        assert run(served, tmp_path / "part", b"other")[1] == []


@pytest.mark.root
def test_a_time_that_somebody_else_s_directory_keeps_is_not_called_rounded(tmp_path: Path, open_to_all: Path) -> None:
    (tmp_path / "served" / "theirs").mkdir(parents=True)
    os.utime(tmp_path / "served" / "theirs", ns=(0, SECOND))
    served = InMemory(Served(tmp_path / "served"))
    dest = open_to_all / "dest"
    (dest / "theirs").mkdir(parents=True)
    os.chown(dest, 65534, 65534)

    def work() -> None:
        notes = run(served, dest)[1]
        assert "some times were not preserved: Operation not permitted" in notes and TIMES not in notes

    as_nobody(work)


@pytest.mark.root
def test_a_user_can_copy_to_a_file_system_that_gives_everything_to_root(tmp_path: Path, open_to_all: Path) -> None:
    """Such as exFAT: there, `.xget` belongs to root as soon as it is made."""
    served = InMemory(Served(small_tree(tmp_path / "served")))
    with mounted("exfat", open_to_all) as top:
        as_nobody(lambda: _copy_and_again(served, top / "dest"))
        assert (top / "dest" / "a" / "other").stat().st_uid == 0
        assert not (top / "dest" / ".xget").exists()


def _copy_and_again(served: Served, dest: Path) -> None:
    fetched, _, failures = run(served, dest)
    assert fetched > 0 and failures == []
    assert run(served, dest)[::2] == (0, [])


def _touched(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.root
def test_a_directory_without_permissions_costs_nothing_when_a_user_has_met_a_limit(
    tmp_path: Path, open_to_all: Path
) -> None:
    """At the end of the run, its owner cannot look into it any more."""
    (tmp_path / "served" / "closed").mkdir(parents=True)
    (tmp_path / "served" / "closed" / "file").write_bytes(b"content")
    os.mknod(tmp_path / "served" / "null", 0o020666, os.makedev(1, 3))
    (tmp_path / "served" / "closed").chmod(0)
    served = InMemory(Served(tmp_path / "served"))

    def work() -> None:
        _, notes, failures = run(served, open_to_all / "dest")
        assert failures == [] and any("devices were not created" in note for note in notes)

    as_nobody(work)


def test_temporary_data_of_another_download_is_kept_and_noted_in_a_directory_that_the_master_has(
    tmp_path: Path,
) -> None:
    served, dest = Served(one_of_everything(tmp_path / "served")), tmp_path / "dest"
    (dest / "a" / ".xget").mkdir(parents=True)
    (dest / "a" / ".xget" / "lock").touch()
    for _ in range(2):
        assert run(served, dest, delete=True)[1:] == (
            ["a/.xget was not removed: it belongs to another download"],
            [],
        )
    assert (dest / "a" / ".xget" / "lock").exists()


@pytest.mark.root
def test_the_workplace_of_the_run_itself_is_not_taken_for_that_of_another_download(
    tmp_path: Path, mounts: Mounts
) -> None:
    served, dest = Served(one_of_everything(tmp_path / "served")), tmp_path / "dest"
    mounts.memory(dest / "a")
    assert run(served, dest, delete=True)[1:] == (
        ["some hard links were created as copies: Invalid cross-device link"],
        [],
    )
    assert not (dest / "a" / ".xget").exists()


@pytest.mark.root
def test_what_stands_in_place_of_a_link_that_cannot_be_made_is_met_once(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "link").symlink_to("target")
    served = Served(tmp_path / "served")
    with mounted("exfat", tmp_path) as top:
        (top / "dest").mkdir()
        (top / "dest" / "link").write_bytes(b"a file")
        first = run(served, top / "dest")
        assert any("symbolic links were not created" in note for note in first[1]) and first[2] == []
        assert steps(served, top / "dest") == []
        assert run(served, top / "dest") == first


@pytest.mark.root
def test_each_run_notes_that_names_on_two_file_systems_are_copies(tmp_path: Path, mounts: Mounts) -> None:
    """Also the one after a run that was killed at its end, which saved nothing for it."""
    served, dest = Served(one_of_everything(tmp_path / "served")), tmp_path / "dest"
    mounts.memory(dest / "a")
    note = "some hard links were created as copies: Invalid cross-device link"
    run_download(served, dest)
    for _ in range(2):
        assert run(served, dest) == (0, [note], [])


@pytest.mark.root
def test_attributes_of_a_file_that_its_owner_may_not_read_are_set_once(
    tmp_path: Path, open_to_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(b"content")
    os.setxattr(tmp_path / "served" / "file", "user.a", b"value")
    (tmp_path / "served" / "file").chmod(0o222)
    served = InMemory(Served(tmp_path / "served"))
    dest, cache = open_to_all / "dest", open_to_all / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def twice() -> None:
        run(served, dest)
        before = (dest / "file").stat().st_ctime_ns
        assert steps(served, dest) == []
        run(served, dest)
        assert (dest / "file").stat().st_ctime_ns == before

    as_nobody(twice)
    assert os.getxattr(dest / "file", "user.a") == b"value"


@pytest.mark.root
@pytest.mark.parametrize("change", ["mode", "new name", "mode and new name", "time of a fifo", "nothing"])
def test_names_that_are_one_file_stay_one_on_a_union_of_file_systems(
    tmp_path: Path, mounts: Mounts, change: str
) -> None:
    """A union (overlay) copies a file to its upper layer under the name that is changed, or linked to, only."""
    source, lower = tmp_path / "served", tmp_path / "lower"
    (source / "d").mkdir(parents=True)
    (source / "one").write_bytes(b"content")
    os.mkfifo(source / "fifo")
    for name in ("d/two", "three", "z"):
        os.link(source / "one", source / name)
        os.link(source / "fifo", source / f"{name} fifo")
    do("cp", "--archive", source, lower)
    if "mode" in change:
        (lower / "one").chmod(0o600)
    if "name" in change:
        (lower / "three").unlink()
        (lower / "one").unlink()
    if "fifo" in change:
        os.utime(lower / "fifo", ns=(0, SECOND))
    dest = mounts.overlay(tmp_path / "dest", lower)
    served = Served(source)
    assert run(served, dest)[1:] == ([], [])
    for name in ("d/two", "three", "z"):
        for first, each in (("one", name), ("fifo", f"{name} fifo")):
            assert os.path.samestat((dest / first).lstat(), (dest / each).lstat()), each
    assert (dest / "z").stat().st_mode == (source / "z").stat().st_mode
    assert steps(served, dest) == []

"""Directories: made and opened up before the content comes, given their metadata after it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.downloads import InMemory, Served, destination, one_of_everything, run_download
from test.support.oddities import access_list
from test.support.somebody import as_nobody
from test.support.trees import MOMENT
from xget_lib.download.directories import SYNC_EACH, Directories
from xget_lib.download.metadata import Metadata
from xget_lib.download.plan import CORRECT, MAKE, UNCHANGED, Step
from xget_lib.fs import syscalls
from xget_lib.fs.rooted import Root


@pytest.fixture
def served(tmp_path: Path) -> Served:
    (tmp_path / "served/a/b").mkdir(parents=True)
    for path, mode in (("a/b", 0o750), ("a", 0o555), ("", 0o755)):
        (tmp_path / "served" / path).chmod(mode)
        os.utime(tmp_path / "served" / path, ns=(MOMENT, MOMENT))
    return Served(tmp_path / "served")


def directories(served: Served, root: Root, *, delete: bool = False) -> Directories:
    return Directories(destination(root, served.manifest, owners=False, delete=delete))


def step(served: Served, action: str, path: bytes, *, clears: bool = False) -> Step:
    entry = served.manifest.entries.find(path)
    assert entry is not None
    return Step(action, path, entry=entry, clears=clears)


def test_they_can_be_worked_in_until_they_get_their_metadata(served: Served, open_to_all: Path) -> None:
    def make() -> None:
        with Root(bytes(open_to_all)) as root:
            them = directories(served, root)
            for path in (b"a", b"a/b"):
                them.prepare(step(served, MAKE, path))
                assert root.lstat(path).st_mode & 0o777 == 0o700
            root.mkdir(b"a/b/later")
            root.rmdir(b"a/b/later")
            them.finish()
            them.close()
            for path, mode in ((b"a", 0o555), (b"a/b", 0o750)):
                status = root.lstat(path)
                assert (status.st_mode & 0o777, status.st_mtime_ns) == (mode, MOMENT)
            os.chmod(open_to_all / "a", 0o755)

    as_nobody(make)


def test_one_that_its_owner_may_not_write_in_is_opened_up_and_closed_again(served: Served, open_to_all: Path) -> None:
    def work() -> None:
        (open_to_all / "a").mkdir(mode=0o555)
        with Root(bytes(open_to_all)) as root:
            them = directories(served, root)
            them.prepare(step(served, UNCHANGED, b"a"))
            root.mkdir(b"a/b")
            them.finish()
            them.close()
            assert root.lstat(b"a").st_mode & 0o777 == 0o555

    as_nobody(work)


def test_one_of_somebody_else_in_which_nothing_has_to_change_costs_nothing(served: Served, open_to_all: Path) -> None:
    (open_to_all / "a/b").mkdir(parents=True)
    (open_to_all / "a").chmod(0o555)

    def work() -> None:
        with Root(bytes(open_to_all)) as root:
            dest = destination(root, served.manifest, owners=False)
            them = Directories(dest)
            them.prepare(step(served, UNCHANGED, b"a"))
            them.finish()
            them.close()
            assert dest.refusals.error() is None

    as_nobody(work)


def test_an_unchanged_one_in_which_nothing_changed_is_left_alone(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dest/a/b").mkdir(parents=True)
    applied: list[bytes] = []
    monkeypatch.setattr(Metadata, "apply", lambda self, place, status, entry, new: applied.append(entry.path))
    with Root(bytes(tmp_path / "dest")) as root:
        them = directories(served, root)
        them.prepare(step(served, UNCHANGED, b"a"))
        them.prepare(step(served, UNCHANGED, b"a/b"))
        them.finish()
        assert applied == []
        them.name_changed(b"a/b/new")
        them.finish()
        assert applied == [b"a/b"]
        them.close()


def test_what_is_in_the_place_of_one_is_removed_where_that_is_wanted(served: Served, tmp_path: Path) -> None:
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest/a").write_bytes(b"in the way")
    with Root(bytes(tmp_path / "dest")) as root:
        them = directories(served, root, delete=True)
        them.prepare(step(served, MAKE, b"a", clears=True))
        assert (tmp_path / "dest/a").is_dir()
        assert them.remover.removed == 1
        them.close()


def _nothing(them: Directories) -> None:
    pass


def _many_changes(them: Directories) -> None:
    for number in range(SYNC_EACH + 1):
        them.names_changed(b"%d" % number)


@pytest.mark.parametrize(("prepare", "syncs"), [(_nothing, 0), (_many_changes, 1), (Directories.sync_everything, 1)])
def test_the_whole_file_system_is_synced_where_that_is_cheaper_or_needed(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Directories], None],
    syncs: int,
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(syscalls, "sync_filesystem", synced.append)
    (tmp_path / "dest/a/b").mkdir(parents=True)
    with Root(bytes(tmp_path / "dest")) as root:
        them = directories(served, root)
        them.prepare(step(served, CORRECT, b"a"))
        prepare(them)
        them.finish()
        them.close()
    assert len(synced) == syncs


def test_an_access_list_that_new_directories_inherit_does_not_lock_their_owner_out(
    tmp_path: Path, open_to_all: Path
) -> None:
    """Its owner may read and write there, but not enter. Only who has no capabilities notices."""
    served = Served(one_of_everything(tmp_path / "served"))
    pieces = InMemory(served)
    dest = open_to_all / "dest"

    def run() -> None:
        dest.mkdir()
        os.setxattr(dest, b"system.posix_acl_default", access_list(1111, 2222))
        run_download(pieces, dest)

    as_nobody(run)
    assert (dest / "a" / "deep" / "even").read_bytes() == (served.directory / "a" / "deep" / "even").read_bytes()

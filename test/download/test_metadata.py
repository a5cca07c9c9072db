"""Metadata of what is installed: as root, as another user, and when it is not wanted."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from test.support.downloads import InMemory, Served, fetch, finish, inspect, manifest_of, present, run_download
from test.support.manifests import manifest
from test.support.somebody import NOBODY, as_nobody
from xget_lib.download.download import Download
from xget_lib.download.metadata import Metadata, umask_of_process
from xget_lib.fs.inode import OpenInode
from xget_lib.manifest.entry import Entry, EntryMetadata
from xget_lib.manifest.selection import select

SECOND = 1_000_000_000

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can set owners, or become somebody else")


@pytest.fixture
def served(tmp_path: Path) -> Served:
    directory = tmp_path / "served"
    (directory / "private").mkdir(parents=True)
    for name, mode in (("private/set-uid", 0o6755), ("unreadable", 0o111), ("plain", 0o664)):
        (directory / name).write_bytes(name.encode())
        if os.geteuid() == 0:
            os.chown(directory / name, 1, 2)
        (directory / name).chmod(mode)
        os.utime(directory / name, ns=(0, 5 * SECOND))
    (directory / "link").symlink_to("plain")
    if os.geteuid() == 0:
        os.chown(directory / "link", 1, 2, follow_symlinks=False)
    (directory / "private").chmod(0o1300 if os.geteuid() == 0 else 0o1700)  # a scan must be able to read it
    return Served(directory)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def owner_of(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def run(download: Download, served: Served) -> list[str]:
    with download:
        inspect(download)
        fetch(download, served)
        finish(download)
        return download.notes


@as_root
def test_root_keeps_owners_and_set_id_bits(served: Served, tmp_path: Path) -> None:
    assert run(served.download(tmp_path / "dest"), served) == []
    assert owner_of(tmp_path / "dest/plain") == (1, 2)
    assert owner_of(tmp_path / "dest/link") == (1, 2)
    assert mode_of(tmp_path / "dest/private/set-uid") == 0o6755
    assert mode_of(tmp_path / "dest/private") == 0o1300
    assert manifest_of(tmp_path / "dest").generation == served.manifest.generation


@as_root
def test_a_wrong_owner_is_corrected_and_set_id_bits_survive_it(served: Served, tmp_path: Path) -> None:
    run_download(served, tmp_path / "dest")
    os.chown(tmp_path / "dest/private/set-uid", 0, 0)
    (tmp_path / "dest/private/set-uid").chmod(0o6755)  # which the next chown clears again
    assert run_download(served, tmp_path / "dest") == 0
    assert owner_of(tmp_path / "dest/private/set-uid") == (1, 2)
    assert mode_of(tmp_path / "dest/private/set-uid") == 0o6755


@as_root
def test_without_owners_somebody_elses_set_id_program_does_not_become_ours(served: Served, tmp_path: Path) -> None:
    notes = run(served.download(tmp_path / "dest", owners=False), served)
    assert owner_of(tmp_path / "dest/private/set-uid") == (0, 0)
    assert mode_of(tmp_path / "dest/private/set-uid") == 0o755
    assert len(notes) == 1
    assert "set-user-ID" in notes[0]


def test_without_permissions_the_umask_decides(served: Served, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run(served.download(tmp_path / "dest", permissions=False), served)
        assert mode_of(tmp_path / "dest/plain") == 0o640
        assert mode_of(tmp_path / "dest/private/set-uid") == 0o750
        assert mode_of(tmp_path / "dest/private") == 0o700
        (tmp_path / "dest/plain").chmod(0o777)  # the user's own choice, which a second run leaves alone
        assert run_download(served, tmp_path / "dest", permissions=False) == 0
        assert mode_of(tmp_path / "dest/plain") == 0o777
    finally:
        os.umask(before)


@as_root
def test_somebody_else_gets_all_but_owners_and_is_told_once(served: Served, open_to_all: Path) -> None:
    dest = open_to_all / "dest"

    def first_and_second_run() -> None:
        notes = run(Download(bytes(dest), served.manifest, select(served.manifest, [b"."])), memory)
        assert [note for note in notes if "only root" in note] == [
            "owners and groups were not preserved (only root can set them)"
        ]
        assert len(notes) == 2  # and the set-id bits
        with Download(bytes(dest), served.manifest, select(served.manifest, [b"."])) as download:
            inspect(download)
            assert len(present(download, served.layout)) == served.layout.piece_count
            finish(download)

    memory = InMemory(served)
    as_nobody(first_and_second_run)
    assert (mode_of(dest / "unreadable"), mode_of(dest / "private")) == (0o111, 0o1300)
    assert mode_of(dest / "private/set-uid") == 0o755
    assert owner_of(dest / "plain") == (NOBODY, NOBODY)
    assert (dest / "unreadable").read_bytes() == b"unreadable"


@as_root
def test_an_interrupted_run_of_somebody_else_can_be_continued(served: Served, open_to_all: Path) -> None:
    """Parts that had been given permissions under which not even their owner may open them."""
    dest = open_to_all / "dest"
    memory = InMemory(served)

    def interrupted_and_second_run() -> None:
        download = Download(bytes(dest), served.manifest, select(served.manifest, [b"."]))
        with download:
            inspect(download)
            fetch(download, memory)
            for file in download.files:
                (dest / os.fsdecode(download.path_of(file))).chmod(0)
        with Download(bytes(dest), served.manifest, select(served.manifest, [b"."])) as download:
            inspect(download)
            assert len(present(download, served.layout)) == served.layout.piece_count
            finish(download)

    as_nobody(interrupted_and_second_run)
    assert mode_of(dest / "unreadable") == 0o111


@as_root
def test_a_directory_that_somebody_else_may_not_write_in_is_opened_up_for_the_run(
    served: Served, open_to_all: Path
) -> None:
    dest = open_to_all / "dest"
    memory = InMemory(served)

    def two_runs() -> None:
        (dest / "private").mkdir(parents=True)
        (dest / "private").chmod(0o500)
        selection = select(served.manifest, [b"."])
        run(Download(bytes(dest), served.manifest, selection, permissions=False), memory)
        assert mode_of(dest / "private") == 0o500
        run(Download(bytes(dest), served.manifest, selection), memory)
        assert mode_of(dest / "private") == 0o1300

    as_nobody(two_runs)
    assert (dest / "private/set-uid").read_bytes() == b"private/set-uid"


@as_root
def test_the_staging_directory_of_another_user_is_refused(served: Served, tmp_path: Path) -> None:
    (tmp_path / "dest/.xget/parts").mkdir(parents=True)
    os.chown(tmp_path / "dest/.xget", NOBODY, NOBODY)
    with pytest.raises(Exception, match="belongs to another user"):
        run_download(served, tmp_path / "dest")


# The rules, without a download.


def entry(mode: int = 0o644, uid: int = 4242, gid: int = 4243) -> Entry:
    return Entry(b"file", "f", EntryMetadata(mode, uid, gid), 7 * SECOND)


def test_an_owner_is_found_by_name_where_the_name_exists_and_else_by_number() -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    one_file = manifest(entry(), users={4242: name}, groups={4243: "no such group"})
    metadata = Metadata(one_file, permissions=True, owners=True)
    assert metadata.owner(entry().metadata) == (os.geteuid(), 4243)


def test_a_name_that_exists_here_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_up(name: str) -> pwd.struct_passwd:
        asked.append(name)
        return pwd.struct_passwd((name, "", {"mail": 8}[name], 8, "", "", ""))

    monkeypatch.setattr(pwd, "getpwnam", look_up)
    metadata = Metadata(manifest(entry(), users={1000: "mail", 1001: "unknown here"}), permissions=True, owners=True)
    owners = [metadata.owner(entry(mode, uid).metadata)[0] for mode in (0o644, 0o600) for uid in (1000, 1001, 1002)]
    assert owners == [8, 1001, 1002] * 2
    assert asked == ["mail", "unknown here"]


def test_what_is_forbidden_is_noted_once_and_anything_else_is_raised(tmp_path: Path) -> None:
    class Forbidding(OpenInode):
        number = 1  # EPERM

        def chmod(self, mode: int) -> None:
            raise OSError(self.number, os.strerror(self.number))

    path = tmp_path / "file"
    path.write_bytes(b"")
    mine = entry(0o600, os.geteuid(), os.getegid())
    metadata = Metadata(manifest(mine), permissions=True, owners=True)
    with open(path) as file:
        place = Forbidding(file.fileno())
        path.chmod(0o640)
        metadata.apply(place, path.stat(), mine, new=True)
        metadata.apply(place, path.stat(), mine, new=True)
        assert metadata.notes == ["some permissions were not preserved: Operation not permitted"]
        assert path.stat().st_mtime_ns == 7 * SECOND
        Forbidding.number = 5  # EIO
        with pytest.raises(OSError, match="Input/output"):
            metadata.apply(place, path.stat(), mine, new=True)


def test_the_umask_is_read_and_not_changed() -> None:
    before = os.umask(0o031)
    try:
        assert umask_of_process() == 0o031
        assert os.umask(0o031) == 0o031
    finally:
        os.umask(before)

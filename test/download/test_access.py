"""A dry run says what a run will be refused: by attributes, mounts, permissions, limits, swap space, or a full disk."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test.support.downloads import InMemory, Served, fetch, finish, inspect
from test.support.dry_and_real import lines
from test.support.mounted import Mounts, do, needs
from test.support.somebody import NOBODY, as_nobody
from test.support.trees import noise, write
from xget_lib.download.access import SWAP, Access
from xget_lib.download.delete import cannot_make_way
from xget_lib.download.dry_run import dry_run_steps
from xget_lib.download.workplaces import Workplaces
from xget_lib.errors import DestinationRefused, XGetError
from xget_lib.fs.rooted import Root
from xget_lib.manifest.selection import select

EPERM, EROFS, EACCES = "Operation not permitted", "Read-only file system", "Permission denied"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    source = tmp_path / "served"
    (source / "d/sub").mkdir(parents=True)
    for name in ("d/file", "d/added", "d/sub/file", "top"):
        write(source / name, noise(1000, 1))
    (source / "d/link").symlink_to("x")
    return Served(source)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    (tmp_path / "dest/d").mkdir(parents=True)
    write(tmp_path / "dest/d/file", b"old")
    write(tmp_path / "dest/d/surplus", b"old")
    return tmp_path / "dest"


@pytest.fixture(autouse=True)
def unfixed(tmp_path: Path) -> Iterator[None]:
    yield
    subprocess.run(["chattr", "-R", "-i", "-a", str(tmp_path)], check=False, capture_output=True, timeout=60)


def refused(served: Served, dest: Path, **options: Any) -> list[str]:
    """What both say is refused: paths in the destination, each with the reason."""
    foreseen: list[XGetError] = []
    all_options = {"delete": True, "remembers": True, **options}
    list(dry_run_steps(bytes(dest), served.manifest, select(served.manifest, [b"."]), failures=foreseen, **all_options))
    with served.download(dest, **all_options) as download:
        inspect(download)
        download.plan_removals()
        download.check_free_space()
        fetch(download, served)
        finish(download)
    assert sorted(lines(foreseen)) == sorted(lines(download.failures))
    return [line.removeprefix(f"{dest}/") for line in sorted(lines(foreseen))]


def refused_at_once(served: Served, dest: Path) -> str:
    """What both say of the whole destination, before anything is fetched."""
    foreseen: list[XGetError] = []
    selection = select(served.manifest, [b"."])
    try:
        list(dry_run_steps(bytes(dest), served.manifest, selection, failures=foreseen, remembers=True))
    except DestinationRefused as error:
        foreseen.append(error)
    with pytest.raises(DestinationRefused) as met, served.download(dest, remembers=True) as download:
        inspect(download)
        download.check_free_space()
    assert [error.exit_status for error in foreseen] == [met.value.exit_status] == [6]
    return str(foreseen[0])


@pytest.mark.root
def test_nothing_is_added_to_an_immutable_directory(served: Served, dest: Path) -> None:
    needs("chattr")
    do("chattr", "+i", dest / "d")
    removed = f"d/surplus: cannot be removed: {EPERM}"
    assert refused(served, dest) == [
        *(f"d/{name}: {EPERM}" for name in ("added", "file", "link", "sub")),
        removed,
    ]
    assert (dest / "top").exists() and not (dest / "d/sub").exists()


@pytest.mark.root
def test_nothing_is_replaced_in_an_append_only_directory(served: Served, dest: Path) -> None:
    needs("chattr")
    do("chattr", "+a", dest / "d")
    assert refused(served, dest) == [f"d/file: {EPERM}", f"d/surplus: cannot be removed: {EPERM}"]
    assert (dest / "d/added").exists() and (dest / "d/link").is_symlink()


@pytest.mark.root
def test_a_read_only_mount_below_the_destination(served: Served, dest: Path, mounts: Mounts) -> None:
    mounts.bind(dest / "d", dest / "d")
    do("mount", "-o", "remount,ro,bind", dest / "d")
    said = refused(served, dest)
    assert f"d/file: {EROFS}" in said and f"d/sub: {EROFS}" in said
    assert (dest / "top").exists()


@pytest.mark.root
def test_a_read_only_subvolume_below_the_destination(served: Served, tmp_path: Path, mounts: Mounts) -> None:
    top = mounts.image(tmp_path / "btrfs", "mkfs.btrfs", "-q", megabytes=128)
    do("btrfs", "subvolume", "create", top / "d")
    write(top / "d/file", b"old")
    do("btrfs", "property", "set", top / "d", "ro", "true")
    said = refused(served, top)
    assert f"d/file: {EROFS}" in said and f"d/link: {EROFS}" in said
    assert (top / "top").exists()


@pytest.mark.root
def test_a_directory_of_somebody_else(open_to_all: Path, served: Served) -> None:
    parent = open_to_all / "his"
    (parent / "dest/d").mkdir(parents=True)
    (parent / "dest/sticky").mkdir()
    write(parent / "dest/sticky/file", b"older")
    (served.directory / "sticky").mkdir()
    write(served.directory / "sticky/file", b"new")
    write(served.directory / "sticky/added", b"new")
    (parent / "dest/sticky").chmod(0o1777)
    os.chown(parent / "dest", NOBODY, NOBODY)
    both = InMemory(Served(served.directory))

    def check() -> None:
        os.environ["XDG_CACHE_HOME"] = str(parent / "dest/cache")
        said = refused(both, parent / "dest", delete=False)
        assert said == [
            *(f"d/{name}: {EACCES}" for name in ("added", "file", "link", "sub")),
            f"sticky/file: {EPERM}",
        ]

    as_nobody(check)


@pytest.mark.root
def test_a_destination_in_which_nothing_can_be_made(served: Served, dest: Path) -> None:
    needs("chattr")
    do("chattr", "+i", dest)
    assert refused_at_once(served, dest) == f"{dest}: {EPERM}"


@pytest.mark.root
def test_a_destination_that_cannot_be_made(served: Served, tmp_path: Path) -> None:
    needs("chattr")
    (tmp_path / "parent").mkdir()
    do("chattr", "+i", tmp_path / "parent")
    assert refused_at_once(served, tmp_path / "parent/dest") == f"{tmp_path}/parent/dest: {EPERM}"


@pytest.mark.root
def test_a_read_only_file_system(served: Served, tmp_path: Path, mounts: Mounts) -> None:
    top = mounts.memory(tmp_path / "memory")
    (top / "dest").mkdir()
    do("mount", "-o", "remount,ro", top)
    assert refused_at_once(served, top / "dest") == f"{top}/dest: {EROFS}"


@pytest.mark.root
def test_a_full_file_system(served: Served, tmp_path: Path, mounts: Mounts) -> None:
    top = mounts.memory(tmp_path / "memory", options="size=8k,mode=755")
    assert refused_at_once(served, top / "dest") == f"{top}/dest: disk full: needs 16 KiB, has 8 KiB free"


@pytest.mark.root
def test_a_file_system_without_inodes(served: Served, tmp_path: Path, mounts: Mounts) -> None:
    top = mounts.memory(tmp_path / "memory", options="nr_inodes=9,mode=755")
    assert refused_at_once(served, top).startswith(f"{top}: disk full: needs 10 files, has room for 8")


def test_a_file_that_is_larger_than_this_process_may_make(served: Served, dest: Path) -> None:
    for name, size in (("large", 100_000), ("small", 3000)):
        write(served.directory / name, noise(size, 1))
    both = Served(served.directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        assert refused(both, dest) == ["large: File too large", "small: File too large"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (dest / "top").exists()


@pytest.mark.root
def test_a_swap_file(served: Served, tmp_path: Path, mounts: Mounts) -> None:
    needs("mkswap")
    top = mounts.image(tmp_path / "ext4", "mke2fs", "-q", "-F", "-t", "ext4")
    for name in ("top", "surplus"):
        (top / name).write_bytes(bytes(1 << 20))
        (top / name).chmod(0o600)
        do("mkswap", top / name)
        if subprocess.run(["swapon", str(top / name)], check=False, capture_output=True, timeout=60).returncode:
            pytest.skip("may not use swap space here")
    try:
        assert refused(served, top) == [f"surplus: cannot be removed: {SWAP}", f"top: {cannot_make_way(SWAP)}"]
    finally:
        for name in ("top", "surplus"):
            do("swapoff", top / name)


@pytest.mark.root
def test_a_destination_that_may_not_be_searched_is_refused(open_to_all: Path) -> None:
    closed = open_to_all / "closed"
    closed.mkdir(mode=0o700)

    def look() -> None:
        with Root(bytes(closed)) as root, pytest.raises(PermissionError):
            Access(root, Workplaces(bytes(closed))).check(b"file", None)

    as_nobody(look)

"""One path that the destination refuses costs that path: everything else is put in place, and a line names it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from test.support.downloads import PIECE, Served, fetch, finish, inspect, run_download
from test.support.dry_and_real import lines, run_both
from test.support.mounted import Mounts, do, needs
from test.support.trees import differences, noise, write
from xget_lib.errors import LINES
from xget_lib.fs.inode import NamedInode, OpenInode
from xget_lib.fs.rooted import Root

IMMUTABLE = "cannot be replaced, because what is there cannot be removed: it is immutable or append-only (see lsattr)"
MOUNTED = "cannot be replaced, because what is there cannot be removed: a file system is mounted there"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    source = tmp_path / "served"
    (source / "d/deep").mkdir(parents=True)
    for number in range(40):
        write(source / f"d/f{number:02}", noise(1000, number))
    write(source / "d/large", noise(3 * PIECE, 1))
    write(source / "d/deep/file", b"deep")
    os.link(source / "d/large", source / "large too")
    (source / "link").symlink_to("x")
    os.mkfifo(source / "fifo")
    return Served(source)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """It has something old in the place of many files, and something that the master does not have."""
    dest = tmp_path / "dest"
    (dest / "d").mkdir(parents=True)
    for number in range(40):
        write(dest / f"d/f{number:02}", b"old")
    write(dest / "stale", b"stale")
    return dest


@pytest.fixture
def fixed(dest: Path) -> Iterator[Callable[[Path, str], None]]:
    """Sets attributes as chattr does; they are taken back when the test ends."""
    needs("chattr")
    done: list[tuple[Path, str]] = []

    def fix(path: Path, attribute: str) -> None:
        do("chattr", f"+{attribute}", path)
        done.append((path, attribute))

    yield fix
    for path, attribute in done:
        with suppress(AssertionError):  # it may be gone
            do("chattr", f"-{attribute}", path)


def wrong(served: Served, dest: Path) -> set[str]:
    """What is not as the master has it, except for metadata."""
    here, there = ({str(path.relative_to(top)) for path in top.rglob("*")} for top in (served.directory, dest))
    return here ^ there | {name for name in here & there if not same(served.directory / name, dest / name)}


def same(one: Path, other: Path) -> bool:
    if stat.S_IFMT(one.lstat().st_mode) != stat.S_IFMT(other.lstat().st_mode):
        return False
    return not stat.S_ISREG(one.lstat().st_mode) or one.read_bytes() == other.read_bytes()


@pytest.mark.root
@pytest.mark.parametrize("attribute", ["i", "a"])
def test_an_immutable_file_costs_itself(
    served: Served, dest: Path, fixed: Callable[[Path, str], None], attribute: str
) -> None:
    fixed(dest / "d/f30", attribute)
    ran = run_both(served, dest, delete=True)
    assert ran.lines == [f"{dest}/d/f30: {IMMUTABLE}"]
    assert ran.failures[0].exit_status == 6
    assert b"d/f30" not in [step.path for step in ran.steps], "known before it is fetched"
    assert wrong(served, dest) == {"d/f30"}
    do("chattr", f"-{attribute}", dest / "d/f30")
    assert run_both(served, dest, delete=True).lines == []
    assert differences(served.directory, dest) == []


@pytest.mark.root
def test_a_file_that_is_mounted_costs_itself(served: Served, dest: Path, mounts: Mounts, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    mounts.bind(tmp_path / "mine", dest / "d/f30")
    ran = run_both(served, dest, delete=True)
    assert ran.lines == [f"{dest}/d/f30: {MOUNTED}"]
    assert wrong(served, dest) == {"d/f30"}
    assert (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.root
def test_a_file_that_is_mounted_during_the_run_costs_itself(
    served: Served, dest: Path, mounts: Mounts, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    with served.download(dest, delete=True) as download:
        inspect(download)
        fetch(download, served)
        mounts.bind(tmp_path / "mine", dest / "d/f30")
        mounts.memory(dest / "large too")
        finish(download)
    assert sorted(lines(download.failures)) == [
        f"{dest}/d/f30: Device or resource busy",
        f"{dest}/large too: {MOUNTED}",
    ]
    assert wrong(served, dest) == {"d/f30", "large too"}


@pytest.mark.root
def test_a_file_whose_first_name_is_refused_gets_its_other_names(
    served: Served, dest: Path, mounts: Mounts, tmp_path: Path
) -> None:
    for path in (tmp_path / "mine", dest / "large too"):
        path.write_bytes(b"mine")
    mounts.bind(tmp_path / "mine", dest / "large too")
    for ran in (run_both(served, dest), run_both(served, dest)):
        assert ran.lines == [f"{dest}/large too: {MOUNTED}"]
        assert wrong(served, dest) == {"large too", "stale"}
    assert ran.steps == []


@pytest.mark.root
def test_an_immutable_directory_costs_what_is_to_be_changed_in_it(
    served: Served, dest: Path, fixed: Callable[[Path, str], None]
) -> None:
    fixed(dest / "d", "i")
    with served.download(dest, delete=True) as download:
        inspect(download)
        fetch(download, served)
        finish(download)
    said = lines(download.failures)
    assert said[0] == f"{dest}/d/deep: Operation not permitted"
    assert f"{dest}/d/f00: Operation not permitted" in said
    assert len(said) == LINES + 1
    assert said[-1] == "32 more paths were refused"
    assert (dest / "link").is_symlink() and not (dest / "stale").exists()


@pytest.mark.root
def test_a_directory_in_the_way_that_cannot_go_costs_one_file_and_stays_whole(
    served: Served, dest: Path, mounts: Mounts, fixed: Callable[[Path, str], None]
) -> None:
    for name in ("f01", "f02", "f03", "f04"):
        (dest / "d" / name).unlink()
        (dest / "d" / name / "sub").mkdir(parents=True)
        (dest / "d" / name / "file").write_bytes(b"x")
    mounts.memory(dest / "d/f01/sub")
    fixed(dest / "d/f02/file", "i")
    (dest / "d/f03/sub/.xget").mkdir()
    ran = run_both(served, dest, delete=True)
    other = MOUNTED.replace("a file system is mounted there", "it belongs to another download")
    assert ran.lines == [f"{dest}/d/f01: {MOUNTED}", f"{dest}/d/f02: {IMMUTABLE}", f"{dest}/d/f03: {other}"]
    assert all((dest / "d" / name / "file").exists() for name in ("f01", "f02", "f03"))
    assert (dest / "d/f04").read_bytes() == (served.directory / "d/f04").read_bytes()


@pytest.mark.root
def test_what_cannot_be_removed_is_named_and_the_rest_of_it_goes(
    served: Served, dest: Path, fixed: Callable[[Path, str], None]
) -> None:
    (dest / "extra/deep").mkdir(parents=True)
    for name in ("extra/deep/keep", "extra/deep/go", "extra/go"):
        (dest / name).write_bytes(b"x")
    fixed(dest / "extra/deep/keep", "i")
    ran = run_both(served, dest, delete=True)
    assert ran.lines == [f"{dest}/extra/deep/keep: cannot be removed: it is immutable or append-only (see lsattr)"]
    assert wrong(served, dest) == {"extra", "extra/deep", "extra/deep/keep"}
    assert ran.removed == 3


def test_more_than_ten_lines_end_with_a_count(served: Served, dest: Path) -> None:
    for number in range(15):
        (dest / f"d/f{number:02}").unlink()
        (dest / f"d/f{number:02}").mkdir()
    said = run_both(served, dest).lines
    assert len(said) == LINES + 1
    assert said[-1] == "5 more paths were refused"


CALLS: dict[str, tuple[object, str]] = {
    "mkdir": (Root, "mkdir"),
    "symlink": (Root, "symlink"),
    "mknod": (Root, "mknod"),
    "time": (OpenInode, "utime"),
    "time of a link": (NamedInode, "utime"),
}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTRECOVERABLE, errno.EROFS])
@pytest.mark.parametrize("call", CALLS)
def test_an_unforeseen_errno_costs_one_path(
    served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    owner, name = CALLS[call]
    real = getattr(owner, name)
    failed: list[object] = []

    def fail_once(*arguments: object) -> object:
        if failed or (name == "mkdir" and arguments[1] != b"d/deep"):
            return real(*arguments)
        failed.append(arguments)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(owner, name, fail_once)
    with served.download(dest, delete=True) as download:
        inspect(download)
        fetch(download, served)
        finish(download)
    assert failed
    (failure,) = download.failures
    assert os.strerror(number) in failure.lines[0] and failure.exit_status == 6
    assert len(wrong(served, dest)) <= 2, "one path, and what is below it or another name of it"
    assert not (dest / ".xget").exists()
    monkeypatch.undo()
    run_download(served, dest, delete=True)
    assert differences(served.directory, dest) == []


def test_a_hard_link_that_cannot_be_made_is_a_copy_whatever_the_errno(
    served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOTRECOVERABLE, os.strerror(errno.ENOTRECOVERABLE))

    monkeypatch.setattr(Root, "link", fail)
    ran = run_both(served, dest, delete=True)
    assert ran.lines == []
    assert ran.notes == [f"some hard links were created as copies: {os.strerror(errno.ENOTRECOVERABLE)}"]
    assert (dest / "large too").read_bytes() == (served.directory / "d/large").read_bytes()


def test_an_old_file_that_cannot_be_read_is_replaced(
    served: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(dest / "d/large", noise(3 * PIECE, 2))
    preadv = os.preadv

    def fail(fd: int, *arguments: object) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("dest/d/large"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(fd, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "preadv", fail)
    assert run_both(served, dest, checksum=True, delete=True).lines == []
    monkeypatch.undo()
    assert differences(served.directory, dest) == []

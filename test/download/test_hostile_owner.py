"""A destination whose owner is hostile: what root puts together stays root's, and is what was verified."""

from __future__ import annotations

import os
import random
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import pytest

from test.support.downloads import PIECE, SECOND, Served, fetch, inspect, is_same, run_download
from test.support.somebody import NOBODY, as_nobody, nobody_repeating
from xget_lib.download.download import Download
from xget_lib.download.workplaces import part_name
from xget_lib.fs.rooted import DIRECTORIES_KEPT

EVIL = b"#!/bin/sh\n# his own bytes\n"

pytestmark = pytest.mark.root


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A program of root's with powers, small and large, and more directories than stay open."""
    source = tmp_path / "served"
    source.mkdir()
    os.chown(source, NOBODY, NOBODY)  # so the destination stays his
    for name, size in (("large", 6 * PIECE), ("small", 500)):
        (source / name).write_bytes(os.urandom(size))
        (source / name).chmod(0o4755)
        os.utime(source / name, ns=(0, SECOND))
    for number in range(DIRECTORIES_KEPT + 5):
        (source / f"d{number}").mkdir()
        (source / f"d{number}/file").write_bytes(b"x" * 100)
    return Served(source)


@pytest.fixture
def his(open_to_all: Path) -> Path:
    """A destination of his, where root downloads."""
    dest = open_to_all / "his"
    as_nobody(dest.mkdir)
    return dest


def programs_of_root(top: Path) -> list[Path]:
    """All that would run as root, wherever it is."""
    found = []
    for path in top.rglob("*"):
        with suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_ISUID and status.st_uid == 0:
                found.append(path)
    return found


def check(served: Served, top: Path) -> None:
    """Nothing of his runs as root."""
    right = {(served.directory / name).read_bytes() for name in ("large", "small")}
    for path in programs_of_root(top):
        assert path.read_bytes() in right, path


def swap(dest: Path) -> None:
    """The staging directory is his from now on, and so are all parts that may come."""
    os.rename(dest / ".xget", dest / f"aside{random.randrange(1 << 30)}")
    (dest / ".xget/parts").mkdir(parents=True)
    for name in (b"large", b"small"):
        path = os.path.join(bytes(dest), b".xget/parts", part_name(name))
        with open(path, "wb") as file:
            file.write(EVIL)
        os.chmod(path, 0o666)


def overwrite(dest: Path) -> None:
    for path in (dest / ".xget/parts").iterdir():
        with suppress(OSError), open(path, "r+b") as file:
            file.write(EVIL)


def install_all(download: Download) -> None:
    download.install_files(download.take_complete())
    download.finish()


def test_parts_are_made_in_the_directory_that_was_checked_and_nowhere_else(served: Served, his: Path) -> None:
    with served.download(his) as download:
        inspect(download)
        as_nobody(lambda: swap(his))
        fetch(download, served)
        as_nobody(lambda: overwrite(his))
        install_all(download)
        assert download.failures == []
    assert len(programs_of_root(his)) == 2
    check(served, his)


def test_a_leftover_part_that_somebody_else_can_write_on_is_thrown_away(served: Served, his: Path) -> None:
    with served.download(his) as download:
        inspect(download)
        fetch(download, served, [served.layout.file_pieces(served.file_named(b"large")).start])
    parts = his / ".xget/parts"
    (part,) = parts.iterdir()
    for spoil in ("owner", "mode", "link", "fifo"):
        part.unlink()
        if spoil == "fifo":
            os.mkfifo(part)
        else:
            part.write_bytes((served.directory / "large").read_bytes())
        if spoil == "owner":
            os.chown(part, NOBODY, NOBODY)
        elif spoil == "mode":
            part.chmod(0o666)
        elif spoil == "link":
            os.link(part, his / "another name")
        before = part.lstat().st_ino, part.lstat().st_ctime_ns
        with served.download(his) as download:
            inspect(download)
            fetch(download, served, [served.layout.file_pieces(served.file_named(b"large")).start])
            assert (part.lstat().st_ino, part.lstat().st_ctime_ns) != before, spoil
            status = part.lstat()
            assert (status.st_uid, stat.S_IMODE(status.st_mode), status.st_nlink) == (0, 0o600, 1)


def test_a_part_appears_only_where_nothing_was(served: Served, his: Path) -> None:
    """Something else has the name of a part by the time it is made: it is removed, and never written on."""
    with served.download(his) as download:
        inspect(download)
        for name in (b"large", b"small"):
            path = os.path.join(bytes(his), b".xget/parts", part_name(name))
            with open(path, "wb") as file:
                os.chmod(path, 0o666)
                os.chown(path, NOBODY, NOBODY)
            os.link(path, his / os.fsdecode(b"kept " + name))
            assert file.closed
        fetch(download, served)
        install_all(download)
    check(served, his)
    assert all((his / f"kept {name}").read_bytes() == b"" for name in ("large", "small"))


@pytest.mark.parametrize("name", ["large", "small"])
@pytest.mark.parametrize("when", ["fetched", "ready"])
def test_a_part_that_was_overwritten_before_it_got_its_name_is_refused(
    served: Served, tmp_path: Path, name: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another process of root's, or of the same user."""
    dest = tmp_path / "dest"
    part = tmp_path / "dest/.xget/parts" / os.fsdecode(part_name(name.encode()))

    def spoil() -> None:
        part.chmod(0o600)
        with open(part, "r+b") as file:
            file.write(EVIL)

    with served.download(dest) as download:
        inspect(download)
        fetch(download, served)
        if when == "fetched":
            spoil()
        else:
            real = os.rename

            def late(old: bytes, new: bytes, **options: int) -> None:
                if part.exists():
                    spoil()
                real(old, new, src_dir_fd=options["src_dir_fd"], dst_dir_fd=options["dst_dir_fd"])

            monkeypatch.setattr(os, "rename", late)
        install_all(download)
        (failure,) = download.failures
        assert f"{name}: another program changed it during the download (run again)" in failure.lines[0]
    monkeypatch.undo()
    run_download(served, dest)
    assert is_same(served, dest)


def test_what_is_corrected_is_what_was_compared(served: Served, his: Path) -> None:
    """He replaces a file of root's by his own after it was compared, and before it gets its metadata."""
    run_download(served, his)
    (his / "large").chmod(0o755 | stat.S_ISUID)
    os.utime(his / "large", ns=(0, 0))
    with served.download(his) as download:
        inspect(download, trust_times=False)

        def replace() -> None:
            os.rename(his / "large", his / "aside")
            (his / "large").write_bytes(EVIL)

        as_nobody(replace)
        fetch(download, served)
        install_all(download)
        (failure,) = download.failures
        assert "large: another program replaced it during the download (run again)" in failure.lines[0]
    check(served, his)


def swap_or_overwrite(dest: Path, chance: Random) -> None:
    with suppress(OSError):
        swap(dest) if chance.random() < 0.3 else overwrite(dest)
    os.rename(dest / "large", dest / "small") if chance.random() < 0.1 else os.sched_yield()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_he_swaps_meanwhile_nothing_of_his_runs_as_root(served: Served, his: Path, seed: int) -> None:
    with nobody_repeating(partial(swap_or_overwrite, his), seed), suppress(Exception):  # he may keep us from it
        run_download(served, his)
    check(served, his)

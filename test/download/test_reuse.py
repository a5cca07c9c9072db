"""What a run reuses of an earlier one, however that ended, and of old files."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.downloads import Served, fetch, inspect, manifest_of, missing, present, run_download

PIECE = 65536
SECOND = 1_000_000_000  # in ns


def put(path: Path, content: bytes, seconds: int = 1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(0, seconds * SECOND))


@pytest.fixture
def served(tmp_path: Path) -> Served:
    put(tmp_path / "served/large", os.urandom(6 * PIECE + 7))
    put(tmp_path / "served/a/small", b"small")
    return Served(tmp_path / "served")


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


def interrupted(served: Served, dest: Path, numbers: list[int]) -> Path:
    """A run that ends when these pieces are written. Returns where the part of file `large` is."""
    with served.download(dest) as download:
        inspect(download)
        fetch(download, served, numbers)
        return dest / os.fsdecode(download.path_of(served.file_named(b"large")))


def reusable(served: Served, dest: Path) -> list[int]:
    with served.download(dest) as download:
        inspect(download)
        return present(download, served.layout)


def large(served: Served, *numbers: int) -> list[int]:
    """Piece numbers of file `large`, counted from its first."""
    first = served.layout.file_pieces(served.file_named(b"large")).start
    return [first + number for number in numbers]


def test_the_next_run_finds_the_pieces_that_were_written(served: Served, dest: Path) -> None:
    written = large(served, 0, 3, 6)
    interrupted(served, dest, written)
    assert reusable(served, dest) == written
    assert run_download(served, dest) == served.layout.size - 2 * PIECE - 7
    assert manifest_of(dest).generation == served.manifest.generation


def test_a_piece_that_was_damaged_meanwhile_is_fetched_again(served: Served, dest: Path) -> None:
    part = interrupted(served, dest, large(served, 0, 3, 6))
    with open(part, "r+b") as file:
        file.seek(3 * PIECE + 5)
        file.write(b"damage")
    assert reusable(served, dest) == large(served, 0, 6)


def test_a_part_cut_short_keeps_what_is_before_the_cut(served: Served, dest: Path) -> None:
    part = interrupted(served, dest, large(served, 0, 3, 6))
    os.truncate(part, 3 * PIECE)
    assert reusable(served, dest) == large(served, 0)


def test_a_part_without_permissions_can_be_continued(served: Served, dest: Path) -> None:
    part = interrupted(served, dest, large(served, 0))
    part.chmod(0)
    assert reusable(served, dest) == large(served, 0)
    assert part.stat().st_mode & 0o777 == 0o600


def test_parts_of_files_that_are_no_longer_wanted_are_removed_at_the_end(served: Served, dest: Path) -> None:
    interrupted(served, dest, large(served, 0))
    run_download(served, dest, b"a")
    assert os.listdir(dest) == ["a"]


def test_a_new_generation_keeps_the_right_pieces_of_part_and_old_file(served: Served, dest: Path) -> None:
    content = bytearray((served.directory / "large").read_bytes())
    put(dest / "large", bytes(content[: 2 * PIECE]) + b"x" * 3 * PIECE)  # pieces 0 and 1
    interrupted(served, dest, large(served, 4, 5))
    content[PIECE] ^= 1
    content[5 * PIECE] ^= 1
    put(served.directory / "large", bytes(content), 2000)
    changed = Served(served.directory)
    with changed.download(dest) as download:
        inspect(download)
        assert present(download, changed.layout) == large(changed, 0, 4)
        assert download.reused == 2 * PIECE
    assert run_download(changed, dest) == changed.layout.size - 2 * PIECE
    assert manifest_of(dest).generation == changed.manifest.generation


def test_a_file_that_grew_keeps_its_beginning(served: Served, dest: Path) -> None:
    run_download(served, dest)
    content = (served.directory / "large").read_bytes()
    put(served.directory / "large", content + b"more", 2000)
    assert run_download(Served(served.directory), dest) == 7 + 4  # the last, odd piece
    put(served.directory / "large", content[: 3 * PIECE], 3000)
    assert run_download(Served(served.directory), dest) == 0
    assert (dest / "large").read_bytes() == content[: 3 * PIECE]


def test_the_old_file_stays_until_the_new_one_is_complete(served: Served, dest: Path) -> None:
    put(dest / "large", b"old")
    with served.download(dest) as download:
        inspect(download)
        fetch(download, served, large(served, *range(6)))
        assert (dest / "large").read_bytes() == b"old"


def test_a_link_takes_the_place_of_a_half_fetched_file(served: Served, dest: Path) -> None:
    interrupted(served, dest, large(served, 0))
    (served.directory / "large").unlink()
    (served.directory / "large").symlink_to("a/small")
    run_download(Served(served.directory), dest)
    assert os.readlink(dest / "large") == "a/small"
    (served.directory / "large").unlink()
    put(served.directory / "large", os.urandom(2 * PIECE))
    again = Served(served.directory)
    interrupted(again, dest, large(again, 0))
    (served.directory / "large").unlink()
    os.link(served.directory / "a/small", served.directory / "large")
    run_download(Served(served.directory), dest)
    assert (dest / "large").stat().st_ino == (dest / "a/small").stat().st_ino


class TestZeros:
    @pytest.fixture
    def served(self, tmp_path: Path) -> Served:
        put(tmp_path / "served/large", os.urandom(PIECE) + bytes(7 * PIECE) + b"end")
        put(tmp_path / "served/only", bytes(2 * PIECE))
        return Served(tmp_path / "served")

    def test_pieces_of_zeros_are_not_fetched_and_are_no_holes(self, served: Served, dest: Path) -> None:
        assert run_download(served, dest) == PIECE + 3
        assert manifest_of(dest).generation == served.manifest.generation
        for name in ("large", "only"):
            assert (dest / name).stat().st_blocks >= (served.directory / name).stat().st_blocks

    def test_a_hole_in_an_old_part_is_right_where_zeros_belong_and_wrong_elsewhere(
        self, served: Served, dest: Path
    ) -> None:
        interrupted(served, dest, [])
        assert reusable(served, dest) == [*large(served, *range(1, 8)), *served.layout.file_pieces(1)]

    def test_data_where_zeros_belong_is_found(self, served: Served, dest: Path) -> None:
        part = interrupted(served, dest, [])
        with open(part, "r+b") as file:
            file.seek(2 * PIECE)
            file.write(b"data")
        assert large(served, 2)[0] not in reusable(served, dest)
        assert run_download(served, dest) == 2 * PIECE + 3
        assert manifest_of(dest).generation == served.manifest.generation

    def test_a_hole_in_an_old_file_says_nothing_of_the_part(self, served: Served, dest: Path) -> None:
        part = interrupted(served, dest, [])
        with open(part, "r+b") as file:
            file.seek(2 * PIECE)
            file.write(b"data")
        (dest / "large").write_bytes(b"")
        os.truncate(dest / "large", 8 * PIECE + 3)  # all hole
        assert large(served, 2)[0] not in reusable(served, dest)

    def test_an_old_file_of_data_gets_its_holes(self, served: Served, dest: Path) -> None:
        put(dest / "large", os.urandom(9 * PIECE))
        assert run_download(served, dest) == PIECE + 3
        assert manifest_of(dest).generation == served.manifest.generation


# Every system call by which a run changes the disk. A test kills the run before the first, the second, ...
CHANGES = ["open", "mkdir", "rmdir", "rename", "unlink", "link", "symlink", "pwrite", "ftruncate", "fsync"]
CHANGES += ["chmod", "fchmod", "chown", "fchown", "utime"]


def killed_before(change: int, run: Callable[[], None]) -> bool:
    """Runs something in a process that dies (SIGKILL) before its change number `change`. False: it got to its end."""
    pid = os.fork()
    if pid == 0:
        left = change

        def dying(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return real(*arguments, **options)

            return call

        try:
            for name in CHANGES:
                setattr(os, name, dying(getattr(os, name)))
            run()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.slow
def test_killed_at_any_moment_every_name_is_old_or_new_and_the_next_run_goes_on(tmp_path: Path, dest: Path) -> None:
    """A new generation over an old one: changed, new, unchanged, a replaced link, a hard link, directories."""
    first, second = tmp_path / "first", tmp_path / "second"
    unchanged = os.urandom(PIECE + 1)
    old_large, new_large = (os.urandom(2 * PIECE + 1) for _ in range(2))
    put(first / "large", old_large)
    put(second / "large", new_large[:PIECE] + old_large[PIECE : 2 * PIECE] + b"!", 2000)
    for directory in (first, second):
        put(directory / "d/same", unchanged)
    put(second / "d/new", b"new", 3000)
    os.link(second / "d/new", second / "hard")
    (first / "link").symlink_to("old")
    (second / "link").symlink_to("new")
    old, new = Served(first), Served(second)

    def whole_run() -> None:
        run_download(new, dest)

    allowed: dict[str, set[bytes | None]] = {
        "large": {(first / "large").read_bytes(), (second / "large").read_bytes()},
        "d/same": {unchanged},
        "d/new": {b"new", None},
        "hard": {b"new", None},
    }
    change = 0
    while True:
        dest.mkdir()
        run_download(old, dest)
        killed = killed_before(change, whole_run)
        for name, contents in allowed.items():
            there = (dest / name).read_bytes() if (dest / name).exists() else None
            assert there in contents, (change, name)
        assert os.readlink(dest / "link") in ("old", "new")
        if killed:
            with new.download(dest) as download:
                inspect(download)
                left = sum(new.layout.piece(number).length for number in missing(download, new.layout))
                assert left <= PIECE + 1 + len(b"new"), change  # never again what the old generation had right
            run_download(new, dest)
        assert manifest_of(dest).generation == new.manifest.generation, change
        assert not (dest / ".xget").exists()
        shutil.rmtree(dest)
        if not killed:
            break
        change += 1
    assert change > 40  # it did count something


def test_a_killed_run_never_loses_a_piece_that_it_marked(served: Served, dest: Path) -> None:
    numbers = range(served.layout.piece_count)

    def run_that_dies() -> None:
        with served.download(dest) as download:
            inspect(download)
            fetch(download, served, numbers)
            os.kill(os.getpid(), signal.SIGKILL)

    assert killed_before(1000, run_that_dies)
    assert reusable(served, dest) == list(numbers)

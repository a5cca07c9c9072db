"""One plan: a dry run says exactly what a run then does, whatever the destination looks like."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from test.support.downloads import Served, fetch, finish, inspect, missing
from test.support.dry_and_real import check_what_changed, inodes, lines
from test.support.trees import MOMENT, differences, noise, write
from xget_lib.download.delete import Surplus
from xget_lib.download.dry_run import dry_run_steps
from xget_lib.download.plan import UNCHANGED, FilePlan, Planner, Step
from xget_lib.errors import DestinationRefused, XGetError
from xget_lib.manifest.selection import select

PIECE = 65536
NAMES = ("one", "two", "three", "four", "five", "six")


def random_tree(root: Path, rng: random.Random) -> None:
    """Two levels of directories, with files of no, one and several pieces in them."""
    for directory in (root, root / "a", root / "a/b", root / "c"):
        directory.mkdir()
        for name in rng.sample(NAMES, 4):
            size = rng.choice((0, 10, 500, PIECE, 3 * PIECE + 5))
            write(directory / name, noise(size, rng.randrange(3)), mtime=MOMENT + rng.randrange(3))
    (root / "zeros").write_bytes(bytes(3 * PIECE))
    for _ in range(10):
        change(root, rng)


def change(root: Path, rng: random.Random) -> None:
    """Does something to one path below `root`."""
    paths = sorted(path for path in root.rglob("*") if ".xget" not in path.parts)
    path = rng.choice(paths)
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        rng.choice((_retarget, _remove, _replace_by_directory))(path, rng)
    elif path.is_dir():
        rng.choice((_touch, _chmod, _add, _add, _add, _remove, _replace_by_file))(path, rng)
    else:
        rng.choice(FILE_CHANGES)(path, rng)


def _touch(path: Path, rng: random.Random) -> None:
    os.utime(path, ns=(MOMENT, MOMENT + rng.randrange(100, 103)))


def _chmod(path: Path, rng: random.Random) -> None:
    path.chmod(rng.choice((0o700, 0o755, 0o1777) if path.is_dir() else (0o600, 0o644, 0o755)))


def _attribute(path: Path, rng: random.Random) -> None:
    os.setxattr(path, "user.x", b"%d" % rng.randrange(2))


def _append(path: Path, rng: random.Random) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _damage(path: Path, rng: random.Random) -> None:
    """Changes the first byte; half the time neither size nor time shows it."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"!")
    if rng.random() < 0.5:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _make_sparse(path: Path, rng: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(0)
        file.truncate(4 * PIECE)
        file.seek(rng.choice((0, PIECE, 2 * PIECE)))
        file.write(noise(PIECE, 1))


def _add(path: Path, rng: random.Random) -> None:
    new = path / f"new {rng.randrange(3)}"
    if not os.path.lexists(new):
        rng.choice((Path.mkdir, os.mkfifo, lambda each: write(each, b"new"), lambda each: each.symlink_to("x")))(new)


def _link(path: Path, rng: random.Random) -> None:
    new = path.with_name(f"link {rng.randrange(2)}")
    if path != new and not new.is_dir():
        new.unlink(missing_ok=True)
        os.link(path, new)


def _remove(path: Path, rng: random.Random) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _retarget(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def _replace_by_directory(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()
    (path / "in the way").write_bytes(b"x")


def _replace_by_file(path: Path, rng: random.Random) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"in the way")


FILE_CHANGES: tuple[Callable[[Path, random.Random], None], ...] = (
    *(_touch, _chmod, _attribute, _append, _damage, _make_sparse, _link, _link, _remove, _retarget),
    _replace_by_directory,
)


def planned(steps: Sequence[Step]) -> list[tuple[str, bytes, int]]:
    """As a dry run gives them: without what is unchanged, and what is cleared away has a step of its own."""
    removed = [("remove", step.path, 0) for step in steps if step.clears]
    return sorted(removed + [(step.action, step.path, step.size) for step in steps if step.action != UNCHANGED])


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Collects the steps that a run is given by its planner."""
    steps: list[Step] = []

    def recording(name: str) -> None:
        original = getattr(Planner, name)

        def iterate(self: Planner) -> Iterator[Step]:
            for step in original(self):
                steps.append(step)
                yield step

        monkeypatch.setattr(Planner, name, iterate)

    for name in ("directories", "specials"):
        recording(name)
    surplus = Planner.surplus

    def record_surplus(self: Planner) -> Surplus:
        found = surplus(self)
        steps.extend(Step("remove", path) for path in found.paths)
        return found

    monkeypatch.setattr(Planner, "surplus", record_surplus)
    files = Planner.files

    def record_files(self: Planner, numbers: Sequence[int], trusts_times: Callable[[int], bool]) -> FilePlan:
        plan = files(self, numbers, trusts_times)
        for file in plan.new:
            path = self._selection.file_dest_path(file)
            steps.append(Step("fetch", path, self._layout.file_range(file)[1]))
        for decision in plan.others:
            steps.extend((decision.step, *decision.links))
        return plan

    monkeypatch.setattr(Planner, "files", record_files)
    return steps


@pytest.mark.parametrize("seed", range(40))
def test_a_dry_run_and_a_run_have_the_same_steps(tmp_path: Path, seed: int, executed: list[Step]) -> None:
    source = random.Random(seed)
    random_tree(tmp_path / "served", source)
    dest = tmp_path / "dest"
    if seed % 5:
        shutil.copytree(tmp_path / "served", dest, symlinks=True, ignore=_fifos)
        for _ in range(source.randrange(8)):
            change(dest, source)
    served = Served(tmp_path / "served")
    options: dict[str, Any] = {"delete": source.random() < 0.8}
    checksum = source.random() < 0.5
    if source.random() < 0.3:
        _interrupted_run(served, dest, source, options)

    before = inodes(dest)
    selection = select(served.manifest, [b"."])
    failures: list[XGetError] = []
    steps = list(
        dry_run_steps(
            bytes(dest), served.manifest, selection, checksum=checksum, failures=failures, delete=options["delete"]
        )
    )
    assert inodes(dest) == before
    said = sorted((step.action, step.path, step.size) for step in steps if step.path != b".")

    executed.clear()
    with served.download(dest, **options) as download:
        inspect(download, trust_times=not checksum)
        assert len(missing(download, served.layout)) >= sum(1 for step in steps if step.size)
        fetched = fetch(download, served)
        finish(download)
    assert planned(executed) == said
    assert fetched == sum(step.size for step in steps)
    assert lines(failures) == lines(download.failures)
    check_what_changed(before, inodes(dest), steps)
    if options["delete"] and checksum:
        assert differences(served.directory, dest) == []
    assert not list(dry_run_steps(bytes(dest), served.manifest, selection, delete=options["delete"]))


def _fifos(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if stat.S_ISFIFO(os.lstat(os.path.join(directory, name)).st_mode)]


def _interrupted_run(served: Served, dest: Path, rng: random.Random, options: dict[str, bool]) -> None:
    """A run that ends, as the disk is full or so, when it has written some pieces."""
    try:
        with served.download(dest, **options) as download:
            inspect(download)
            to_fetch = missing(download, served.layout)
            fetch(download, served, rng.sample(to_fetch, len(to_fetch) // 2))
    except DestinationRefused:
        pass

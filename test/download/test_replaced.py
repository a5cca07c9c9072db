"""Images of fixed size and time go from A to B and back: no earlier run vouches for what was replaced since."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from test.support.downloads import SECOND, Served, fetch, finish, inspect, run_download
from test.support.filesystems import mounted
from test.support.mounted import Mounts, do
from xget_lib.download import record
from xget_lib.download.dry_run import dry_run_steps
from xget_lib.download.last_run import Paths, doubt
from xget_lib.download.record import record_path
from xget_lib.download.staging import REPLACED, replaced_paths
from xget_lib.fs.rooted import Root
from xget_lib.manifest.selection import select

FILES = 40


def images(base: Path, letter: str) -> Served:
    """Images whose size and time never change."""
    top = base / f"served {letter}"
    (top / "boot").mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        (top / f"boot/image {number}").write_text(f"{letter}{number}")
    (top / "zero").write_text(f"zero {letter}")
    os.link(top / "zero", top / "boot/other name")
    for path in [top, *top.rglob("*")]:
        os.utime(path, ns=(0, SECOND))
    return Served(top)


@pytest.fixture
def a(tmp_path: Path) -> Served:
    return images(tmp_path, "A")


@pytest.fixture
def b(tmp_path: Path) -> Served:
    return images(tmp_path, "B")


def run(served: Served, dest: Path, *sources: bytes) -> int:
    """Bytes fetched. Fails unless a dry run foresees them, and the destination is a copy then."""
    steps = dry_run_steps(bytes(dest), served.manifest, select(served.manifest, sources or (b".",)), remembers=True)
    foreseen = sum(step.size for step in steps)
    fetched = run_download(served, dest, *sources, remembers=True)
    tops = [served.directory / os.fsdecode(source) for source in sources] or [served.directory]
    for top in tops:
        for path in [top, *top.rglob("*")]:
            there = dest / (path.relative_to(top) if not sources else path.relative_to(top.parent))
            assert path.is_dir() or there.read_bytes() == path.read_bytes(), path
    assert fetched == foreseen
    assert not (dest / ".xget").exists()
    return fetched


def replace_all(served: Served, dest: Path) -> None:
    """A run that reads all files."""
    with served.download(dest, remembers=True) as download:
        inspect(download, trust_times=False)
        fetch(download, served)
        finish(download)


def record_of(dest: Path) -> str:
    with Root(bytes(dest)) as root:
        return os.fsdecode(record_path(root))


def records(dest: Path) -> list[str]:
    """Of all directories that have been at this path."""
    directory = os.path.dirname(record_of(dest))
    path = os.path.realpath(dest)
    prefix = os.fsdecode(b"left-" + record.hashed(os.fsencode(path)))
    return [each for each in os.listdir(directory) if each.startswith(prefix)]


def interrupt(served: Served, dest: Path, *sources: bytes) -> None:
    """A run that ends when everything is in place, and it has not said so."""
    with served.download(dest, *sources, remembers=True) as download:
        inspect(download, trust_times=False)
        fetch(download, served)
        download.install_files(download.take_complete())


@pytest.mark.parametrize("is_known", [True, False], ids=["a record", "no record"])
def test_after_an_interrupted_run_the_master_goes_back(a: Served, b: Served, dest: Path, is_known: bool) -> None:
    run(a, dest)
    if not is_known:
        os.unlink(record_of(dest))
    interrupt(b, dest)
    assert (dest / "zero").read_text() == "zero B"
    assert run(a, dest) > 0
    assert run(a, dest) == 0


def test_the_master_goes_back_while_a_run_is_at_work(a: Served, b: Served, dest: Path) -> None:
    run(a, dest)
    for served in (b, a, b):
        interrupt(served, dest)
    assert run(a, dest) > 0


def test_what_is_replaced_is_noted_on_disk_before(
    a: Served, b: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(a, dest)
    noted: list[frozenset[int]] = []
    rename = os.rename

    def renaming(*arguments: object, **options: object) -> None:
        if not os.fsencode(str(arguments[1])).startswith(b"/"):
            with Root(bytes(dest)) as root:
                noted.append(replaced_paths(root))
        rename(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", renaming)
    interrupt(b, dest)
    assert len(noted) == FILES + 2, "a file has two names"
    assert set(noted) == {frozenset(Paths(select(b.manifest, [b"."])).keys)}


def test_a_file_that_was_made_where_nothing_was_is_in_doubt_too(a: Served, b: Served, dest: Path) -> None:
    interrupt(b, dest)
    assert run(a, dest) > 0


@pytest.mark.parametrize("selected", [b"boot", b"boot/image 7", b"zero", b"boot/other name"])
def test_other_selections_into_one_destination_know_of_each_other(
    a: Served, b: Served, dest: Path, selected: bytes
) -> None:
    run(a, dest)
    if b"/" in selected:  # its place is the destination itself
        run(a, dest, selected)
    for served in (b, a):
        assert run(served, dest, selected) > 0
        assert run(served, dest, selected) == 0
    assert run(b, dest, selected) > 0
    run(a, dest)
    run(a, dest, selected)


def test_what_an_interrupted_run_left_stays_in_doubt_after_a_run_of_something_else(
    a: Served, b: Served, dest: Path
) -> None:
    run(a, dest)
    os.unlink(record_of(dest))
    interrupt(b, dest)
    run(a, dest, b"zero")
    assert run(a, dest) > 0


@pytest.mark.root
def test_a_destination_is_known_by_any_path(a: Served, b: Served, dest: Path, tmp_path: Path, mounts: Mounts) -> None:
    run(a, dest)
    (tmp_path / "bound").mkdir()
    mounts.bind(dest, tmp_path / "bound")
    (tmp_path / "link").symlink_to(dest)
    assert run(b, tmp_path / "bound") > 0
    assert run(a, tmp_path / "link") > 0
    assert run(b, dest) > 0
    assert len(records(dest)) == 1
    dest.rename(tmp_path / "renamed")
    assert run(a, tmp_path / "renamed") > 0


def test_a_run_with_another_record_is_noticed(
    a: Served, b: Served, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of another machine or user."""
    run(a, dest)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
        replace_all(b, dest)
    assert run(a, dest) > 0
    assert run(a, dest) == 0


def test_a_run_into_a_directory_of_the_destination_is_noticed(a: Served, b: Served, dest: Path) -> None:
    run(a, dest)
    replace_all(Served(b.directory / "boot"), dest / "boot")
    assert run(a, dest) > 0


def test_a_doubt_about_a_file_survives_runs_of_something_else(a: Served, dest: Path) -> None:
    run(a, dest)
    (dest / "boot/image 7").write_text("??")
    os.utime(dest / "boot/image 7", ns=(0, SECOND))
    selection = select(a.manifest, [b"."])
    with Root(bytes(dest)) as root:
        doubt(root, selection, [a.file_named(b"boot/image 7")])
    run(a, dest, b"zero")
    assert run(a, dest) == 2


@pytest.mark.root
@pytest.mark.parametrize("where", ["cache", "full"])
def test_where_no_record_can_be_saved_an_older_one_vouches_for_nothing(
    a: Served, b: Served, dest: Path, tmp_path: Path, mounts: Mounts, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    cache = mounts.memory(tmp_path / "cache", options="size=64k,mode=700")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    run(a, dest)
    if where == "cache":
        do("mount", "-o", "remount,ro", cache)
        run_download(b, dest, remembers=True)
        assert (dest / ".xget/replaced").exists()
        do("mount", "-o", "remount,rw", cache)
    else:
        with suppress(OSError), open(cache / "filler", "wb") as filler:
            filler.write(bytes(1 << 20))
        run_download(b, dest, remembers=True)
        assert records(dest) == []
        (cache / "filler").unlink()
        return
    assert run(a, dest) > 0


def test_a_note_that_breaks_off_is_used_as_far_as_it_goes(a: Served, b: Served, dest: Path) -> None:
    run(a, dest)
    interrupt(b, dest)
    with Root(bytes(dest)) as root:
        noted = replaced_paths(root)
        with open(dest / os.fsdecode(REPLACED), "ab") as file:
            file.write(b"???")
        assert replaced_paths(root) == noted
        interrupt(b, dest)
        assert replaced_paths(root) == noted
    assert run(a, dest) > 0


@pytest.mark.root
def test_on_a_file_system_without_inode_numbers_the_note_is_enough(a: Served, b: Served, tmp_path: Path) -> None:
    with mounted("exfat", tmp_path) as top:
        run(a, top / "dest")
        interrupt(b, top / "dest")
        assert run(a, top / "dest") > 0


def test_few_records_are_kept_for_one_path(a: Served, dest: Path) -> None:
    for _ in range(7):
        run(a, dest)
        shutil.rmtree(dest)
    dest.mkdir()
    assert len(records(dest)) == 4
    run(a, dest)
    assert os.path.basename(record_of(dest)) in records(dest) and len(records(dest)) == 4


def test_a_record_that_another_process_changes_is_waited_for(
    a: Served, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(a, dest)
    path = record_of(dest)
    before = record.read_record(os.fsencode(path))
    monkeypatch.setattr(record, "_LOCK_PAUSE", 0.001)
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    record.change_record(os.fsencode(path), lambda each: record.Record())
    assert record.read_record(os.fsencode(path)) == before, "a stopped process has the lock"
    os.close(descriptor)
    record.change_record(os.fsencode(path), lambda each: record.Record())
    assert record.read_record(os.fsencode(path)) == record.Record()

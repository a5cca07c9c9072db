"""What a run knows of the one before: on real file systems that keep less than the manifest says, and of content."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test.support.downloads import SECOND, Served, destination, run_download
from test.support.filesystems import mounted, remount
from test.support.somebody import NOBODY
from xget_lib.download.dry_run import dry_run_steps
from xget_lib.download.last_run import doubt, load_run
from xget_lib.download.plan import Step
from xget_lib.download.record import record_path
from xget_lib.download.reuse import Reuse
from xget_lib.fs.rooted import Root
from xget_lib.manifest.selection import select

LIMITED = ("exfat", "ext4 with small inodes", "ext3")
MOMENT = 1_700_000_001 * SECOND + 678_901_234


@pytest.fixture(params=LIMITED)
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A kind of file system that keeps less than a manifest says, and where one is mounted."""
    with mounted(request.param, tmp_path) as top:
        yield request.param, top


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that are read to compare their content."""
    paths: list[bytes] = []
    is_whole = Reuse.is_whole

    def reading(self: Reuse, file: int, path: bytes, status: os.stat_result) -> bool:
        paths.append(path)
        return is_whole(self, file, path, status)

    monkeypatch.setattr(Reuse, "is_whole", reading)
    return paths


def tree(base: Path) -> Path:
    """With one of everything that a file system may not have."""
    served = base / "served"
    (served / "d" / "e").mkdir(parents=True)
    for name in ("vmlinuz", "z", "d/one", "d/two", "d/e/three"):
        (served / name).write_bytes(name.encode() * 1000)
    (served / "large").write_bytes(os.urandom(200_000))
    (served / "tool").write_bytes(b"tool")
    os.chown(served / "tool", 8, 8)
    (served / "tool").chmod(0o4750)
    (served / "link").symlink_to("vmlinuz")
    os.link(served / "vmlinuz", served / "hard")
    os.mkfifo(served / "fifo")
    os.mknod(served / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(served / "z", "user.a", b"b")
    for number, path in enumerate(sorted(served.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, MOMENT + number * SECOND), follow_symlinks=False)
    os.utime(served / "d/one", ns=(0, -10 * SECOND))
    os.utime(served / "d/two", ns=(0, 5_000_000_000 * SECOND))
    os.utime(served, ns=(0, MOMENT))
    return served


def dry(served: Served, dest: Path, **options: Any) -> list[Step]:
    selection = select(served.manifest, [b"."])
    return list(dry_run_steps(bytes(dest), served.manifest, selection, remembers=True, **options))


def run(served: Served, dest: Path, **options: bool) -> tuple[int, list[str]]:
    """Bytes fetched, and the notes. Nothing fails."""
    notes: list[str] = []
    fetched = run_download(
        served, dest, remembers=True, on_end=lambda download: notes.extend(download.notes), **options
    )
    return fetched, notes


def listing(dest: Path) -> list[tuple[Path, int, int, int]]:
    return [
        (path, each.st_size, each.st_mtime_ns, each.st_ctime_ns)
        for path in sorted(dest.rglob("*"))
        for each in [path.lstat()]
    ]


@pytest.mark.root
def test_what_a_file_system_cannot_keep_is_noted_and_the_next_run_has_nothing_to_do(
    limited: tuple[str, Path], tmp_path: Path, read: list[bytes]
) -> None:
    kind, top = limited
    served, dest = Served(tree(tmp_path)), top / "dest"
    said = dry(served, dest)
    fetched, notes = run(served, dest, delete=True)
    assert fetched == sum(step.size for step in said) > 0
    assert sum("modification times were not preserved exactly" in note for note in notes) == 1
    for path in ("vmlinuz", "hard", "z", "large", "tool", "d/one", "d/two", "d/e/three"):
        assert (dest / path).read_bytes() == (served.directory / path).read_bytes()
    if kind == "exfat":
        assert len(notes) == len({note.split(" were not ")[0] for note in notes})
        text = "\n".join(notes)
        for what in (
            "symbolic links were not",
            "FIFOs were not",
            "devices were not",
            "hard links were created as copies",
        ):
            assert what in text
        assert "some owners were not" in text and "some permissions were not" in text
        assert "extended attributes (user) were not" in text
    assert ".xget" not in os.listdir(dest)
    before = listing(dest)
    read.clear()
    (dest / "surplus").write_bytes(b"x")
    assert [(step.action, step.path) for step in dry(served, dest, delete=True) if step.path != b"."] == [
        ("remove", b"surplus")
    ]
    assert run(served, dest, delete=True) == (0, notes)
    assert dry(served, dest, delete=True) == []
    assert run(served, dest, delete=True) == (0, notes)
    assert listing(dest) == before
    assert read == []


@pytest.mark.root
def test_a_file_system_that_was_mounted_again_is_compared_by_content_once(
    limited: tuple[str, Path], tmp_path: Path, read: list[bytes]
) -> None:
    kind, top = limited
    served, dest = Served(tree(tmp_path)), top / "dest"
    run(served, dest)
    remount(kind, tmp_path)
    assert run(served, dest)[0] == 0
    read.clear()
    assert run(served, dest)[0] == 0
    assert read == []
    assert dry(served, dest) == []


@pytest.mark.root
def test_a_change_within_the_second_that_a_file_system_stores_is_noticed(
    limited: tuple[str, Path], tmp_path: Path
) -> None:
    """A window in which times count as equal would take the old content for the new one."""
    _, top = limited
    source, dest = tree(tmp_path), top / "dest"
    run(Served(source), dest)
    for name in ("d/e/three", "vmlinuz"):
        path = source / name
        modified = path.stat().st_mtime_ns
        path.write_bytes(b"!" * path.stat().st_size)
        os.utime(path, ns=(0, modified + 1000))
    newer = Served(source)
    assert {step.path for step in dry(newer, dest) if step.action == "fetch"} == {b"d/e/three", b"hard"}
    assert run(newer, dest)[0] > 0
    for name in ("d/e/three", "vmlinuz", "hard"):
        assert (dest / name).read_bytes() == (source / name).read_bytes()


def test_a_time_beyond_2262_is_noted_and_the_next_run_has_nothing_to_do(tmp_path: Path, read: list[bytes]) -> None:
    (tmp_path / "served").mkdir()
    for number in range(100):
        (tmp_path / "served" / str(number)).write_bytes(b"content")
    os.utime(tmp_path / "served" / "7", (0, 10_413_792_000))  # the year 2300
    served, dest = Served(tmp_path / "served"), tmp_path / "dest"
    _, notes = run(served, dest)
    assert notes == ["some modification times were not preserved exactly (the file system rounds or limits them)"]
    assert run(served, dest)[0] == 0
    assert dry(served, dest) == [] and read == []


def one_file(base: Path, content: bytes) -> Served:
    (base / "served").mkdir(exist_ok=True)
    (base / "served" / "image").write_bytes(content)
    os.utime(base / "served" / "image", ns=(0, SECOND))
    os.utime(base / "served", ns=(0, SECOND))
    return Served(base / "served")


def test_an_image_that_was_rebuilt_with_the_same_size_and_time_is_fetched(tmp_path: Path, read: list[bytes]) -> None:
    dest = tmp_path / "dest"
    run(one_file(tmp_path, b"old" * 50_000), dest)
    newer = one_file(tmp_path, b"new" * 50_000)
    assert [(step.action, step.path) for step in dry(newer, dest)] == [("fetch", b"image")]
    assert run(newer, dest)[0] == 150_000
    assert (dest / "image").read_bytes() == b"new" * 50_000
    read.clear()
    assert run(newer, dest)[0] == 0
    assert read == []


def test_a_file_that_was_brought_up_to_date_by_other_means_is_read_and_stays(tmp_path: Path, read: list[bytes]) -> None:
    dest = tmp_path / "dest"
    run(one_file(tmp_path, b"old"), dest)
    newer = one_file(tmp_path, b"new")
    (dest / "image").write_bytes(b"new")
    os.utime(dest / "image", ns=(0, SECOND))
    assert run(newer, dest)[0] == 0
    assert read == [b"image"]


def test_a_doubted_file_is_read_whatever_its_size_and_time_say(tmp_path: Path, read: list[bytes]) -> None:
    dest = tmp_path / "dest"
    served = one_file(tmp_path, b"right")
    run(served, dest)
    (dest / "image").write_bytes(b"wrong")
    os.utime(dest / "image", ns=(0, SECOND))
    assert run(served, dest)[0] == 0
    with Root(bytes(dest)) as root:
        doubt(root, select(served.manifest, [b"."]), [0])
    assert run(served, dest)[0] == 5
    assert (dest / "image").read_bytes() == b"right"


def record_of(dest: Path) -> bytes:
    with Root(bytes(dest)) as root:
        return record_path(root)


@pytest.mark.parametrize("spoilt", [b"", b"short", bytes(1000), None])
def test_a_record_that_cannot_be_used_is_as_none(tmp_path: Path, spoilt: bytes | None) -> None:
    dest = tmp_path / "dest"
    served = one_file(tmp_path, b"right")
    run(served, dest)
    path = record_of(dest)
    encoded = Path(os.fsdecode(path)).read_bytes()
    Path(os.fsdecode(path)).write_bytes(encoded[:-1] + b"?" if spoilt is None else spoilt)
    assert run(served, dest)[0] == 0


@pytest.mark.root
def test_a_record_of_another_user_is_not_used(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    served = one_file(tmp_path, b"right")
    run(served, dest)
    path = record_of(dest)
    os.chown(path, NOBODY, NOBODY)
    selection = select(served.manifest, [b"."])
    with Root(bytes(dest)) as root:
        assert not load_run(root, selection, destination(root, served.manifest).metadata).is_current


@pytest.mark.root
@pytest.mark.parametrize("spoil", ["chown", "set-id", "capability"])
def test_a_file_that_is_to_get_powers_or_another_owner_is_made_anew(
    tmp_path: Path, spoil: str, read: list[bytes]
) -> None:
    """Who has it open may write on it after it was verified."""
    source, dest = tmp_path / "served", tmp_path / "dest"
    source.mkdir()
    (source / "tool").write_bytes(b"right")
    os.chown(source / "tool", 8, 8)
    (source / "tool").chmod(0o4755 if spoil == "set-id" else 0o755)
    if spoil == "capability":
        os.setxattr(source / "tool", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.utime(source / "tool", ns=(0, SECOND))
    served = Served(source)
    dest.mkdir()
    (dest / "tool").write_bytes(b"wrong")
    os.chown(dest / "tool", *((NOBODY, NOBODY) if spoil == "chown" else (8, 8)))
    (dest / "tool").chmod(0o755)
    os.utime(dest / "tool", ns=(0, SECOND))
    with open(dest / "tool", "r+b") as held:
        assert run(served, dest)[0] == 5
        held.write(b"wrong")
    assert (dest / "tool").read_bytes() == b"right"
    with open(dest / "tool", "r+b") as held:
        os.chown(dest / "tool", NOBODY, NOBODY)
        os.utime(dest / "tool", ns=(0, SECOND))
        assert run(served, dest)[0] == 0, "the right content is there"
        held.write(b"wrong")
    assert (dest / "tool").read_bytes() == b"right"
    assert read == []


@pytest.mark.root
def test_a_program_that_does_not_get_its_set_id_bit_here_is_not_read_for_it(tmp_path: Path, read: list[bytes]) -> None:
    dest = tmp_path / "dest"
    served = one_file(tmp_path, b"right")
    os.chown(tmp_path / "served" / "image", 8, 8)
    (tmp_path / "served" / "image").chmod(0o4755)
    served = Served(tmp_path / "served")
    for _ in range(2):
        run(served, dest, owners=False)
    assert (dest / "image").stat().st_mode & 0o7777 == 0o755
    assert read == []


@pytest.mark.root
def test_the_time_of_a_file_that_belongs_to_somebody_else_proves_nothing(tmp_path: Path, read: list[bytes]) -> None:
    dest = tmp_path / "dest"
    served = one_file(tmp_path, b"right")
    run(served, dest, owners=False)
    (dest / "image").write_bytes(b"wrong")
    os.utime(dest / "image", ns=(0, SECOND))
    os.chown(dest / "image", NOBODY, NOBODY)
    assert run(served, dest, owners=False)[0] == 5
    assert (dest / "image").read_bytes() == b"right"

"""Snapshots: everything that can be served is in it, the rest is said, and a file that changes is noticed."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from xget_lib.content.beneath import Root
from xget_lib.content.manifest import DIGEST_SIZE, Manifest
from xget_lib.content.snapshot import Scan, assemble, hash_pieces, scan
from xget_lib.content.stamp import stamp_of
from xget_lib.errors import PathRefused, StaleGeneration, XGetError


def look(path: Path, **options: bool) -> Scan:
    return scan(os.fsencode(path), **options)


def digests(found: Scan, first: int = 0, end: int | None = None) -> bytes:
    with Root(found.base) as root:
        return hash_pieces(root, found, found.layout, first, found.layout.piece_count if end is None else end)


def kinds(found: Scan) -> dict[bytes, str]:
    return {entry.path: entry.kind for entry in found.entries}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with everything that a manifest can carry."""
    top = tmp_path / "tree"
    (top / "a" / "deep" / "er").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o711)
    (top / "a" / "large").write_bytes(os.urandom(300_000))
    (top / "a" / "none").write_bytes(b"")
    (top / "a.txt").write_bytes(b"small")
    (top / ".hidden").write_bytes(b"hidden")
    os.chmod(top / ".hidden", 0o4750)
    os.utime(top / ".hidden", ns=(0, 1_234_567_890_123_456_789))
    (top / "a" / "link").symlink_to("../../outside")
    (top / "dangling").symlink_to("/nowhere")
    os.link(top / "a" / "large", top / "a" / "also")
    os.link(top / "a" / "large", top / "z")
    Path(os.fsdecode(os.fsencode(top) + b"/not\xffutf-8\n")).write_bytes(b"odd")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (top / "to-outside").symlink_to(tmp_path / "outside")
    return top


def test_everything_is_there_in_the_order_of_components(tree: Path) -> None:
    assert list(kinds(look(tree)).items()) == [
        (b"", "d"),
        (b".hidden", "f"),
        (b"a", "d"),
        (b"a/also", "f"),
        (b"a/deep", "d"),
        (b"a/deep/er", "d"),
        (b"a/large", "h"),
        (b"a/link", "l"),
        (b"a/none", "f"),
        (b"a.txt", "f"),
        (b"dangling", "l"),
        (b"empty", "d"),
        (b"not\xffutf-8\n", "f"),
        (b"to-outside", "l"),
        (b"z", "h"),
    ]
    assert look(tree).skipped == ()


def test_metadata_is_that_of_the_files(tree: Path) -> None:
    found = look(tree)
    for entry in found.entries:
        status = os.lstat(os.fsencode(tree) + b"/" + entry.path)
        assert (entry.uid, entry.gid, entry.mtime_ns) == (status.st_uid, status.st_gid, status.st_mtime_ns)
        assert entry.mode == stat.S_IMODE(status.st_mode)
        assert entry.size == (status.st_size if entry.kind == "f" else 0)
    by_path = {entry.path: entry for entry in found.entries}
    assert by_path[b".hidden"].mode == 0o4750
    assert by_path[b".hidden"].mtime_ns == 1_234_567_890_123_456_789
    assert by_path[b"dangling"].target == b"/nowhere"
    assert by_path[b"z"].target == by_path[b"a/large"].target == b"a/also"


def test_the_same_directory_gives_the_same_manifest_and_the_digests_of_its_bytes(tree: Path) -> None:
    found = look(tree)
    manifest = assemble(found, digests(found))
    again = look(tree)
    assert assemble(again, digests(again)).encode() == manifest.encode()
    assert Manifest.decode(manifest.encode()) == manifest
    for number in range(manifest.layout.piece_count):
        piece = manifest.layout.piece(number)
        data = (Path(os.fsdecode(os.path.join(found.base, found.path_of(piece.file))))).read_bytes()
        assert manifest.digest(number) == blake3(data[piece.file_offset :][: piece.length]).digest()


def test_pieces_can_be_hashed_in_any_parts(tree: Path) -> None:
    found = look(tree)
    whole = digests(found)
    assert len(whole) == found.layout.piece_count * DIGEST_SIZE > 5 * DIGEST_SIZE
    for cut in range(found.layout.piece_count + 1):
        assert digests(found, 0, cut) + digests(found, cut) == whole
    with pytest.raises(ValueError, match="digests for"):
        assemble(found, whole[:-1])


def test_a_scan_comes_back_from_its_encoding(tree: Path) -> None:
    found = look(tree)
    again = Scan.decode(found.encode())
    assert again == found
    assert digests(again) == digests(found)


def test_each_stamp_is_that_of_its_file(tree: Path) -> None:
    found = look(tree)
    assert found.layout.file_count == 5
    for file in range(found.layout.file_count):
        status = os.lstat(os.path.join(found.base, found.path_of(file)))
        assert found.stamp(file) == stamp_of(status)


def test_owners_have_their_names(tree: Path) -> None:
    import grp
    import pwd

    found = look(tree)
    assert found.outline.users == {os.getuid(): pwd.getpwuid(os.getuid()).pw_name}
    assert found.outline.groups == {os.getgid(): grp.getgrgid(os.getgid()).gr_name}
    bare = look(tree, owner_names=False)
    assert (bare.outline.users, bare.outline.groups) == ({}, {})


def test_owners_without_a_name_or_with_one_that_cannot_be_carried_have_none(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("xget_lib.content.snapshot.pwd.getpwuid", unknown)
    monkeypatch.setattr(
        "xget_lib.content.snapshot.grp.getgrgid", lambda gid: type("Group", (), {"gr_name": "not\udcff utf-8"})
    )
    found = look(tree)
    assert (found.outline.users, found.outline.groups) == ({}, {})
    assert Manifest.decode(assemble(found, digests(found)).encode()).users == {}


def test_what_cannot_be_served_is_skipped_and_said(tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.getcwd()
        os.chdir(tree / "a")
        try:
            unix.bind("socket")
        finally:
            os.chdir(here)
        found = look(tree)
    assert found.skipped == ((b"a/socket", "a socket"), (b"fifo", "a FIFO"))
    assert not {b"a/socket", b"fifo"} & kinds(found).keys()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory that anyone may go to, while the test runs as somebody who is not root."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        was = os.geteuid()
        os.chmod(top, 0o755)
        try:
            if was == 0:
                os.chown(top, 65534, -1)
                os.seteuid(65534)
            yield top
        finally:
            os.seteuid(was)


def test_unreadable_files_and_directories_are_skipped_and_said(unprivileged: Path) -> None:
    (unprivileged / "closed").mkdir()
    (unprivileged / "closed" / "x").write_bytes(b"x")
    (unprivileged / "closed").chmod(0)
    (unprivileged / "open").write_bytes(b"x")
    (unprivileged / "unreadable").write_bytes(b"x")
    (unprivileged / "unreadable").chmod(0)
    found = look(unprivileged)
    assert found.skipped == ((b"closed", "Permission denied"), (b"unreadable", "Permission denied"))
    assert kinds(found) == {b"": "d", b"closed": "d", b"open": "f"}
    (unprivileged / "closed").chmod(0o700)


def test_an_unreadable_root_is_refused(unprivileged: Path) -> None:
    (unprivileged / "file").write_bytes(b"x")
    (unprivileged / "file").chmod(0)
    (unprivileged / "directory").mkdir(0)
    for name in ("file", "directory", "directory/x"):
        with pytest.raises(PathRefused, match="Permission denied"):
            look(unprivileged / name)


def test_a_root_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"x")
    for name, why in (("missing", "No such file"), ("fifo", "neither"), ("file/x", "Not a directory")):
        with pytest.raises(PathRefused, match=why):
            look(tmp_path / name)


def test_one_file_is_served_alone(tree: Path) -> None:
    found = look(tree / "a" / "large")
    assert kinds(found) == {b"large": "f"}
    manifest = assemble(found, digests(found))
    assert manifest.single_file
    assert Manifest.decode(manifest.encode()) == manifest
    assert Scan.decode(found.encode()) == found


def test_one_file_named_through_a_link_keeps_the_name_it_was_given(tree: Path) -> None:
    (tree / "a" / "deep" / "latest").symlink_to("../large")
    found = look(tree / "a" / "deep" / "latest")
    assert kinds(found) == {b"latest": "f"}
    assert (found.base, found.path_of(0)) == (os.fsencode(tree.resolve() / "a"), b"large")
    assert digests(found) == digests(look(tree / "a" / "large"))
    assert Scan.decode(found.encode()).path_of(0) == b"large"


def test_a_directory_named_through_a_link_or_relatively(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.parent / "link").symlink_to("tree")
    monkeypatch.chdir(tree)
    for root in (b".", b"../link", b"../link/", os.fsencode(tree) + b"/a/.."):
        found = scan(root)
        assert found.base == os.fsencode(tree.resolve())
        assert found.entries == look(tree).entries


@pytest.mark.skipif(
    not os.path.ismount("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat("/dev").st_dev,
    reason="needs a file system that is mounted below another",
)
def test_other_file_systems_are_entered_only_without_one_file_system() -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as beyond:
        name = os.fsencode(beyond.name)[len("/dev/") :]
        across = scan(b"/dev")
        within = scan(b"/dev", one_file_system=True)
    assert name in kinds(across)
    assert name not in kinds(within)
    assert kinds(within)[b"shm"] == "d"
    assert name not in dict(within.skipped)  # it was not even looked at


def test_paths_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    path = b""
    with Root(os.fsencode(tmp_path)) as root:
        for depth in range(30):
            path += b"/" * (depth > 0) + b"n" * 200
            root.mkdir(path)
        descriptor = root.open(path + b"/x", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"deep")
        os.close(descriptor)
        found = look(tmp_path)
        assert found.entries[-1].path == path + b"/x"
        assert digests(found) == blake3(b"deep").digest()
        root.unlink(path + b"/x")
        while path:
            root.rmdir(path)
            path = path.rpartition(b"/")[0]


def test_times_that_64_bits_of_nanoseconds_do_not_hold_are_carried_as_the_last(tmp_path: Path) -> None:
    (tmp_path / "later").write_bytes(b"x")
    os.utime(tmp_path / "later", ns=(0, 13_600_000_000 * 10**9))  # the year 2400; some file systems cut it themselves
    found = look(tmp_path)
    wanted = min((tmp_path / "later").stat().st_mtime_ns, (1 << 63) - 1)
    assert found.entries[1].mtime_ns == wanted
    assert Manifest.decode(assemble(found, digests(found)).encode()).entries[1].mtime_ns == wanted


def rewrite(path: Path) -> None:
    path.write_bytes(b"SMALL")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replace_by_other(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"SMALL")
    os.utime(other, ns=(status.st_mtime_ns, status.st_mtime_ns))
    other.rename(path)


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("a/large")


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: list[Callable[[Path], object]] = [
    rewrite,
    touch,
    Path.unlink,
    replace_by_other,
    replace_by_link,
    replace_by_fifo,
    replace_by_directory,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_the_scan_is_stale(tree: Path, change: Callable[[Path], object]) -> None:
    found = look(tree)
    digests(found)
    change(tree / "a.txt")
    with pytest.raises(StaleGeneration, match=r"a\.txt changed") as caught:
        digests(found)
    assert caught.value.path == b"a.txt"


def test_a_directory_that_became_a_link_is_stale_and_not_followed(tree: Path) -> None:
    found = look(tree)
    (tree / "a").rename(tree / "b")
    (tree / "a").symlink_to("b")
    with pytest.raises(StaleGeneration):
        digests(found)


def shrink(path: Path) -> None:
    os.truncate(path, 100_000)


@pytest.mark.parametrize("change", [rewrite, touch, shrink])
def test_a_file_that_changes_while_it_is_read_is_stale(
    tree: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    found = look(tree)
    read = os.preadv
    reads: list[int] = []

    def read_and_change(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        count = read(descriptor, buffers, offset)
        if os.fstat(descriptor).st_size >= 100_000:
            reads.append(offset)
            if len(reads) == 3:  # in the midst of the large file
                change(tree / "a" / "large")
        return count

    monkeypatch.setattr(os, "preadv", read_and_change)
    with pytest.raises(StaleGeneration) as caught:
        digests(found)
    assert caught.value.path == b"a/also"


def test_a_file_that_cannot_be_read_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(tree)

    def broken(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(XGetError, match=r"\.hidden: Input/output error"):
        digests(found)


def test_short_reads_are_continued(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(tree)
    whole = digests(found)
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda descriptor, buffers, offset: read(descriptor, [buffers[0][:1000]], offset))
    assert digests(found) == whole


def test_what_vanishes_while_it_is_scanned_is_not_there_and_not_said(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readlink = os.readlink

    def vanish(name: bytes, dir_fd: int) -> bytes:
        (tree / "dangling").unlink(missing_ok=True)
        return readlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", vanish)
    (tree / "a" / "link").unlink()
    (tree / "to-outside").unlink()
    found = look(tree)
    assert b"dangling" not in kinds(found)
    assert found.skipped == ()

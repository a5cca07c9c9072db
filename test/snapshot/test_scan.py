"""Scans: everything that can be served is there, the rest is omitted with the reason, and no link is followed."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from blake3 import blake3

from test.support.leases import leased
from test.support.snapshots import as_root, assembled, digests, kinds, scanned
from xget_lib.errors import PathRefused
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import STAMP_WORDS, stamp_of
from xget_lib.manifest.manifest import Omitted
from xget_lib.snapshot.scan import Scan, scan

SCAN = sys.modules[scan.__module__]
ACCESS_ACL = bytes.fromhex(
    "02000000 01000600ffffffff 02000400e8030000 04000400ffffffff 10000400ffffffff 20000400ffffffff"
)


def test_everything_is_there_level_by_level(tree: Path) -> None:
    assert list(kinds(scanned(tree)).items()) == [
        (b"", "d"),
        (b".hidden", "f"),
        (b"a", "d"),
        (b"a.txt", "f"),
        (b"dangling", "l"),
        (b"empty", "d"),
        (b"not\xffutf-8\n", "f"),
        (b"to-outside", "l"),
        (b"z", "f"),
        (b"a/also", "h"),
        (b"a/deep", "d"),
        (b"a/large", "h"),
        (b"a/link", "l"),
        (b"a/none", "f"),
        (b"a/deep/er", "d"),
    ]
    assert scanned(tree).outline.omitted == ()


def test_metadata_is_that_of_the_files(tree: Path) -> None:
    found = scanned(tree)
    for entry in found.entries:
        status = os.lstat(os.fsencode(tree) + b"/" + entry.path)
        assert (entry.uid, entry.gid, entry.mtime_ns) == (status.st_uid, status.st_gid, status.st_mtime_ns)
        assert entry.mode == stat.S_IMODE(status.st_mode)
        assert entry.size == (status.st_size if entry.kind == "f" else 0)
    by_path = {entry.path: entry for entry in found.entries}
    assert by_path[b".hidden"].mode == 0o4750
    assert by_path[b".hidden"].mtime_ns == 1_234_567_890_123_456_789
    assert by_path[b"dangling"].target == b"/nowhere"
    assert by_path[b"a/also"].target == by_path[b"a/large"].target == b"z"


def test_a_scan_comes_back_from_its_encoding(tree: Path) -> None:
    found = scanned(tree)
    again = Scan.decode(found.encode())
    assert again.encode() == found.encode()
    assert list(again.entries) == list(found.entries)
    assert (again.stamps, again.base) == (found.stamps, found.base)
    assert digests(again) == digests(found)


def test_each_stamp_is_that_of_its_file(tree: Path) -> None:
    found = scanned(tree)
    assert found.layout.file_count == 5
    for file in range(found.layout.file_count):
        status = os.lstat(os.path.join(found.base, found.path_of(file)))
        assert found.stamp(file) == stamp_of(status)


def test_owners_have_their_names(tree: Path) -> None:
    import grp
    import pwd

    found = scanned(tree)
    assert found.outline.users == {os.getuid(): pwd.getpwuid(os.getuid()).pw_name}
    assert found.outline.groups == {os.getgid(): grp.getgrgid(os.getgid()).gr_name}
    bare = scanned(tree, owner_names=False)
    assert (bare.outline.users, bare.outline.groups) == ({}, {})


def test_owners_without_a_name_or_with_one_that_is_not_printable_have_none(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("xget_lib.snapshot.scan.pwd.getpwuid", unknown)
    monkeypatch.setattr(
        "xget_lib.snapshot.scan.grp.getgrgid", lambda gid: type("Group", (), {"gr_name": "not\udcff utf-8"})
    )
    found = scanned(tree)
    assert (found.outline.users, found.outline.groups) == ({}, {})
    assert assembled(found).users == {}


def test_a_socket_is_omitted_with_the_reason(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.getcwd()
        os.chdir(tree / "a")
        try:
            unix.bind("socket")
        finally:
            os.chdir(here)
        found = scanned(tree)
    assert found.outline.omitted == (Omitted(b"a/socket", "a socket", expected=True),)
    assert b"a/socket" not in kinds(found)
    assert assembled(found).unreadable == []


def test_what_has_the_name_of_temporary_data_is_omitted_at_any_depth(tree: Path) -> None:
    """Not only a directory that looks like one of ours: while a download begins or ends, it may look like any."""
    (tree / ".xget" / "parts").mkdir(parents=True)
    (tree / "a" / ".xget").mkdir()
    (tree / "a" / "deep" / "er").mkdir(parents=True, exist_ok=True)
    (tree / "a" / "deep" / "er" / ".xget").write_bytes(b"a file")
    found = scanned(tree)
    assert found.outline.omitted == tuple(
        Omitted(path, "temporary data of XGet", expected=True) for path in (b".xget", b"a/.xget", b"a/deep/er/.xget")
    )
    assert not [path for path in kinds(found) if b".xget" in path]
    assert assembled(found).unreadable == []


def test_the_serial_of_a_signed_generation_leaves_no_trace(tree: Path) -> None:
    """So a copy that a client with --trust made has the generation of the original."""
    status = os.stat(tree)
    before = scanned(tree).outline.encode()
    (tree / ".xget").mkdir()
    (tree / ".xget" / "serial").write_bytes(b"")
    os.utime(tree, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scanned(tree).outline.encode() == before
    (tree / ".xget" / "lock").write_bytes(b"")
    assert [each.path for each in scanned(tree).outline.omitted] == [b".xget"]


def test_special_files_are_entries(tree: Path) -> None:
    os.mkfifo(tree / "fifo", 0o640)
    os.link(tree / "fifo", tree / "a" / "fifo")
    os.link(tree / "dangling", tree / "a" / "dangling", follow_symlinks=False)
    found = scanned(tree)
    assert kinds(found)[b"fifo"] == "p"
    by_path = {entry.path: entry for entry in assembled(found).entries}
    assert by_path[b"a/fifo"].target == b"fifo"
    assert by_path[b"a/dangling"].target == b"dangling"


@as_root
def test_devices_have_their_numbers(tree: Path) -> None:
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 1 << 18))
    by_path = {entry.path: entry for entry in assembled(scanned(tree)).entries}
    assert (by_path[b"null"].kind, by_path[b"null"].device) == ("c", (1, 3))
    assert (by_path[b"disk"].kind, by_path[b"disk"].device) == ("b", (259, 1 << 18))


def test_extended_attributes_are_there_of_links_not_followed(tree: Path) -> None:
    os.setxattr(tree / "a.txt", "user.b", b"two")
    os.setxattr(tree / "a.txt", "user.a", b"")
    os.setxattr(tree / "empty", "user.\udcff", b"\0")
    (tree / "a" / "to-text").symlink_to("../a.txt")
    by_path = {entry.path: entry.metadata.xattrs for entry in assembled(scanned(tree)).entries}
    assert by_path[b"a.txt"] == ((b"user.a", b""), (b"user.b", b"two"))
    assert by_path[b"empty"] == ((b"user.\xff", b"\0"),)
    assert by_path[b"a/to-text"] == ()


@as_root
def test_capabilities_lists_and_trusted_attributes_are_there(tree: Path) -> None:
    attributes = {
        "security.capability": bytes.fromhex("0100000200040000000000000000000000000000"),
        "system.posix_acl_access": ACCESS_ACL,
        "trusted.x": b"y",
    }
    for name, value in attributes.items():
        os.setxattr(tree / "a.txt", name, value)
    os.setxattr(tree / "a" / "link", "trusted.x", b"link", follow_symlinks=False)
    by_path = {entry.path: entry.metadata.xattrs for entry in assembled(scanned(tree)).entries}
    assert by_path[b"a.txt"] == tuple((name.encode(), value) for name, value in attributes.items())
    assert by_path[b"a/link"] == ((b"trusted.x", b"link"),)


def test_holes_are_known(tree: Path) -> None:
    with open(tree / "sparse", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 30)
        file.write(b"data")
    with open(tree / "hole", "wb") as file:
        file.truncate(1 << 20)
    found = scanned(tree)
    manifest = assembled(found)
    names = {manifest.path_of(file): extents for file, extents in manifest.entries.extents.items()}
    assert list(names[b"hole"]) == []
    assert list(names[b"sparse"]) == [1 << 30, 4096]
    assert manifest.layout.size == 4096 + 300_000 + sum(map(len, (b"hidden", b"small", b"odd")))


def listing_with(path: Path, size: int, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make lstat say this of one file, as /proc/kcore does of itself. There, everything is data."""
    real = os.lstat
    inode = real(path).st_ino

    def lstat(name: bytes) -> os.stat_result:
        status = real(name)
        if status.st_ino != inode:
            return status
        facts = {key: getattr(status, key) for key in dir(status) if key.startswith("st_")}
        return SimpleNamespace(**{**facts, "st_size": size, "st_blocks": blocks})  # type: ignore[return-value]

    monkeypatch.setattr(os, "lstat", lstat)
    monkeypatch.setattr("xget_lib.snapshot.holes.data_ranges", lambda descriptor, size: iter([(0, size)]))


KCORE = 128 << 40


def test_a_file_with_a_size_that_cannot_be_true_is_left_out_with_words(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing_with(tree / "a.txt", KCORE, 0, monkeypatch)
    found = scanned(tree)
    why = f"its size of {KCORE} bytes cannot be true (it occupies 0 bytes)"
    assert found.outline.omitted == (Omitted(b"a.txt", why),)
    assert found.layout.size < 1 << 20


@pytest.mark.parametrize(("size", "blocks"), [(1 << 40, 0), (KCORE, KCORE >> 19)])
def test_a_large_file_is_served_where_the_file_system_compresses_or_does_not_say_what_it_occupies(
    tree: Path, size: int, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing_with(tree / "a.txt", size, blocks, monkeypatch)
    assert scanned(tree).outline.omitted == ()


def test_the_cache_key_of_a_file_with_holes_says_where_it_has_data(tree: Path) -> None:
    with open(tree / "sparse", "wb") as file:
        file.truncate(1 << 20)
    found = scanned(tree)
    (sparse,) = found.entries.extents
    assert found.cache_keys[sparse * STAMP_WORDS] != found.stamps[sparse * STAMP_WORDS]
    extents = dict(found.entries.extents)
    extents[sparse] = [0, 4096]
    outline = replace(found.outline, entries=replace(found.entries, extents=extents))
    other = replace(found, outline=outline)
    differ = [
        word for word, pair in enumerate(zip(found.cache_keys, other.cache_keys, strict=True)) if pair[0] != pair[1]
    ]
    assert differ == [sparse * STAMP_WORDS]


def test_an_unreadable_root_is_refused(unprivileged: Path) -> None:
    (unprivileged / "file").write_bytes(b"x")
    (unprivileged / "file").chmod(0)
    (unprivileged / "directory").mkdir(0)
    for name in ("file", "directory", "directory/x"):
        with pytest.raises(PathRefused, match="Permission denied"):
            scanned(unprivileged / name)


def test_a_root_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"x")
    for name, why in (("missing", "No such file"), ("fifo", "neither"), ("file/x", "Not a directory")):
        with pytest.raises(PathRefused, match=why):
            scanned(tmp_path / name)


def test_one_file_is_served_alone(tree: Path) -> None:
    found = scanned(tree / "a" / "large")
    assert kinds(found) == {b"large": "f"}
    assert assembled(found).single_file
    assert Scan.decode(found.encode()).encode() == found.encode()


def test_one_file_named_through_a_link_keeps_the_name_it_was_given(tree: Path) -> None:
    (tree / "a" / "deep" / "latest").symlink_to("../large")
    found = scanned(tree / "a" / "deep" / "latest")
    assert kinds(found) == {b"latest": "f"}
    assert (found.base, found.path_of(0)) == (os.fsencode(tree.resolve() / "a"), b"large")
    assert digests(found) == digests(scanned(tree / "a" / "large"))
    assert Scan.decode(found.encode()).path_of(0) == b"large"


def test_a_directory_named_through_a_link_or_relatively(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.parent / "link").symlink_to("tree")
    monkeypatch.chdir(tree)
    for root in (b".", b"../link", b"../link/", os.fsencode(tree) + b"/a/.."):
        found = scan(root)
        assert found.base == os.fsencode(tree.resolve())
        assert list(found.entries) == list(scanned(tree).entries)


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
    assert Omitted(b"shm", "on another file system", expected=True) in within.outline.omitted
    assert name not in [each.path for each in within.outline.omitted]  # it was not even looked at


def test_paths_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    path = b""
    with Root(os.fsencode(tmp_path)) as root:
        for depth in range(30):
            path += b"/" * (depth > 0) + b"n" * 200
            root.mkdir(path)
        descriptor = root.open(path + b"/x", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"deep")
        os.close(descriptor)
        found = scanned(tmp_path)
        assert found.entries[len(found.entries) - 1].path == path + b"/x"
        assert digests(found) == blake3(b"deep").digest()
        root.unlink(path + b"/x")
        while path:
            root.rmdir(path)
            path = path.rpartition(b"/")[0]


def test_a_time_beyond_64_bits_of_nanoseconds_becomes_the_last_one(tmp_path: Path) -> None:
    (tmp_path / "later").write_bytes(b"x")
    os.utime(tmp_path / "later", ns=(0, 13_600_000_000 * 10**9))  # the year 2400; some file systems cut it themselves
    found = scanned(tmp_path)
    wanted = min((tmp_path / "later").stat().st_mtime_ns, (1 << 63) - 1)
    assert found.entries[1].mtime_ns == wanted
    assert assembled(found).entries[1].mtime_ns == wanted


def test_a_name_removed_during_the_scan_is_neither_an_entry_nor_omitted(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readlink = os.readlink

    def vanish(name: bytes, dir_fd: int) -> bytes:
        (tree / "dangling").unlink(missing_ok=True)
        return readlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", vanish)
    (tree / "a" / "link").unlink()
    (tree / "to-outside").unlink()
    found = scanned(tree)
    assert b"dangling" not in kinds(found)
    assert found.outline.omitted == ()


@pytest.mark.parametrize("name", [b"a.txt", b"a/none"])
def test_a_name_that_is_listed_and_never_found_is_omitted(
    tree: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    lstat = os.lstat

    def not_found(path: bytes) -> os.stat_result:
        if os.path.basename(path) == os.path.basename(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return lstat(path)

    monkeypatch.setattr(os, "lstat", not_found)
    found = scanned(tree)
    assert name not in kinds(found)
    assert found.outline.omitted == (Omitted(name, "listed, but not found"),)


def test_a_directory_that_is_never_found_is_omitted_and_one_that_was_removed_is_not(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "removed").mkdir()
    opened = Root.opened

    def lose(root: Root, path: bytes, flags: int) -> Any:
        if path in (b"a", b"removed"):
            if (tree / "removed").exists():
                (tree / "removed").rmdir()
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return opened(root, path, flags)

    monkeypatch.setattr(Root, "opened", lose)
    assert scanned(tree).outline.omitted == (Omitted(b"a", os.strerror(errno.ENOENT)),)


def test_a_process_without_descriptors_does_not_blame_the_names(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Root.opened

    def exhausted(root: Root, path: bytes, flags: int) -> Any:
        if path == b"a/deep":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return opened(root, path, flags)

    monkeypatch.setattr(Root, "opened", exhausted)
    with pytest.raises(PathRefused, match=r"a/deep: Too many open files \(raise ulimit -n\)"):
        scanned(tree)


def test_a_file_with_holes_and_a_lease_costs_a_moment(tmp_path: Path) -> None:
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(1 << 20)
    with leased(tmp_path / "holes", gives_up=True):
        found = scanned(tmp_path)
    assert (found.outline.omitted, sum(found.entries.extents[0][1::2])) == ((), 0)


def left_out(root: Path) -> dict[bytes, str]:
    """Path -> why, of everything that a scan leaves out. What it serves is a valid manifest."""
    return {each.path: each.why for each in assembled(scanned(root)).omitted}


def test_a_file_with_more_attributes_than_a_manifest_has_costs_itself(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SCAN, "XATTRS_LIMIT", 2)
    for path in (tree / "z", tree / "a", tree / "b"):
        path.touch()
        for number in range(2 + (path.name != "b")):
            os.setxattr(path, f"user.{number}", b"")
    why = "more than 2 extended attributes"
    assert left_out(tree) == {b"a": why, b"z": why}


def test_a_name_that_is_listed_twice_is_one_entry(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = scanned(tree)
    usual = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: usual(path) * 2)
    assert left_out(tree) == {}
    assert kinds(scanned(tree)) == kinds(once)


def test_an_attribute_that_is_listed_twice_is_there_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.setxattr(tree / "z", "user.a", b"1")
    usual = os.listxattr
    monkeypatch.setattr(os, "listxattr", lambda *args, **options: usual(*args, **options) * 2)
    assert left_out(tree) == {}


@pytest.mark.parametrize("target", ["", "x" * 4096])
def test_a_link_whose_target_no_file_system_takes_costs_itself(
    tree: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    usual = os.readlink
    name = b"dangling"
    monkeypatch.setattr(
        os, "readlink", lambda path, **options: target.encode() if path == name else usual(path, **options)
    )
    assert left_out(tree) == {name: "a link that leads nowhere, or too far"}


def test_files_that_are_too_large_together_cost_the_one_that_is_too_much(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(entry.size for entry in scanned(tree).entries if entry.kind == "f")
    monkeypatch.setattr(SCAN, "SIZE_LIMIT", size)
    assert left_out(tree) == dict.fromkeys((b"a/also", b"a/large", b"z"), "with this file, the content is too large")


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("ENTRIES_LIMIT", 9, "more than 9 files and directories"),
        ("METADATA_LIMIT", 1, "more than 1 different sets of permissions, owner and extended attributes"),
    ],
)
def test_a_directory_with_more_than_a_manifest_has_is_refused(
    tree: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, why: str
) -> None:
    monkeypatch.setattr(SCAN, limit, value)
    with pytest.raises(PathRefused, match=why):
        scanned(tree)

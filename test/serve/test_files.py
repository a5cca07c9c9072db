"""The served directory as it is on disk: what is shown, its stats, and that nothing leads out of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from test.support.backends import bytes_of
from test.support.descriptors import open_descriptors
from xget_lib.errors import NinepError, XGetError
from xget_lib.fs.rooted import Root
from xget_lib.ninep.dialect import NINEP2000_L, decode, encode
from xget_lib.ninep.file import File
from xget_lib.ninep.limits import MAX_OPEN, Limits
from xget_lib.ninep.linux import (
    Rlerror,
    Rreadlink,
    Rxattrwalk,
    Tlopen,
    Treaddir,
    Treadlink,
    Txattrwalk,
)
from xget_lib.ninep.messages import (
    ORCLOSE,
    ORDWR,
    OREAD,
    OTRUNC,
    OWRITE,
    Message,
    Rclunk,
    Rread,
    Tattach,
    Tclunk,
    TMessage,
    Tread,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.session import Session
from xget_lib.ninep.stat import DMDEVICE, DMDIR, DMNAMEDPIPE, DMSETGID, DMSETUID, DMSETVTX, DMSYMLINK, PLAIN_STAT
from xget_lib.ninep.wire import NOFID, NOTAG, QTDIR, QTFILE, QTSYMLINK
from xget_lib.serve import files
from xget_lib.serve.files import Files


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Something to serve, with a neighbour that is not for strangers."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    served = tmp_path / "served"
    (served / "deep" / "er").mkdir(parents=True)
    (served / "hello").write_bytes(b"hello, 9P\n")
    (served / ".hidden").write_bytes(b"")
    (served / "deep" / "er" / "leaf").write_bytes(b"leaf")
    return served


def tree(directory: Path, shown: Callable[[bytes], bool] = lambda path: True) -> File:
    return Files(Root(bytes(directory)), shown, {os.getuid(): "somebody"}, {}).tree()


def find(directory: Path, path: str) -> File:
    file = tree(directory)
    for name in path.split("/"):
        file = file.walk(name)
    return file


def names(file: File) -> list[str]:
    """What is in a directory, read in both ways."""
    handle = file.open(OREAD)
    try:
        found = sorted(child.name for child in handle.children())
        assert found == sorted({entry.name for entry in handle.entries(0)} - {".", ".."})
        return found
    finally:
        handle.clunk()


def test_files_and_directories_are_shown(directory: Path) -> None:
    assert names(tree(directory)) == [".hidden", "deep", "hello"]
    assert names(find(directory, "deep")) == ["er"]


def test_a_file_is_read_by_offset(directory: Path) -> None:
    handle = find(directory, "hello").open(OREAD)
    assert [bytes_of(handle.read(offset, 6)) for offset in (0, 6, 10, 2**64 - 1)] == [b"hello,", b" 9P\n", b"", b""]
    handle.clunk()


def test_a_stat_has_what_is_on_disk(directory: Path) -> None:
    os.chmod(directory / "hello", 0o640)
    os.utime(directory / "hello", (1_600_000_000, 1_577_934_245))
    found = find(directory, "hello").stat()
    assert (found.name, found.mode, found.length) == ("hello", 0o640, 10)
    assert (found.atime, found.mtime) == (1_600_000_000, 1_577_934_245)
    assert (found.uid, found.gid, found.muid) == ("somebody", str(os.getgid()), "somebody")
    top = tree(directory).stat()
    assert (top.name, top.mode & DMDIR, top.length) == ("/", DMDIR, 0)


def test_qids_are_stable_unique_and_change_with_the_file(directory: Path) -> None:
    paths = ["hello", ".hidden", "deep", "deep/er", "deep/er/leaf"]
    before = [find(directory, path).qid for path in paths]
    assert before == [find(directory, path).qid for path in paths]
    assert [qid.type for qid in before] == [QTFILE, QTFILE, QTDIR, QTDIR, QTFILE]
    assert len({qid.path for qid in before}) == len(paths)
    assert all(qid.version for qid in before)
    (directory / "hello").write_bytes(b"hello, world\n")
    assert find(directory, "hello").qid.version != before[0].version
    assert find(directory, "hello").qid.path == before[0].path


@pytest.mark.parametrize("second", [-5_000_000_000, -1, 0, 2**32, 2**33])
def test_any_time_can_be_sent(directory: Path, second: int) -> None:
    os.utime(directory / "hello", (second, second))
    file = find(directory, "hello")
    assert file.stat().pack(PLAIN_STAT)
    assert file.qid.version


def test_links_and_special_files_are_shown_as_such(directory: Path) -> None:
    (directory / "link").symlink_to("nowhere/\udcff")
    os.mkfifo(directory / "fifo")
    assert names(tree(directory)) == [".hidden", "deep", "fifo", "hello", "link"]
    link, fifo = find(directory, "link"), find(directory, "fifo")
    assert link.readlink() == link.stat().extension == "nowhere/\udcff"
    assert (link.qid.type, link.stat().mode) == (QTSYMLINK, DMSYMLINK | 0o777)
    assert stat.S_ISLNK(link.attributes().st_mode)
    assert fifo.stat().mode & DMNAMEDPIPE
    assert stat.S_ISFIFO(fifo.attributes().st_mode)
    for file, number in ((link, errno.ELOOP), (fifo, errno.ENXIO)):
        with pytest.raises(NinepError) as caught:
            file.open(OREAD)
        assert caught.value.errno == number
    with pytest.raises(OSError, match="Invalid argument"):
        find(directory, "hello").readlink()


def test_devices_have_their_numbers() -> None:
    null = find(Path("/dev"), "null")
    assert (null.stat().mode, null.stat().extension) == (DMDEVICE | 0o666, "c 1 3")
    assert null.attributes().st_rdev == os.makedev(1, 3)


def test_set_id_bits_and_numbers_of_owners_are_sent(directory: Path) -> None:
    os.chmod(directory / "hello", 0o6755)
    os.chmod(directory / "deep", 0o1777)
    hello = find(directory, "hello").stat()
    assert hello.mode == DMSETUID | DMSETGID | 0o755
    assert (hello.n_uid, hello.n_gid) == (os.getuid(), os.getgid())
    assert find(directory, "deep").stat().mode == DMDIR | DMSETVTX | 0o777


def test_attributes_are_those_of_the_disk(directory: Path) -> None:
    os.utime(directory / "hello", ns=(1_600_000_000_000_000_001, 1_577_934_245_999_999_999))
    found, there = find(directory, "hello").attributes(), os.stat(directory / "hello")
    assert (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns) == (
        there.st_atime_ns,
        1577934245999999999,
        there.st_ctime_ns,
    )
    assert (found.st_mode, found.st_size, found.st_nlink, found.st_blocks) == (there.st_mode, 10, 1, there.st_blocks)
    assert find(directory, "hello").file_system().bsize


def test_extended_attributes_are_read(directory: Path) -> None:
    try:
        os.setxattr(directory / "hello", b"user.note", b"\0\xff")
    except OSError as error:
        pytest.skip(f"no extended attributes in {directory}: {error.strerror}")
    hello = find(directory, "hello")
    assert hello.xattr("user.note") == b"\0\xff"
    assert b"user.note\0" in hello.xattr("")
    with pytest.raises(OSError, match="No data"):
        hello.xattr("user.nothing")


def test_a_listing_goes_on_from_any_cookie(directory: Path) -> None:
    (directory / "many").mkdir()
    for number in range(2000):
        (directory / "many" / f"{number:04}{'n' * 100}").touch()
    handle = find(directory, "many").open(OREAD)
    entries = list(handle.entries(0))
    assert len({entry.name for entry in entries}) == 2002
    for at in (1500, 3, 0, 1999, 700):
        assert list(islice(handle.entries(entries[at].cookie), 2)) == entries[at + 1 : at + 3]
    assert list(handle.entries(entries[-1].cookie)) == []
    with pytest.raises(OSError, match="Invalid argument"):
        next(handle.entries(2**64 - 1))
    handle.clunk()


def test_nothing_is_above_the_root(directory: Path) -> None:
    root = tree(directory)
    handle = root.open(OREAD)
    assert [entry.qid.path for entry in handle.entries(0) if entry.name in (".", "..")] == [root.qid.path] * 2
    handle.clunk()


def test_names_are_bytes(directory: Path) -> None:
    Path(os.fsdecode(bytes(directory) + b"/\xff")).write_bytes(b"odd")
    assert names(tree(directory)) == [".hidden", "deep", "hello", "\udcff"]
    handle = find(directory, "\udcff").open(OREAD)
    assert bytes_of(handle.read(0, 10)) == b"odd"
    handle.clunk()


@pytest.mark.parametrize("path", ["nothing", "hello/deeper", "deep/nothing"])
def test_a_name_that_does_not_exist_cannot_be_walked_to(directory: Path, path: str) -> None:
    with pytest.raises((NinepError, FileNotFoundError, NotADirectoryError)):
        find(directory, path)


@pytest.mark.parametrize("path", ["out", "out/secret", "in/link/leaf", "..", "../outside/secret", "/", "a//b"])
def test_nothing_leads_out_of_the_directory(directory: Path, path: str) -> None:
    """A session never asks for most of these; the tree must not depend on that."""
    (directory / "out").symlink_to("../outside")
    (directory / "in").mkdir()
    (directory / "in" / "link").symlink_to("../deep/er")
    shared = Files(Root(bytes(directory)), lambda path: True, {}, {})
    with pytest.raises((XGetError, OSError)):
        shared.look_up(path.encode()).open(OREAD)
    with pytest.raises((XGetError, OSError)):
        shared.open(path.encode())


def test_a_directory_that_becomes_a_link_is_not_followed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_FRESH", 0.0)
    deep = find(directory, "deep")
    (directory / "deep").rename(directory / "moved")
    (directory / "deep").symlink_to("../outside")
    with pytest.raises((NinepError, OSError)):
        deep.walk("secret")
    with pytest.raises((NinepError, OSError)):
        deep.open(OREAD)


@pytest.mark.parametrize("replace", [lambda path: path.symlink_to("../outside/secret"), Path.mkdir, os.mkfifo])
def test_a_file_that_becomes_something_else_cannot_be_opened(
    directory: Path, replace: Callable[[Path], object]
) -> None:
    hello = find(directory, "hello")
    (directory / "hello").unlink()
    replace(directory / "hello")
    with pytest.raises((NinepError, OSError)):
        hello.open(OREAD)


def test_a_path_that_is_not_shown_does_not_exist(directory: Path) -> None:
    shown = tree(directory, lambda path: path in (b"", b"deep", b"deep/er"))
    assert names(shown) == ["deep"]
    assert names(shown.walk("deep").walk("er")) == []
    for way in (("hello",), ("deep", "er", "leaf")):
        file = shown
        with pytest.raises(NinepError):
            for name in way:
                file = file.walk(name)


@pytest.mark.parametrize("mode", [OWRITE, ORDWR, OREAD | OTRUNC, OREAD | ORCLOSE])
def test_nothing_can_be_written(directory: Path, mode: int) -> None:
    for path in ("hello", "deep"):
        with pytest.raises(NinepError) as caught:
            find(directory, path).open(mode)
        assert caught.value.errno == errno.EROFS
    assert (directory / "hello").read_bytes() == b"hello, 9P\n"


def test_a_reply_on_its_way_outlives_its_fid(directory: Path) -> None:
    """A Tversion clunks every fid while a reply waits for room; its descriptor's number must not become another's."""
    handle = find(directory, "hello").open(OREAD)
    content = handle.read(0, 5)
    handle.clunk()
    with open(directory / "deep" / "er" / "leaf", "rb"):
        assert bytes_of(content) == b"hello"


def test_a_clunk_closes_the_descriptor(directory: Path) -> None:
    hello = find(directory, "hello")
    before = open_descriptors()
    handle = hello.open(OREAD)
    content = handle.read(0, 5)
    assert len(open_descriptors()) == len(before) + 1
    del content
    handle.clunk()
    assert open_descriptors() == before


def test_a_file_that_grows_is_read_to_its_new_end(directory: Path) -> None:
    handle = find(directory, "hello").open(OREAD)
    with open(directory / "hello", "ab") as file:
        file.write(b"more")
    assert bytes_of(handle.read(8, 100)) == b"P\nmore"
    handle.clunk()


def speaking_linux(directory: Path, max_open: int = MAX_OPEN) -> tuple[Session, Callable[[TMessage], Message]]:
    """A session in 9P2000.L, in which fid 0 is the root, and what a request is answered there."""
    shared = Files(Root(bytes(directory)), lambda path: True, {}, {})
    session = Session(lambda dialect, uname, aname: shared.tree(), limits=Limits(max_open=max_open))

    def ask(message: TMessage) -> Message:
        session.receive(encode(NOTAG if isinstance(message, Tversion) else 1, message, session.dialect))
        reply = session.next_reply()
        assert reply is not None
        return decode(reply.header, session.dialect)[1]

    ask(Tversion(8192, NINEP2000_L))
    ask(Tattach(0, NOFID, "root", ""))
    return session, ask


def test_linux_reads_links_and_attributes_through_a_session(directory: Path) -> None:
    """In 9P2000.L: a link's target, the names of all attributes, the value of one, and nothing more of that fid."""
    (directory / "link").symlink_to("nowhere")
    try:
        os.setxattr(directory / "hello", b"user.note", b"value")
    except OSError as error:
        pytest.skip(f"no extended attributes in {directory}: {error.strerror}")
    session, ask = speaking_linux(directory)
    ask(Twalk(0, 1, ("link",)))
    ask(Twalk(0, 2, ("hello",)))
    assert ask(Treadlink(1)) == Rreadlink("nowhere")
    assert ask(Treadlink(2)) == Rlerror(errno.EINVAL)
    assert ask(Tlopen(1, 0)) == Rlerror(errno.ELOOP)
    names_of_all = ask(Txattrwalk(2, 3, ""))
    assert isinstance(names_of_all, Rxattrwalk)
    listed = ask(Tread(3, 0, 1000))
    assert (
        isinstance(listed, Rread) and b"user.note" in listed.data.split(b"\0") and len(listed.data) == names_of_all.size
    )
    assert ask(Txattrwalk(2, 4, "user.note")) == Rxattrwalk(5)
    assert ask(Tread(4, 1, 1000)) == Rread(b"alue")
    assert ask(Twrite(4, 0, b"other")) == Rlerror(errno.EBADF)
    assert ask(Treaddir(4, 0, 1000)) == Rlerror(errno.ENOTDIR)
    assert ask(Txattrwalk(2, 5, "user.nothing")) == Rlerror(errno.ENODATA)
    assert ask(Txattrwalk(2, 4, "user.note")) == Rlerror(errno.EBADF)
    assert ask(Tclunk(4)) == Rclunk()
    session.close()


def test_an_attribute_that_may_not_be_opened_leaves_no_fid(directory: Path) -> None:
    try:
        os.setxattr(directory / "hello", b"user.note", b"value")
    except OSError as error:
        pytest.skip(f"no extended attributes in {directory}: {error.strerror}")
    session, ask = speaking_linux(directory, max_open=1)
    ask(Twalk(0, 1, ("hello",)))
    assert ask(Txattrwalk(1, 2, "user.note")) == Rxattrwalk(5)
    assert ask(Txattrwalk(1, 3, "user.note")) == ask(Txattrwalk(1, 1, "user.note")) == Rlerror(errno.EMFILE)
    assert session.fid_count == 3
    assert ask(Tclunk(2)) == Rclunk()
    assert ask(Txattrwalk(1, 3, "user.note")) == Rxattrwalk(5)
    session.close()

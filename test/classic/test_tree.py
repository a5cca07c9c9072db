"""The namespace of C clients: what it shows of a generation, what its files answer and ask of the backend."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.backends import RecordingClassicBackend, bytes_of, served
from test.support.descriptors import open_descriptors
from test.support.downloads import manifest_of
from xget_lib.classic import tree as module
from xget_lib.classic.files import SMALL, AvailLine
from xget_lib.classic.tree import tree
from xget_lib.errors import NinepError, NotHeld, StaleGeneration
from xget_lib.ninep.file import WAITING, Content, File, Handle
from xget_lib.ninep.messages import ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE
from xget_lib.ninep.stat import DMDIR
from xget_lib.ninep.wire import QTDIR, QTFILE
from xget_lib.serve.served import Served
from xget_lib.serve.store import Store
from xget_lib.snapshot.scan import scan
from xget_lib.swarm.messages import LINE_LIMIT

IMAGE = bytes(at * 7 % 251 for at in range(300_000))
CONTROL = ["data", "redir", "avail", "checksum"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    top = tmp_path / "served"
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "image").write_bytes(IMAGE)
    (top / "zero").write_bytes(b"")
    (top / ".hidden").write_bytes(b"hidden")
    (top / "sub" / "file2").write_bytes(b"two")
    os.link(top / "sub" / "file2", top / "twin")
    (top / "link").symlink_to("image")
    os.mkfifo(top / "fifo")
    (top / os.fsdecode(b"no text \xff")).write_bytes(b"")
    os.chmod(top / "image", 0o640)
    os.utime(top / "image", ns=(1, 1_577_934_245_000_000_000))
    return top


@pytest.fixture
def backend(directory: Path) -> RecordingClassicBackend:
    return RecordingClassicBackend(stamped(directory))


def stamped(directory: Path) -> Served:
    """A generation as a master serves it: with the stamps of its scan."""
    here = served(directory, manifest_of(directory))
    store = Store(here.store._root, here.store.manifest, here.store.held, stamps=scan(bytes(directory)).stamps)
    return Served(here.manifest, store)


def find(backend: RecordingClassicBackend, path: str) -> File:
    file = tree(backend)
    for name in path.split("/"):
        file = file.walk(name)
    return file


def opened(backend: RecordingClassicBackend, path: str, mode: int = OREAD) -> Handle:
    return find(backend, path).open(mode)


def read(handle: Handle, offset: int, count: int) -> object:
    """What is read, or WAITING. What is small is there at once, though the connection counts it as content."""
    data = handle.read(offset, count)
    if isinstance(data, Content):
        assert isinstance(data.source, bytes) and len(data.source) == data.length
        return data.source
    return data


def names(file: File) -> list[str]:
    return [stat.name for stat in file.open(OREAD).children()]


def refused(backend: RecordingClassicBackend, path: str) -> int:
    with pytest.raises(NinepError) as caught:
        find(backend, path)
    return caught.value.errno


# What is shown.


def test_directories_are_directories_and_so_are_files(backend: RecordingClassicBackend) -> None:
    assert names(tree(backend)) == ["log", ".hidden", "image", "sub", "twin", "zero"]
    assert names(find(backend, "sub")) == ["empty", "file2"]
    assert names(find(backend, "sub/empty")) == []
    for path in ("image", "zero", ".hidden", "twin", "sub/file2"):
        assert names(find(backend, path)) == CONTROL


@pytest.mark.parametrize(
    "path",
    ["\udcff", "data", "sub/data", "nothing", "link", "fifo", "image/image", "image/data/data", "sub/log", "image/log"],
)
def test_a_path_that_does_not_exist_is_not_found(backend: RecordingClassicBackend, path: str) -> None:
    assert refused(backend, path) in (errno.ENOENT, errno.ENOTDIR)


def test_stats_are_those_of_the_file(backend: RecordingClassicBackend) -> None:
    stat = find(backend, "image/data").stat()
    assert (stat.name, stat.mode, stat.length, stat.mtime) == ("data", 0o640, len(IMAGE), 1_577_934_245)
    manifest = backend.served.store.manifest if backend.served else None
    assert manifest and stat.uid == manifest.users.get(os.getuid(), str(os.getuid()))
    assert [find(backend, f"image/{name}").stat().mode for name in CONTROL[1:]] == [0o444, 0o666, 0o444]
    assert find(backend, "image").stat().mode == DMDIR | 0o555
    assert find(backend, "sub").stat().mode == DMDIR | 0o755
    assert find(backend, "log").stat().mode == 0o222
    assert tree(backend).stat().mode & DMDIR
    assert find(backend, "twin/data").stat().length == 3


def test_qids_are_unique_and_stay_when_the_generation_changes(
    backend: RecordingClassicBackend, directory: Path
) -> None:
    paths = [
        "log",
        "sub",
        "sub/empty",
        *(f"{file}/{name}" for file in ("image", "zero", "twin", "sub/file2") for name in CONTROL),
        *("image", "zero", "twin", "sub/file2"),
    ]
    before = {path: find(backend, path).qid for path in paths}
    assert len({qid.path for qid in before.values()} | {tree(backend).qid.path}) == len(paths) + 1
    assert [before[path].type for path in ("image", "sub", "image/data")] == [QTDIR, QTDIR, QTFILE]
    (directory / "a new one").write_bytes(b"")
    (directory / "image").write_bytes(IMAGE[1:])
    backend.served = stamped(directory)
    after = {path: find(backend, path).qid for path in paths}
    assert {path: qid.path for path, qid in after.items()} == {path: qid.path for path, qid in before.items()}
    assert [path for path in paths if after[path].version != before[path].version] == ["image/data"]
    assert before["image/data"].version and after["image/data"].version


def test_a_file_that_goes_while_its_directory_is_read_is_left_out(
    backend: RecordingClassicBackend, directory: Path
) -> None:
    entries = iter(tree(backend).open(OREAD).children())
    listed = [next(entries).name, next(entries).name]
    (directory / "sub" / "file2").unlink()
    (directory / "image").unlink()
    backend.served = stamped(directory)
    assert listed + [stat.name for stat in entries] == ["log", ".hidden", "sub", "twin", "zero"]


def test_a_served_file_is_alone_in_the_root(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"alone")
    found = scan(bytes(tmp_path / "image"))
    here = served(Path(os.fsdecode(found.base)), manifest_of(tmp_path / "image"))
    backend = RecordingClassicBackend(here)
    assert names(tree(backend)) == ["log", "image"]
    assert read(opened(backend, "image/data"), 0, 100) == b"alone"
    assert tree(backend).stat().mode == DMDIR | 0o555


def test_a_file_called_data_is_not_shown_so_that_its_directory_stays_a_directory(tmp_path: Path) -> None:
    """A client distinguishes files from directories by what is called `data` in them."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "data").mkdir(parents=True)
    (tmp_path / "a" / "data").write_bytes(b"")
    (tmp_path / "a" / "redir").write_bytes(b"a file like any other")
    (tmp_path / "data").write_bytes(b"")
    (tmp_path / "log").write_bytes(b"")
    backend = RecordingClassicBackend(served(tmp_path, manifest_of(tmp_path)))
    assert names(tree(backend)) == ["log", "a", "b"]
    assert names(find(backend, "a")) == ["redir"] and names(find(backend, "b")) == []
    assert backend.said == [("hidden", path) for path in (b"data", b"log", b"a/data", b"b/data")]
    assert {refused(backend, path) for path in ("data", "a/data", "b/data")} == {errno.ENOENT}
    assert opened(backend, "log").read(0, 10) == b"3"
    assert read(opened(backend, "a/redir/data"), 0, 100) == b"a file like any other"


def test_a_server_of_a_part_shows_that_part(directory: Path) -> None:
    manifest = manifest_of(directory)
    here = served(directory, manifest)
    shown = bytes(entry.path in (b"", b"sub", b"sub/file2") for entry in manifest.entries)
    backend = RecordingClassicBackend(Served(here.manifest, here.store, shown))
    assert names(tree(backend)) == ["log", "sub"]
    assert names(find(backend, "sub")) == ["file2"]
    assert refused(backend, "image") == refused(backend, "sub/empty") == errno.ENOENT


def test_before_the_snapshot_there_is_no_tree() -> None:
    with pytest.raises(NinepError) as caught:
        tree(RecordingClassicBackend())
    assert caught.value.errno == errno.EAGAIN


@pytest.mark.parametrize("path", ["image/data", "image/redir", "image/checksum", "image", "sub"])
def test_a_read_only_file_cannot_be_opened_for_writing(backend: RecordingClassicBackend, path: str) -> None:
    for mode in (OWRITE, ORDWR, OREAD | OTRUNC, OREAD | ORCLOSE):
        with pytest.raises(NinepError) as caught:
            opened(backend, path, mode)
        assert caught.value.errno == errno.EROFS


# data


def test_data_is_the_file_by_offset(backend: RecordingClassicBackend) -> None:
    data = opened(backend, "image/data")
    for offset, count in ((0, 1), (5, 32768), (299_990, 100), (300_000, 1), (2**64 - 1, 2**32 - 1)):
        assert read(data, offset, count) == IMAGE[offset : offset + count]
    large = data.read(1, SMALL + 1)
    assert isinstance(large, Content) and large.length == SMALL + 1
    assert bytes_of(large) == IMAGE[1 : SMALL + 2]
    assert read(opened(backend, "zero/data"), 0, 10) == b""
    assert read(opened(backend, "twin/data"), 0, 10) == b"two"


def test_a_file_is_open_once_and_closed_with_its_fid(backend: RecordingClassicBackend) -> None:
    opened(backend, "image/data").read(0, 1)  # so that directories which are kept open are
    before = open_descriptors()
    data = opened(backend, "image/data")
    for offset in range(0, 10_000, 1000):
        data.read(offset, 1000)
    assert len(open_descriptors()) == len(before) + 1
    data.clunk()
    assert open_descriptors() == before


@pytest.mark.parametrize("how", ["written", "replaced", "removed", "shortened"])
def test_a_file_that_changes_while_it_is_open_is_an_error(
    backend: RecordingClassicBackend, directory: Path, how: str
) -> None:
    stale: list[bytes] = []
    assert backend.served
    backend.served.store.on_stale = stale.append
    data, large = opened(backend, "image/data"), opened(backend, "image/data").read(0, SMALL + 1)
    data.read(0, 10)
    if how == "written":
        (directory / "image").write_bytes(IMAGE[::-1])
    elif how == "replaced":
        (directory / "new").write_bytes(IMAGE)
        os.rename(directory / "new", directory / "image")
    elif how == "removed":
        os.unlink(directory / "image")
    else:
        os.truncate(directory / "image", 5)
    for _ in range(2):
        with pytest.raises(StaleGeneration):
            data.read(0, 10)
    with pytest.raises(StaleGeneration):
        bytes_of(large)
    assert set(stale) == {b"image"}
    # Others that share a chunk with it are what they were.
    assert read(opened(backend, "sub/file2/data"), 0, 10) == b"two"


def test_an_open_file_keeps_to_its_content_and_a_new_one_has_the_new(
    backend: RecordingClassicBackend, directory: Path
) -> None:
    data, same = opened(backend, "image/data"), opened(backend, "sub/file2/data")
    data.read(0, 10)
    (directory / "image").write_bytes(IMAGE[::-1])
    backend.served = stamped(directory)
    with pytest.raises(StaleGeneration):
        data.read(10, 10)
    assert read(opened(backend, "image/data"), 0, 10) == IMAGE[::-1][:10]
    assert read(same, 0, 10) == b"two"


def test_a_file_that_is_the_same_is_read_from_the_newest_generation(directory: Path) -> None:
    """There a node may hold what it did not hold of the one before."""
    manifest = manifest_of(directory)
    backend = RecordingClassicBackend(served(directory, manifest, full=False))
    assert backend.served
    backend.served.store.more_may_come = True
    data = opened(backend, "image/data")
    assert data.read(0, 10) is WAITING
    backend.served = served(directory, manifest)
    assert read(data, 0, 10) == IMAGE[:10]


def test_a_range_that_is_to_come_is_waited_for_and_one_that_is_not_is_an_error(directory: Path) -> None:
    backend = RecordingClassicBackend(served(directory, manifest_of(directory), full=False))
    assert backend.served
    store = backend.served.store
    store.more_may_come = True
    data = opened(backend, "image/data")
    assert [read(data, 0, 10), read(data, 299_990, 100)] == [WAITING, WAITING]
    assert data.read(300_000, 10) == b""
    file = store.manifest.entries.file_number(store.manifest.entries.find(b"image") or 0)
    first, *_, last = store.layout.file_chunks(file)
    store.hold(first)
    assert [read(data, 0, 10), read(data, 299_990, 100)] == [IMAGE[:10], WAITING]
    store.more_may_come = False
    with pytest.raises(NotHeld):
        data.read(299_990, 100)
    store.hold(last)
    assert read(data, 299_990, 100) == IMAGE[299_990:]


def test_a_server_that_ends_answers_reads_with_an_error(backend: RecordingClassicBackend) -> None:
    data = opened(backend, "image/data")
    data.read(0, 10)
    backend.namespace.ending = True
    with pytest.raises(NinepError, match="shutting down"):
        data.read(10, 10)


def test_the_backend_is_called_when_data_is_opened_and_clunked(backend: RecordingClassicBackend) -> None:
    data = opened(backend, "sub/file2/data")
    data.read(0, 10)
    assert backend.said == [("opened", b"sub/file2")]
    data.clunk()
    assert backend.said[1:] == [("closed", b"sub/file2")]


# redir, checksum


@pytest.mark.parametrize(("name", "asked"), [("redir", "redirect"), ("checksum", "checksum")])
def test_a_text_is_requested_once_and_waited_for(backend: RecordingClassicBackend, name: str, asked: str) -> None:
    handle = opened(backend, f"image/{name}")
    assert backend.said == []
    assert handle.read(0, 128) is WAITING
    assert handle.read(0, 128) is WAITING
    assert [said for said in backend.said if said[0] == asked] == [(asked, b"image")]  # type: ignore[index]
    backend.answers[0].put(b"127.0.0.1!43067")
    assert [handle.read(0, 128), handle.read(15, 113), handle.read(3, 4)] == [b"127.0.0.1!43067", b"", b".0.0"]
    handle.clunk()


def test_a_checksum_that_cannot_be_is_an_error(backend: RecordingClassicBackend) -> None:
    handle = opened(backend, "image/checksum")
    assert handle.read(0, 128) is WAITING
    backend.answers[0].fail(StaleGeneration(b"image"))
    with pytest.raises(StaleGeneration):
        handle.read(0, 128)


def test_a_client_that_reads_a_checksum_has_the_file(backend: RecordingClassicBackend) -> None:
    handle = opened(backend, "image/checksum")
    handle.read(0, 128)
    handle.read(0, 128)
    assert backend.said == [("complete", b"image"), ("checksum", b"image")]


def test_a_checksum_is_waited_for_until_all_of_the_file_is_there(directory: Path) -> None:
    backend = RecordingClassicBackend(served(directory, manifest_of(directory), full=False))
    assert backend.served
    backend.served.store.more_may_come = True
    handle = opened(backend, "image/checksum")
    assert handle.read(0, 128) is WAITING
    assert backend.answers == []
    for chunk in range(backend.served.store.layout.chunk_count):
        backend.served.store.hold(chunk)
    assert handle.read(0, 128) is WAITING
    backend.answers[0].put(b"1")
    assert handle.read(0, 128) == b"1"


def test_a_checksum_of_a_file_that_will_not_be_held_is_an_error(directory: Path) -> None:
    backend = RecordingClassicBackend(served(directory, manifest_of(directory), full=False))
    with pytest.raises(NotHeld):
        opened(backend, "image/checksum").read(0, 128)


# avail


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"43067 me\0", AvailLine(43067, None)),
        (b"48103 127.0.0.1!43067\0", AvailLine(48103, ("127.0.0.1", 43067))),
        (b"1024 fe80::1%eth0!1\0", AvailLine(1024, ("fe80::1%eth0", 1))),
    ],
)
def test_a_client_is_available_until_the_fid_is_clunked(
    backend: RecordingClassicBackend, written: bytes, said: AvailLine
) -> None:
    avail = opened(backend, "image/avail", OWRITE)
    assert avail.write(0, written) == len(written)
    assert backend.said == [(b"image", said)]
    avail.clunk()
    assert backend.said[1:] == ["unavailable"]


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"\0",
        b"me\0",
        b"43067\0",
        b"43067 me",
        b"43067 me\n",
        b"43067 me\0\0",
        b"43067  me\0",
        b" 43067 me\0",
        b"0 me\0",
        b"1023 me\0",
        b"00020 me\0",
        b"65536 me\0",
        b"-1 me\0",
        b"43067 you\0",
        b"43067 127.0.0.1\0",
        b"43067 127.0.0.1!0\0",
        b"43067 127.0.0.1!65536\0",
        b"43067 127.0.0.1!1 \0",
        b"43067 !1\0",
        b"43067 a\nb!1\0",
        "\N{ARABIC-INDIC DIGIT ONE} me\0".encode(),
        b"43067 " + b"1" * 81 + b"!1\0",
    ],
)
def test_a_malformed_line_makes_no_client_available(backend: RecordingClassicBackend, written: bytes) -> None:
    avail = opened(backend, "image/avail", OWRITE)
    with pytest.raises(NinepError) as caught:
        avail.write(0, written)
    assert caught.value.errno == errno.EINVAL
    avail.clunk()
    assert backend.said == []


@given(st.binary(max_size=60) | st.from_regex(rb"[0-9]{1,6} [^\0]{0,30}\0", fullmatch=True))
def test_any_bytes_are_understood_or_refused(written: bytes) -> None:
    try:
        said = AvailLine.decode(written)
    except NinepError:
        return
    source = "me" if said.source is None else f"{said.source[0]}!{said.source[1]}"
    assert f"{said.port} {source}\0".encode() == written


def test_avail_cannot_be_read(backend: RecordingClassicBackend) -> None:
    with pytest.raises(NinepError):
        opened(backend, "image/avail", ORDWR).read(0, 10)


# log


@pytest.mark.parametrize("mode", [OREAD, ORDWR])
def test_the_log_contains_the_debug_level_and_then_nothing(backend: RecordingClassicBackend, mode: int) -> None:
    log = opened(backend, "log", mode)
    assert [log.read(0, 32), log.read(1, 31)] == [b"3", b""]


def test_a_line_for_the_log_cannot_break_the_log(backend: RecordingClassicBackend) -> None:
    log = opened(backend, "log", ORDWR)
    assert log.write(0, b"listen on 43067\n") == 16
    log.write(0, b"one\n2026-01-01 forged\0")
    log.write(0, b"x" * 5000)
    assert backend.said == ["listen on 43067", "one\\n2026-01-01 forged", "x" * LINE_LIMIT]


def test_the_names_are_those_of_the_contract(backend: RecordingClassicBackend) -> None:
    assert all(f"    {name} " in (module.__doc__ or "") for name in [*names(find(backend, "image")), "log"])

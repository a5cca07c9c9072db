"""python-9p, whose messages are read and written by the C code of plan9port: 9P2000."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import py9p
import pytest

from test.clients.shown import Entry, plain
from test.support.cluster import Master
from test.support.processes import PATIENCE
from xget_lib.ninep.stat import DMDIR

LARGEST = 1 << 20
_FIDS = count(1)


@pytest.fixture(params=[4096, LARGEST])
def client(request: pytest.FixtureRequest, master: Master) -> Iterator[py9p.Client]:
    """Attached to `files` as fid 0, with small messages and with large ones."""
    with py9p.Client.connect_tcp("127.0.0.1", master.port, timeout=PATIENCE, msize=request.param) as client:
        assert client.negotiate().version == "9P2000"
        client.attach(0, uname="glenda", aname="files")
        yield client


def opened(client: py9p.Client, path: str) -> int:
    fid = next(_FIDS)
    client.walk(0, fid, path)
    client.open(fid)
    return fid


def everything(client: py9p.Client, path: str) -> bytes:
    """What is in a file, or the entries of a directory, read until nothing comes."""
    fid = opened(client, path)
    content = b""
    while data := client.read(fid, offset=len(content)):
        content += data
    client.clunk(fid)
    return content


def entries(client: py9p.Client, path: str) -> list[py9p.Dir]:
    data = everything(client, path)
    found = []
    while data:
        size = 2 + int.from_bytes(data[:2], "little")
        found.append(py9p.Dir.from_bytes(data[:size]))
        data = data[size:]
    return found


def seen(client: py9p.Client, path: str = "") -> dict[str, Entry]:
    """A directory and everything below it."""
    fid = next(_FIDS)
    client.walk(0, fid, path)
    stat = client.stat(fid)
    client.clunk(fid)
    directory = bool(stat.mode & DMDIR)
    content = None if directory else everything(client, path)
    found = {path: Entry(stat.mode, stat.mtime, stat.length, (stat.uid, stat.gid), content)}
    for entry in entries(client, path) if directory else ():
        found |= seen(client, f"{path}/{entry.name}".lstrip("/"))
    return found


def test_the_whole_tree_is_right(client: py9p.Client, source: Path) -> None:
    assert seen(client) == plain(source)


def test_entries_of_a_directory_are_what_stat_says(client: py9p.Client) -> None:
    for entry in entries(client, "odd"):
        fid = next(_FIDS)
        client.walk(0, fid, ("odd", entry.name))
        assert client.stat(fid) == entry


def test_reads_at_odd_offsets(client: py9p.Client, source: Path) -> None:
    content = (source / "large").read_bytes()
    fid = opened(client, "large")
    for offset, size in ((0, 1), (1, 4000), (4095, 2), (1 << 20, 3), (len(content) - 1, 10), (len(content), 10)):
        assert client.read(fid, size, offset) == content[offset : offset + size]
    assert client.read(fid, 1, 1 << 62) == b""


def test_many_threads_share_a_connection(client: py9p.Client, source: Path) -> None:
    content = (source / "large").read_bytes()
    fid = opened(client, "large")
    with ThreadPoolExecutor(8) as readers:
        offsets = range(0, len(content), 4001)
        pieces = readers.map(lambda offset: client.read(fid, 4001, offset), offsets)
    assert b"".join(pieces) == content


WRONG: dict[str, tuple[Callable[[py9p.Client], object], str]] = {
    "no such file": (lambda client: client.walk(0, 1000, "nothing"), "No such file or directory"),
    "walk from nowhere": (lambda client: client.walk(999, 1000, "odd"), "fid unknown"),
    "attach twice": (lambda client: client.attach(0, aname="files"), "fid already in use"),
    "no such tree": (lambda client: client.attach(1000, aname="nothing"), "unknown aname 'nothing'"),
    "read before open": (lambda client: client.read(0), "bad use of fid"),
    "seek in a directory": (lambda client: client.read(opened(client, "odd"), 1000, 7), "bad offset"),
    "open twice": (lambda client: client.open(opened(client, "large")), "already open"),
    "write": (lambda client: client.write(opened(client, "large"), b"x"), "bad use of fid"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said(client: py9p.Client, what: str) -> None:
    attempt, answer = WRONG[what]
    with pytest.raises(py9p.RemoteError, match=answer):
        attempt(client)
    # Only the request was wrong.
    assert everything(client, "odd/.hidden") == b"hidden\n"


WRITING: dict[str, Callable[[py9p.Client, int], object]] = {
    "open to write": lambda client, fid: client.open(fid, int(py9p.OWRITE)),
    "open to read and write": lambda client, fid: client.open(fid, int(py9p.ORDWR)),
    "truncate": lambda client, fid: client.open(fid, int(py9p.OREAD | py9p.OTRUNC)),
    "remove": lambda client, fid: client.remove(fid),
    "wstat": lambda client, fid: client.wstat(fid, client.stat(fid)),
    "create": lambda client, fid: client.create(0, "new", 0o644),
}


@pytest.mark.parametrize("what", WRITING)
def test_nothing_can_be_written(client: py9p.Client, what: str) -> None:
    client.walk(0, 1000, "odd/private")
    with pytest.raises(py9p.RemoteError, match="Read-only file system"):
        WRITING[what](client, 1000)
    assert everything(client, "odd/private") == b"private\n"

"""pyroute2's asynchronous client of 9P2000, with messages of 8 KiB.

It lacks three things that its own server does not need, and these tests bring them: it takes what one recv(2) gives for
a whole message, it can't open or stat, and it expects errors to be JSON; what is not JSON is in the exception, though.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from pyroute2.plan9 import Stat, msg_tclunk, msg_topen, msg_tstat, msg_twalk
from pyroute2.plan9.client import Plan9ClientSocket

from test.clients.shown import Entry, plain
from test.support.cluster import Master
from test.support.processes import PATIENCE
from xget_lib.ninep.stat import DMDIR

_ROOM = 8192 - 11  # what Rread has in front of its data


class Messages:
    """Bytes as they come in, whole messages on."""

    def __init__(self, take: Callable[[bytes, object], None]) -> None:
        self._take = take
        self._data = b""

    def __call__(self, data: bytes, address: object) -> None:
        self._data += data
        while (size := int.from_bytes(self._data[:4], "little")) and len(self._data) >= size:
            self._take(self._data[:size], address)
            self._data = self._data[size:]


class Client:
    def __init__(self, port: int) -> None:
        self._client = Plan9ClientSocket(address=("127.0.0.1", port))
        self._client.enqueue = Messages(self._client.enqueue)

    async def attach(self, aname: str) -> None:
        version = await self._client.version()
        assert (version["version"], version["msize"]) == ("9P2000", 8192)
        self._client.addr_pool.ban.clear()  # the tag of Tversion was never taken from there
        await self._client.attach(aname)

    async def walk(self, path: str) -> int:
        """A new fid. Raises FileNotFoundError where the walk ends on its way."""
        request = msg_twalk()
        request["fid"] = 0
        request["newfid"] = fid = self._client.fid_pool.alloc()
        request["wname"] = names = path.split("/") if path else []
        walked = await self._client.request(request)
        if len(walked["wqid"]) < len(names):
            raise FileNotFoundError(path)
        return int(fid)

    async def stat(self, path: str) -> Any:
        request = msg_tstat()
        request["fid"] = await self.walk(path)
        stat = (await self._client.request(request))["stat"]
        await self.clunk(request["fid"])
        return stat

    async def clunk(self, fid: int) -> None:
        request = msg_tclunk()
        request["fid"] = fid
        await self._client.request(request)

    async def open(self, path: str, mode: int = 0) -> int:
        request = msg_topen()
        request["fid"] = fid = await self.walk(path)
        request["mode"] = mode
        await self._client.request(request)
        return fid

    async def read(self, fid: int, offset: int, count: int = _ROOM) -> bytes:
        return bytes((await self._client.read(fid, offset, count))["data"])

    async def everything(self, path: str) -> bytes:
        fid = await self.open(path)
        content = b""
        while data := await self.read(fid, len(content)):
            content += data
        await self.clunk(fid)
        return content

    async def entries(self, path: str) -> list[Any]:
        data = await self.everything(path)
        found, at = [], 0
        while at < len(data):
            entry, at = Stat.decode_from(data, at)
            found.append(entry)
        return found

    async def seen(self, path: str = "") -> dict[str, Entry]:
        """A directory and everything below it."""
        stat = await self.stat(path)
        directory = bool(stat["mode"] & DMDIR)
        content = None if directory else await self.everything(path)
        owner = stat["uid"], stat["gid"]
        found = {path: Entry(stat["mode"], stat["mtime"], stat["length"], owner, content)}
        for entry in await self.entries(path) if directory else ():
            if entry["name"].isascii():
                found |= await self.seen(f"{path}/{entry['name']}".lstrip("/"))
        return found

    def close(self) -> None:
        self._client.close()


def attached(master: Master, use: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """Uses a client that is attached to `files`."""

    async def run() -> None:
        client = Client(master.port)
        try:
            await client.attach("files")
            await use(client)
        finally:
            client.close()

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_the_whole_tree_is_right(master: Master, source: Path) -> None:
    async def use(client: Client) -> None:
        expected = plain(source)
        # The client counts letters where the protocol counts bytes.
        assert await client.seen() == {path: entry for path, entry in expected.items() if path.isascii()}

    attached(master, use)


def test_reads_at_odd_offsets(master: Master, source: Path) -> None:
    content = (source / "large").read_bytes()

    async def use(client: Client) -> None:
        fid = await client.open("large")
        for offset, count in ((0, 1), (1, 8000), (4095, 2), (1 << 20, 3), (len(content) - 1, 10), (len(content), 10)):
            assert await client.read(fid, offset, count) == content[offset : offset + count]
        # The client asks for more than a message can hold, if nothing is said.
        assert await client.read(fid, 5, 8192) == content[5 : 5 + _ROOM]

    attached(master, use)


def test_many_requests_at_once(master: Master, source: Path) -> None:
    content = (source / "large").read_bytes()

    async def use(client: Client) -> None:
        fid = await client.open("large")
        pieces = await asyncio.gather(*(client.read(fid, at, 5000) for at in range(0, len(content), 5000)))
        assert b"".join(pieces) == content

    attached(master, use)


WRONG: dict[str, tuple[Callable[[Client], Coroutine[Any, Any, object]], str]] = {
    "no such file": (lambda client: client.open("nothing"), "No such file or directory"),
    "no such fid": (lambda client: client.read(12345, 0), "fid unknown"),
    "open to write": (lambda client: client.open("large", 1), "Read-only file system"),
    "open to read and write": (lambda client: client.open("large", 2), "Read-only file system"),
    "truncate": (lambda client: client.open("large", 16), "Read-only file system"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said(master: Master, what: str) -> None:
    attempt, answer = WRONG[what]

    async def use(client: Client) -> None:
        with pytest.raises(json.JSONDecodeError) as error:
            await attempt(client)
        assert error.value.doc.startswith(answer)
        # Only the request was wrong.
        assert await client.everything("odd/.hidden") == b"hidden\n"

    attached(master, use)

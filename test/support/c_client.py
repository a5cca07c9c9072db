"""A C `xget` client as far as servers and other clients can tell: what it says, and in which order.

It is written after recorded conversations (test/traces/c_xget), not after the program: it offers 9P2000.u with msize
32792, walks to `X/data` to tell files from directories, reads `redir`, opens `data` there and `avail` at the master,
reads 32 KiB at a time until a read gives nothing, compares `checksum`, and serves what it has on a port of its own from
the first byte on; a read of what it does not have yet waits.

    python -m test.support.c_client PORT PATH [--pause BYTES]

gets one file and says on stdout what happens, a line each: `serves PORT`, `from me`, `paused BYTES`,
`got BYTES CHECKSUM`, `failed WHY`. With --pause it stops after so many bytes until a line comes on stdin. When it is
done it serves on until stdin ends; then it clunks what it said and ends. `CClient` is the same for use within a test.
"""

from __future__ import annotations

import argparse
import errno
import select
import socket
import sys
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress

from test.support.directories import unpack_directory
from test.support.memory_tree import MemoryFile, MemoryHandle, MemoryTree
from test.support.processes import PATIENCE
from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.ninep import messages
from xget_lib.ninep.dialect import decode, encode
from xget_lib.ninep.file import WAITING, Waiting
from xget_lib.ninep.messages import Rerror, RMessage, TMessage
from xget_lib.ninep.session import Session
from xget_lib.ninep.stat import PLAIN_STAT, Stat
from xget_lib.ninep.wire import NOFID, NOTAG

MSIZE = 32792
STEP = 32768
_LOOK_EVERY = 0.005


class Connection:
    """The client's side of one connection: one request at a time, as the C library mostly does."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection((host, port), timeout=PATIENCE)
        self._fid = 0
        self.dialect = "9P2000"
        version = self.call(messages.Tversion(MSIZE, "9P2000.u"))
        assert isinstance(version, messages.Rversion) and version.msize == MSIZE
        self.dialect = version.version
        self.call(messages.Tattach(0, NOFID, "root", ""))

    def call(self, request: TMessage) -> RMessage:
        """The reply. Raises NinepError for Rerror, ConnectionError at the end."""
        tag = NOTAG if isinstance(request, messages.Tversion) else 0
        self.sock.sendall(encode(tag, request, self.dialect))
        size = self._take(4)
        _, reply = decode(size + self._take(int.from_bytes(size, "little") - 4), self.dialect)
        if isinstance(reply, Rerror):
            raise NinepError(errno.EIO, reply.ename)
        assert isinstance(reply, RMessage)
        return reply

    def walk(self, *names: str) -> int:
        """A new fid. Raises NinepError where the file is not found."""
        self._fid += 1
        walked = self.call(messages.Twalk(0, self._fid, names))
        assert isinstance(walked, messages.Rwalk)
        if len(walked.wqid) != len(names):
            raise NinepError(errno.ENOENT, "file not found")
        return self._fid

    def open(self, *names: str, mode: int = messages.OREAD) -> int:
        fid = self.walk(*names)
        self.call(messages.Topen(fid, mode))
        return fid

    def read(self, fid: int, offset: int, count: int = STEP) -> bytes:
        reply = self.call(messages.Tread(fid, offset, count))
        assert isinstance(reply, messages.Rread)
        return bytes(reply.data)

    def write(self, fid: int, text: bytes) -> None:
        self.call(messages.Twrite(fid, 0, text))

    def text(self, *names: str) -> str:
        """A small file: two reads, of which the second must give nothing."""
        fid = self.open(*names)
        text = self.read(fid, 0, 128)
        assert self.read(fid, len(text), 128 - len(text)) == b""
        self.call(messages.Tclunk(fid))
        return text.decode()

    def stat(self, *names: str) -> Stat:
        reply = self.call(messages.Tstat(self.walk(*names)))  # a fid that the C client never clunks
        assert isinstance(reply, messages.Rstat)
        return Stat.unpack(reply.stat, PLAIN_STAT)

    def names(self, *names: str) -> list[str]:
        """What is in a directory."""
        fid, listed = self.open(*names), b""
        while part := self.read(fid, len(listed)):
            listed += part
        return [entry.name for entry in unpack_directory(listed, PLAIN_STAT)]

    def close(self) -> None:
        self.sock.close()

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise ConnectionError("the server closed the connection")
            data += part
        return data


class CClient:
    """One client: a connection to the master, and a server of what it has."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.master = Connection(port, host)
        self.files: dict[tuple[str, ...], Growing] = {}
        self._avail: list[int] = []
        self._server = _Server(self)
        self.port = self._server.port
        log = self.master.open("log", mode=messages.ORDWR)
        assert self.master.read(log, 0, 32).isdigit()
        self.master.write(log, b"listen on %d\n" % self.port)

    def get(
        self,
        *names: str,
        told: Callable[[str], None] = lambda line: None,
        pause: int | None = None,
        wait: Callable[[], object] = lambda: None,
    ) -> bytes:
        """Gets a file, and serves it from then on. `told` hears what happens; after `pause` bytes `wait` is called.

        Raises NinepError, ConnectionError, and AssertionError where the checksum is not right.
        """
        length = self.master.stat(*names, "data").length
        source = self.master.text(*names, "redir")
        told(f"from {source}")
        growing = self.files[names] = Growing(length)
        server = self.master
        if source != "me":
            address, _, number = source.partition("!")
            try:
                server = Connection(int(number), address)
            except OSError:
                source = "me"
        data = server.open(*names, "data")
        avail = self.master.open(*names, "avail", mode=messages.OWRITE)
        self.master.write(avail, b"%d %s\0" % (self.port, source.encode()))
        self._avail.append(avail)
        while part := server.read(data, len(growing.content)):
            growing.content += part
            if pause is not None and len(growing.content) >= pause:
                told(f"paused {len(growing.content)}")
                wait()
                pause = None
        checksum = self.master.text(*names, "checksum")
        assert int(checksum) == zlib.adler32(growing.content), f"checksum {checksum} of {len(growing.content)} bytes"
        server.call(messages.Tclunk(data))
        if server is not self.master:
            server.close()
        told(f"got {len(growing.content)} {checksum}")
        return bytes(growing.content)

    def tree(self, *names: str) -> dict[str, bytes | None]:
        """Everything below a directory, by path; None for a directory. It has no more than the protocol to tell them
        apart: what has a `data` in it is a file."""
        found: dict[str, bytes | None] = {}
        for name in self.master.names(*names):
            if not names and name == "log":
                continue
            path = (*names, name)
            try:
                self.master.walk(*path, "data")
            except NinepError:
                found["/".join(path)] = None
                found |= self.tree(*path)
            else:
                found["/".join(path)] = self.get(*path)
        return found

    def stop(self) -> None:
        """Serve no more, and say so."""
        for avail in self._avail:
            self.master.call(messages.Tclunk(avail))
        self.close()

    def close(self) -> None:
        self._server.close()
        self.master.close()


class Growing:
    """A file of which the beginning is there."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.content = bytearray()


class _Data(MemoryFile):
    growing: Growing

    def open(self, mode: int) -> MemoryHandle:
        return _DataHandle(self)


class _DataHandle(MemoryHandle):
    def read(self, offset: int, count: int) -> bytes | Waiting:
        assert isinstance(self.file, _Data)
        growing = self.file.growing
        end = min(offset + count, growing.length)
        if len(growing.content) < end:
            return WAITING
        return bytes(growing.content[offset:end])


class _Server:
    """Serves the files of a client, in threads."""

    def __init__(self, client: CClient) -> None:
        self._client = client
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for sock in (self._listening, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                self._sockets.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        session = Session(lambda dialect, uname, aname: self._root())
        with suppress(OSError, ValueError, ProtocolViolation):
            while True:
                ready, _, _ = select.select([sock], [], [], _LOOK_EVERY)
                if ready:
                    said = sock.recv(1 << 16)
                    if not said:
                        return
                    session.receive(said)
                session.retry()
                while (reply := session.next_reply()) is not None:
                    sock.sendall(reply.header)

    def _root(self) -> MemoryFile:
        tree = MemoryTree()
        files = []
        for number, (names, growing) in enumerate(self._client.files.items()):
            assert len(names) == 1, "this model serves files at the top only"
            data = _Data(tree, 1000 + number, "data")
            object.__setattr__(data, "growing", growing)
            files.append(MemoryFile(tree, 100 + number, names[0], children=(data,)))
        return MemoryFile(tree, 1, "/", children=tuple(files))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--pause", type=int)
    arguments = parser.parse_args()
    client = CClient(arguments.port)

    def tell(line: str) -> None:
        print(line, flush=True)

    tell(f"serves {client.port}")
    try:
        client.get(*arguments.path.split("/"), told=tell, pause=arguments.pause, wait=sys.stdin.readline)
    except (NinepError, OSError, AssertionError) as error:
        tell(f"failed {type(error).__name__}: {error}")
        return 1
    while sys.stdin.readline():
        pass
    client.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

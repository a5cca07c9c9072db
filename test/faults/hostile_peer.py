"""A peer that lies: `python -m test.faults.hostile_peer LIE HOST PORT COPY [ADDRESS]`.

It registers with the master at HOST and PORT as a node that has everything, serves the tree `swarm` on a port of its
own, and does what the lie says. COPY is a copy of what is served, from which it takes the right content. ADDRESS is its
own, for a host with several. It prints "registered" when it has, and "connected" at its first connection, and goes on
until it is killed.

It knows 9P2000 and nothing of the rules of XGet's own servers: each connection has a thread, and blocking sockets.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from test.faults.lie import Answer, Lie
from test.faults.lies import LIES
from test.support.plain_client import PlainClient
from xget_lib.errors import NinepError, XGetError
from xget_lib.manifest.decoding import decode as decode_manifest
from xget_lib.ninep.dialect import NINEP2000, decode, encode
from xget_lib.ninep.messages import (
    Rattach,
    Rclunk,
    Rerror,
    Rflush,
    RMessage,
    Ropen,
    Rread,
    Rversion,
    Rwalk,
    Rwrite,
    Tattach,
    Tclunk,
    Tflush,
    TMessage,
    Topen,
    Tread,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.wire import Qid
from xget_lib.swarm.messages import Address, Registration

_FILES = ("manifest", "data", "have", "peers", "turn", "log", "status")
_QID = Qid(0, 0, 0)
_REGISTER_EVERY = 1.0


class Peer:
    """One hostile peer. `everything` is the bitmap of all chunks."""

    def __init__(self, lie: str, master: Address, copy: Path, address: str) -> None:
        self.master = master
        self._address = address
        with self._connect() as client:
            self.encoded = client.read_all("manifest")
        self.manifest = decode_manifest(self.encoded)
        self.generation = self.manifest.generation
        chunks = self.manifest.layout.chunk_count
        self.everything = ((1 << chunks) - 1).to_bytes((chunks + 7) // 8, "little")
        self.chunks = chunks
        self.nodes: list[Address] = []
        """Those that the master has named, in order."""
        self._changed = threading.Condition()
        self._content = b"".join(self._piece(copy, number) for number in range(self.manifest.layout.piece_count))
        self.lie = LIES[lie](self)
        self.listening = socket.create_server((address, 0), backlog=256)
        self.port: int = self.listening.getsockname()[1]

    def _connect(self) -> PlainClient:
        return PlainClient(self.master[1], "swarm", self.master[0], source=self._address)

    def _piece(self, copy: Path, number: int) -> bytes:
        layout = self.manifest.layout
        piece = layout.piece(number)
        with open(os.path.join(bytes(copy), self.manifest.path_of(piece.file)), "rb") as file:
            return b"".join(os.pread(file.fileno(), length, at) for at, length in layout.parts(piece))

    def content(self, offset: int, count: int) -> bytes:
        """The right bytes of the content stream."""
        return self._content[offset : offset + count]

    def new_nodes(self) -> Iterator[Address]:
        """Each node that the master names, as soon as it does."""
        named = 0
        while True:
            with self._changed:
                while len(self.nodes) <= named:
                    self._changed.wait()
            yield self.nodes[named]
            named += 1

    def run(self) -> None:
        for work in (self._accept, lambda: self._stay_with_master(self._read_news), self.lie.besides):
            threading.Thread(target=work, daemon=True).start()
        self._stay_with_master(self._register)

    def _stay_with_master(self, work: Callable[[PlainClient], None]) -> None:
        """Do something on a connection to the master, and connect again whenever that ends."""
        while True:
            with suppress(OSError, XGetError), self._connect() as client:
                work(client)
            time.sleep(_REGISTER_EVERY)

    def _register(self, client: PlainClient) -> None:
        peers = client.open("peers", mode=2)
        while True:
            for port in self.lie.ports(self.port):
                with suppress(NinepError):  # of a port that no node may have
                    client.write(peers, Registration(port, self.generation, self.chunks).encode())
                    print("registered", flush=True)
                time.sleep(_REGISTER_EVERY)

    def _read_news(self, client: PlainClient) -> None:
        peers = client.open("peers", mode=2)
        client.write(peers, Registration(self.port, self.generation, self.chunks).encode())
        client.sock.settimeout(None)
        while True:
            line = client.read(peers, 0)
            with self._changed, suppress(ValueError, KeyError):
                named = [(host, port) for host, port in json.loads(line)["peers"]]
                self.nodes += [address for address in named if address not in self.nodes]
                self._changed.notify_all()

    def _accept(self) -> None:
        connected = False
        while True:
            sock, _ = self.listening.accept()
            if not connected:
                print("connected", flush=True)
            connected = True
            threading.Thread(target=Conversation(self.lie, sock).run, daemon=True).start()


class Conversation:
    """One connection of a node to the hostile peer."""

    def __init__(self, lie: Lie, sock: socket.socket) -> None:
        self._lie = lie
        self._sock = sock
        self._files: dict[int, str] = {}
        self._reads: dict[str, int] = {}
        self._rest = b""

    def run(self) -> None:
        with self._sock, suppress(OSError, EOFError, XGetError):
            if self._lie.accepted(self._sock):
                while True:
                    size = self._take(4)
                    tag, message = decode(size + self._take(int.from_bytes(size, "little") - 4), NINEP2000)
                    assert isinstance(message, TMessage)
                    self._answer(tag, message)

    def _take(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._sock.recv(length - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _answer(self, tag: int, message: TMessage) -> None:
        if isinstance(message, Tread):
            self._read(tag, message)
            return
        reply = self._reply(message)
        if reply is not None:
            self._lie.send(self._sock, encode(tag, reply, NINEP2000), False)

    def _reply(self, message: TMessage) -> RMessage:
        match message:
            case Tversion():
                return Rversion(min(message.msize, 1 << 20), NINEP2000)
            case Tattach():
                return Rattach(_QID)
            case Twalk():
                if message.wname and message.wname[0] not in _FILES:
                    return Rerror("file not found")
                self._files[message.newfid] = message.wname[0] if message.wname else ""
                return Rwalk(tuple(_QID for _ in message.wname))
            case Topen():
                return Ropen(_QID, 0)
            case Twrite():
                return Rwrite(len(message.data))
            case Tclunk():
                return Rclunk()
            case Tflush():
                return Rflush()
        return Rerror("not done here")

    def _read(self, tag: int, message: Tread) -> None:
        name = self._files.get(message.fid, "")
        reads = self._reads.get(name, 0)
        self._reads[name] = reads + 1
        answer = self._read_file(name, reads, message)
        if answer is not None:
            reply = Rerror(answer) if isinstance(answer, str) else Rread(answer)
            self._lie.send(self._sock, encode(tag, reply, NINEP2000), name == "data")

    def _read_file(self, name: str, reads: int, message: Tread) -> Answer:
        if name == "data":
            return self._lie.data(message.offset, message.count)
        if name == "manifest":
            return self._lie.peer.encoded[message.offset : message.offset + message.count]
        if name == "have":
            if not self._rest:
                answer = self._lie.have(reads)
                if not isinstance(answer, bytes):
                    return answer
                self._rest = answer
            part, self._rest = self._rest[: message.count], self._rest[message.count :]
            return part
        return self._lie.turn(reads) if name == "turn" else None


def main() -> None:
    lie, host, port, copy, *address = sys.argv[1:]
    Peer(lie, (host, int(port)), Path(copy), "".join(address)).run()


if __name__ == "__main__":
    main()

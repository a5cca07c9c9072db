"""What a hostile peer does: a class for each lie. `hostile_peer` is the program around it.

A lie says what the peer answers to reads, as a server, and what else it does with master and nodes, as their client.
Where it says nothing else, the peer is an honest one that has everything: lies are told for a while after true words.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from test.support.plain_client import PlainClient
from xget_lib.errors import XGetError
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import Tread

if TYPE_CHECKING:
    from test.faults.hostile_peer import Peer

FORGED = "\x1b[2J\x1b[1;1Hxget: 1 file in place: fetched and verified\r\n"
NEVER = None
"""No answer."""

Answer = bytes | str | None
"""What a read gives; a text is an error."""


class Lie:
    """An honest peer; each other class lies in some way. One object for all connections."""

    does = "nothing wrong"

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def accepted(self, sock: socket.socket) -> bool:
        """A node has connected. Returns whether 9P is spoken with it."""
        return True

    def have(self, reads: int) -> Answer:
        """The answer to a read of `have`; `reads` counts those on the connection, from 0."""
        return self.peer.generation + self.peer.everything if reads == 0 else NEVER

    def turn(self, reads: int) -> Answer:
        return b"take\n"

    def data(self, offset: int, count: int) -> Answer:
        return self.peer.content(offset, count)

    def send(self, sock: socket.socket, reply: bytes, is_content: bool) -> None:
        """Send a whole reply."""
        sock.sendall(reply)

    def ports(self, port: int) -> list[int]:
        """What is registered with the master, one after the other, again and again."""
        return [port]

    def besides(self) -> None:
        """What else it does. It has a thread of its own."""


class WrongBytes(Lie):
    does = "says that it has all, and sends wrong bytes"

    def data(self, offset: int, count: int) -> Answer:
        return bytes(count)


class OneWrongBit(Lie):
    does = "sends content with one wrong bit in each reply"

    def data(self, offset: int, count: int) -> Answer:
        data = bytearray(self.peer.content(offset, count))
        if data:
            data[len(data) // 2] ^= 1
        return bytes(data)


class Short(Lie):
    does = "sends one byte for each read of content"

    def data(self, offset: int, count: int) -> Answer:
        return self.peer.content(offset, 1)


class Nothing(Lie):
    does = "sends no byte for each read of content, as at the end of the file"

    def data(self, offset: int, count: int) -> Answer:
        return b""


class TooMuch(Lie):
    does = "sends more than was asked for"

    def data(self, offset: int, count: int) -> Answer:
        return self.peer.content(offset, count) + bytes(1000)


class Silent(Lie):
    does = "says that it has all, and never answers a read of content"

    def data(self, offset: int, count: int) -> Answer:
        return NEVER


class DripReplies(Lie):
    does = "sends a reply of one byte every 2 seconds"

    def data(self, offset: int, count: int) -> Answer:
        time.sleep(2)
        return self.peer.content(offset, 1)


class DripBytes(Lie):
    does = "sends the right content, one byte every 2 seconds"

    def send(self, sock: socket.socket, reply: bytes, is_content: bool) -> None:
        if not is_content:
            sock.sendall(reply)
            return
        for byte in reply:
            sock.sendall(bytes((byte,)))
            time.sleep(2)


class HalfThenDrip(Lie):
    does = "sends half of each reply at once, and then a byte every 2 seconds"

    def send(self, sock: socket.socket, reply: bytes, is_content: bool) -> None:
        if not is_content:
            sock.sendall(reply)
            return
        sock.sendall(reply[: len(reply) // 2])
        for byte in reply[len(reply) // 2 :]:
            time.sleep(2)
            sock.sendall(bytes((byte,)))


class Garbage(Lie):
    does = "answers connections with bytes that are not 9P"

    def accepted(self, sock: socket.socket) -> bool:
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
        return False


class GarbageLater(Lie):
    does = "answers reads of content with bytes that are not 9P"

    def send(self, sock: socket.socket, reply: bytes, is_content: bool) -> None:
        sock.sendall(b"\xff" * len(reply) if is_content else reply)


class Deaf(Lie):
    does = "accepts connections and says nothing"

    def accepted(self, sock: socket.socket) -> bool:
        time.sleep(1000)
        return False


class HasNothing(Lie):
    does = "says that it has all, and refuses each read of content"

    def data(self, offset: int, count: int) -> Answer:
        return "not held: 1 bytes at 0"


class WrongHave(Lie):
    does = "says that it has all, of another generation"

    def have(self, reads: int) -> Answer:
        return bytes(32) + self.peer.everything if reads == 0 else NEVER


class LongHave(Lie):
    does = "sends `have` without end"

    def have(self, reads: int) -> Answer:
        return self.peer.generation + self.peer.everything * 1000


class FickleHave(Lie):
    does = "says every few milliseconds that it has something else, and has nothing"

    def have(self, reads: int) -> Answer:
        time.sleep(0.005)
        bits = self.peer.everything
        return self.peer.generation + (bits if reads % 2 else bytes(len(bits)))

    def data(self, offset: int, count: int) -> Answer:
        return NEVER


class NoTurn(Lie):
    does = "says that it has all, and gives no turn"

    def turn(self, reads: int) -> Answer:
        return NEVER


class ForgedTexts(Lie):
    does = "refuses everything with escape sequences and forged lines"

    def data(self, offset: int, count: int) -> Answer:
        return FORGED

    def besides(self) -> None:
        with PlainClient(self.peer.master[1], "swarm", self.peer.master[0]) as client:
            log = client.open("log", mode=1)
            for _ in count():
                client.write(log, FORGED.encode())
                time.sleep(0.01)


class Vanishes(Lie):
    does = "resets the connection at each read of content"

    def send(self, sock: socket.socket, reply: bytes, is_content: bool) -> None:
        if is_content:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            raise ConnectionResetError
        sock.sendall(reply)


class WrongAddresses(Lie):
    does = "registers other ports each second: of nobody, and of the master's number"

    def ports(self, port: int) -> list[int]:
        return [1, self.peer.master[1], 65535, port, 22]


class HoldsOffers(Lie):
    does = "holds 16 slots of the master on each of 8 connections, and never takes a chunk"

    def besides(self) -> None:
        clients = [PlainClient(self.peer.master[1], "swarm", self.peer.master[0]) for _ in range(8)]
        for client in clients:
            request_all(client, "offer")
        time.sleep(1000)


class HoldsTurns(Lie):
    does = "holds 16 turns of each node on each of 3 connections, and never reads"

    def besides(self) -> None:
        held: list[PlainClient] = []
        for address in self.peer.new_nodes():
            for _ in range(3):
                with suppress(OSError, XGetError):
                    held.append(PlainClient(address[1], "swarm", address[0]))
                    request_all(held[-1], "turn")


class OpensFiles(Lie):
    does = "opens 4,096 files on each of 4 connections to the master"

    def besides(self) -> None:
        clients = [PlainClient(self.peer.master[1], "swarm", self.peer.master[0]) for _ in range(4)]
        with suppress(OSError, XGetError):
            for _ in range(4096):
                for client in clients:
                    client.open("manifest")
        time.sleep(1000)


class Floods(Lie):
    does = "sends requests to the master without end behind a read that waits, and reads no answer"

    def besides(self) -> None:
        client = PlainClient(self.peer.master[1], "swarm", self.peer.master[0])
        have = client.open("have")
        client.read(have, 0)
        sock = client.sock
        for tag in range(1, 60_000):
            sock.sendall(request(tag, Tread(have, 0, 100)))
        time.sleep(1000)


class Attaches(Lie):
    does = "connects to the master and the nodes 100 times, attaches, and does nothing"

    def besides(self) -> None:
        held: list[PlainClient] = []
        for _ in range(100):
            with suppress(OSError, XGetError):
                held.append(PlainClient(self.peer.master[1], "swarm", self.peer.master[0]))
        for address in self.peer.new_nodes():
            for _ in range(100):
                with suppress(OSError, XGetError):
                    held.append(PlainClient(address[1], "swarm", address[0]))


def request(tag: int, message: Tread) -> bytes:
    return encode(tag, message, NINEP2000)


def request_all(client: PlainClient, name: str) -> None:
    """Read 16 open files without waiting for an answer."""
    sock = client.sock
    for tag in range(16):
        sock.sendall(request(1000 + tag, Tread(client.open(name, mode=2), 0, 32)))


LIES: dict[str, Callable[[Peer], Lie]] = {
    "wrong bytes": WrongBytes,
    "one wrong bit": OneWrongBit,
    "short": Short,
    "nothing": Nothing,
    "too much": TooMuch,
    "silent": Silent,
    "drip replies": DripReplies,
    "drip bytes": DripBytes,
    "half, then drip": HalfThenDrip,
    "garbage": Garbage,
    "garbage later": GarbageLater,
    "deaf": Deaf,
    "has nothing": HasNothing,
    "wrong have": WrongHave,
    "long have": LongHave,
    "fickle have": FickleHave,
    "no turn": NoTurn,
    "forged texts": ForgedTexts,
    "vanishes": Vanishes,
    "wrong addresses": WrongAddresses,
    "holds offers": HoldsOffers,
    "holds turns": HoldsTurns,
    "opens files": OpensFiles,
    "floods": Floods,
    "attaches": Attaches,
}

"""Peers that lie to those who read from them."""

from __future__ import annotations

import socket
import struct
import time
from itertools import count

from test.faults.lie import NEVER, Answer, Lie
from test.support.plain_client import PlainClient

FORGED = "\x1b[2J\x1b[1;1Hxget: 1 file in place: fetched and verified\r\n"


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

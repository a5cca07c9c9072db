"""A peer that says it holds everything, gives each upload slot at once, and then harms whoever reads from it.

It speaks 9P over plain sockets, in threads, and registers at a master as a node that holds everything. Kinds:

    drip        answers each read with the right size, and then a byte every `DRIP` seconds
    one byte    answers each read with one byte
    wrong       sends zeros, as fast as it can
    refusing    refuses each read
    withholding never gives a slot
    silent      says what it has, and answers nothing from then on
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType

from test.support.plain_client import PlainClient
from xget_lib.ninep import messages
from xget_lib.ninep.dialect import NINEP2000, decode, encode
from xget_lib.ninep.messages import Message
from xget_lib.ninep.wire import Qid
from xget_lib.swarm.messages import Registration

KINDS = ("drip", "one byte", "wrong", "refusing", "withholding", "silent")
DRIP = 15.0
_FILE = Qid(0, 0, 1)


class HostilePeer:
    """Listens from the start on; `close` ends all connections. `asked` is how many reads of content it got."""

    def __init__(self, kind: str, master_port: int, generation: str, chunks: int, *, host: str = "127.0.0.1") -> None:
        assert kind in KINDS
        self.asked = 0
        self.connections = 0
        self._kind = kind
        self._have = bytes.fromhex(generation) + ((1 << chunks) - 1).to_bytes((chunks + 7) // 8, "little")
        self._closed = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server((host, 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        self._master = PlainClient(master_port, "swarm", source=host)
        peers = self._master.open("peers", mode=2)
        self._master.write(peers, Registration(self.port, bytes.fromhex(generation), chunks).encode())

    def __enter__(self) -> HostilePeer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._master.__exit__(None, None, None)
        for sock in (self._listening, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                self.connections += 1
                self._sockets.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        names: dict[int, str] = {}
        told = False
        with suppress(OSError), sock.makefile("rb") as stream:
            while size := stream.read(4):
                frame = size + stream.read(int.from_bytes(size, "little") - 4)
                tag, message = decode(memoryview(frame), NINEP2000)
                if told and self._kind == "silent":
                    continue
                reply: Message
                match message:
                    case messages.Tread(fid=fid) if names.get(fid) == "data":
                        self.asked += 1
                        self._send_content(sock, tag, message.count)
                        continue
                    case messages.Tread(fid=fid) if names.get(fid) == "have" and not told:
                        told = True
                        reply = messages.Rread(self._have[: message.count])
                    case messages.Tread(fid=fid) if names.get(fid) == "turn" and self._kind != "withholding":
                        reply = messages.Rread(b"take\n")
                    case messages.Tread():
                        continue  # there is never any news
                    case messages.Twalk(newfid=fid, wname=wname):
                        names[fid] = "/".join(wname)
                        reply = messages.Rwalk((_FILE,) * len(wname))
                    case _:
                        reply = _usual(message)
                sock.sendall(encode(tag, reply, NINEP2000))

    def _send_content(self, sock: socket.socket, tag: int, count: int) -> None:
        match self._kind:
            case "wrong":
                sock.sendall(encode(tag, messages.Rread(bytes(count)), NINEP2000))
            case "one byte":
                sock.sendall(encode(tag, messages.Rread(b"x"), NINEP2000))
            case "refusing":
                sock.sendall(encode(tag, messages.Rerror("not held"), NINEP2000))
            case "drip":
                frame = encode(tag, messages.Rread(bytes(count)), NINEP2000)
                sock.sendall(frame[:-count])
                for byte in frame[-count:]:
                    if self._closed.wait(DRIP):
                        return
                    sock.sendall(bytes([byte]))


def _usual(message: Message) -> Message:
    """What any server answers."""
    match message:
        case messages.Tversion(msize=msize):
            return messages.Rversion(msize, NINEP2000)
        case messages.Tattach():
            return messages.Rattach(Qid(0x80, 0, 0))
        case messages.Topen():
            return messages.Ropen(_FILE, 0)
        case messages.Twrite(data=data):
            return messages.Rwrite(len(data))
        case messages.Tclunk():
            return messages.Rclunk()
        case messages.Tflush():
            return messages.Rflush()
        case _:
            return messages.Rerror("not supported")

"""Target: a child server with real connections over loopback, and strangers who read late, little, or never.

Time and the kernel's buffers have their say here, so that a case is not quite the same again. What must hold is the
same each time: whatever the strangers did, in the end every connection is closed and nothing is left of it.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import gevent
from gevent import get_hub
from gevent import socket as gsocket

from test.fuzz.choices import Choices
from test.fuzz.grounds import Grounds, grounds
from test.fuzz.speech import Speaker, free_tag, pieces, reframed
from xget_lib.classic.backend import Namespace
from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.net.listen import listen
from xget_lib.ninep.dialect import DIALECTS, decode, encode
from xget_lib.ninep.messages import IOHDRSZ, Message, Tattach, Tversion
from xget_lib.ninep.wire import NOFID, NOTAG
from xget_lib.node.child import Child
from xget_lib.node.master_link import MasterLink
from xget_lib.node.transfer import Transfer
from xget_lib.serve.served import Served

MESSAGES_LIMIT = 200
PATIENCE = 30.0  # seconds after which a case is stuck
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: end without a good-bye


class Connections:
    """The target. `run` is one case: some strangers who come, talk and go."""

    name = "connection"

    def __init__(self, served: Grounds) -> None:
        self._grounds = served
        self._printed = io.StringIO()
        get_hub().exception_stream = self._printed
        self._listening = listen("127.0.0.1", 0)
        transfer = Transfer(MasterLink("127.0.0.1", 1, serving_port=None), retries=0)
        self.child = Child(self._listening, b"/", 0, transfer)
        classic = self.child._extensions["classic"]
        assert isinstance(classic, Namespace)
        self._classic = classic
        gevent.sleep(0)

    def run(self, choices: Choices, log: list[str] | None = None) -> int:
        generation = self._grounds.generation(choices)
        if generation is not None:
            # A new object each time, as in production: the child retires it when it is one of former ones.
            self.child.serve(Served(generation.manifest, generation.store), self._grounds.files)
            self.child.announce()
        strangers = [_Stranger(self.child.port, choices, self._grounds, log) for _ in range(1 + choices.below(3))]
        with gevent.Timeout(PATIENCE, AssertionError("stuck")):
            limit = 1 + choices.below(MESSAGES_LIMIT)
            while any(one.goes_on for one in strangers) and sum(one.messages for one in strangers) < limit:
                if choices.exhausted:
                    break
                choices.pick(strangers).go_on()
                if choices.chance(0.1):
                    self._grounds.change(choices)
                    self.child.announce()
            for one in strangers:
                one.part()
            self._still_serves()
            # A checksum is computed to its end, though nobody may want it any more.
            while self.child.clients or self._classic.checksums._asked:
                gevent.sleep(0.001)
        assert not self._printed.getvalue(), self._printed.getvalue()
        slots = self.child._uploader._slots
        assert not self.child._requests and not slots._granted and not slots.waiting
        return sum(one.messages for one in strangers)

    def _still_serves(self) -> None:
        """A guest who comes now is answered; and so all that came before have been let in."""
        guest = gsocket.create_connection(("127.0.0.1", self.child.port))
        guest.sendall(encode(NOTAG, Tversion(8192, "9P2000"), "9P2000"))
        assert guest.recv(100)
        guest.close()

    def rest(self) -> None:
        gevent.sleep(0)
        self._grounds.rest()


class _Stranger:
    def __init__(self, port: int, choices: Choices, served: Grounds, log: list[str] | None) -> None:
        self.messages = 0
        self.goes_on = True
        self._choices = choices
        self._log = log
        surroundings = choices.pick(served.surroundings)
        self._speaker = Speaker(choices, choices.pick(tuple(DIALECTS)), surroundings, [""])
        self._asked: dict[int, Message] = {}
        self._heard = b""
        self._sock = gsocket.create_connection(("127.0.0.1", port))
        if choices.chance(0.3):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        dialect = self._speaker.dialect
        self._send(encode(NOTAG, Tversion(choices.pick((8192, 65536, 2**20 + IOHDRSZ)), dialect), dialect))
        self._send(encode(0, Tattach(0, NOFID, "root", surroundings.aname), dialect))

    def go_on(self) -> None:
        """Say something, or listen, or neither."""
        if not self.goes_on:
            return
        match self._choices.below(8):
            case 0 | 1 | 2 | 3 | 4:
                self._say(self._choices.pick((1, 1, 2, 8)))
            case 5 | 6:
                self._listen()
            case 7:
                gevent.sleep(0)

    def part(self) -> None:
        """End it, this way or that."""
        match self._choices.below(3):
            case 0:
                with suppress(OSError):
                    self._sock.shutdown(socket.SHUT_WR)
                self._listen()
            case 1:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._sock.close()

    def _say(self, count: int) -> None:
        said = b""
        for _ in range(count):
            tag = free_tag(self._choices, self._asked)
            message = self._speaker.message(self._asked)
            try:
                frame = encode(NOTAG if isinstance(message, Tversion) else tag, message, self._speaker.dialect)
            except NinepError:
                continue
            self.messages += 1
            self._asked[tag] = message
            said += reframed(frame, self._choices) if self._choices.chance(0.02) else frame
        for piece in pieces(said, self._choices):
            self._send(piece)
            if self._choices.chance(0.3):
                gevent.sleep(0)

    def _send(self, data: bytes) -> None:
        """As much as there is room for in a moment: who does not read is not read from for ever."""
        if self._log is not None:
            self._log.append(f"-> {data[:100].hex()}")
        try:
            with gevent.Timeout(0.05):
                self._sock.sendall(data)
        except gevent.Timeout:
            self._listen()
        except OSError:
            self.goes_on = False

    def _listen(self) -> None:
        """What has come, or comes in a moment."""
        with suppress(OSError, gevent.Timeout), gevent.Timeout(0.002):
            while part := self._sock.recv(1 << 16):
                self._heard += part
            self.goes_on = False
        while len(self._heard) >= 4 and len(self._heard) >= (size := int.from_bytes(self._heard[:4], "little")):
            frame, self._heard = self._heard[:size], self._heard[size:]
            tag, reply = self._decoded(frame)
            request = self._asked.pop(tag, None)
            if self._log is not None:
                self._log.append(f"<- {tag} {reply}"[:200])
            if request is not None:
                self._speaker.heard(request, reply)

    def _decoded(self, frame: bytes) -> tuple[int, Message]:
        """In the dialect that is spoken now; another may have been agreed on, see `conversation`."""
        for dialect in (self._speaker.dialect, *DIALECTS):
            with suppress(ProtocolViolation):
                return decode(frame, dialect)
        raise AssertionError(f"no reply in any dialect: {frame.hex()}")


@contextmanager
def connection() -> Iterator[Connections]:
    with grounds() as served:
        # It serves on until the process ends: nobody else is in it then.
        yield Connections(served)

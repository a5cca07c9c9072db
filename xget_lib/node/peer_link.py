"""The connections of a node to one peer: one for content, one for messages, which must not wait for content."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent

from xget_lib.errors import LinkLost, NinepError, ProtocolViolation
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.net.link import Link, Remote
from xget_lib.ninep import messages
from xget_lib.ninep.messages import ORDWR
from xget_lib.node.master_link import ANSWER
from xget_lib.node.source import Source, send
from xget_lib.report.log import LOGGER
from xget_lib.serve.attach import SWARM
from xget_lib.swarm.messages import GENERATION_SIZE, Address

_CONNECT = 10.0
"""Seconds to connect to a peer."""


class PeerLink(Source):
    """One peer, from `connect` to `close`."""

    def __init__(self, address: Address, link: Link, control: Link) -> None:
        """Takes over two connections. Raises LinkLost, NinepError."""
        super().__init__(address, link, link.open("data", ANSWER))
        self._control = control
        self._have = control.open("have", ANSWER)
        self._turn: Remote | None = None
        try:
            self._turn = control.open("turn", ANSWER, ORDWR)
        except NinepError:
            LOGGER.debug("%s gives content without upload slots", control.name)

    @classmethod
    def connect(cls, address: Address) -> PeerLink:
        """Raises LinkLost, NinepError."""
        link = Link.connect(*address, SWARM, _CONNECT)
        control = link
        try:
            control = Link.connect(*address, SWARM, _CONNECT)
            return cls(address, link, control)
        except BaseException:
            control.close()
            link.close()
            raise

    def introduce(self, report: bytes) -> None:
        """Tell the peer where this node serves. The master would tell it much later."""
        try:
            self._control.open("peers", ANSWER, ORDWR).write(0, report, ANSWER)
        except (LinkLost, NinepError) as error:
            LOGGER.debug("not introduced to %s: %s", self._control.name, error)

    def read_have(self, generation: bytes, chunk_count: int) -> Iterator[int]:
        """The chunks that the peer holds, as bits, each time that they have changed. Ends only by LinkLost, NinepError
        or ProtocolViolation."""
        length = GENERATION_SIZE + (chunk_count + 7) // 8
        while True:
            answer = b""
            while len(answer) < length:
                part = self._have.read(0, length - len(answer), None)
                if not part:
                    raise ProtocolViolation("have: wrong length of the bitmap")
                answer += part
            if answer[:GENERATION_SIZE] != generation:
                raise ProtocolViolation("have: unexpected generation")
            yield Bitmap.from_bytes(answer[GENERATION_SIZE:], chunk_count).as_int()

    def request_slot(self, on_granted: Callable[[], None]) -> None:
        """Request an upload slot. A peer without such slots (a master) grants it at once."""
        if self._turn is None:
            on_granted()
            return

        def answered(reply: messages.Message | LinkLost) -> None:
            if isinstance(reply, messages.Rread):
                on_granted()
            else:
                self.end()

        send(self._control, messages.Tread(self._turn.fid, 0, 32), answered)

    def pass_slot(self) -> None:
        if self._turn is not None:
            send(self._control, messages.Twrite(self._turn.fid, 0, b"pass\n"), lambda reply: None)

    def end(self) -> None:
        """Something is wrong: make `read_have` raise LinkLost. Its caller then closes all."""
        gevent.spawn(self._control.close)

    def close(self) -> None:
        self._control.close()
        self.link.close()

"""The connections of a node to one peer: one for content, one for messages, which must not wait for content."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent

from xget_lib.errors import LinkLost, NinepError, ProtocolViolation
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.signature import GENERATION_SIZE
from xget_lib.net.link import Link, Remote
from xget_lib.net.receive_limit import ReceiveLimit
from xget_lib.ninep import messages
from xget_lib.ninep.auth import Credentials
from xget_lib.ninep.messages import ORDWR
from xget_lib.node.master_link import ANSWER
from xget_lib.node.source import Source, send
from xget_lib.report.log import LOGGER
from xget_lib.serve.attach import SWARM
from xget_lib.swarm.messages import Address
from xget_lib.swarm.turns import Turns

_CONNECT = 10.0
"""Seconds to connect to a peer, and to open its files."""
_PROBE_AFTER = 10.0
"""Seconds without an upload slot after which the peer is asked whether it answers at all."""
_MUTE = 30.0
"""Seconds without an upload slot and without an answer, after which the connection is closed."""
_HAVE_PAUSE = 0.01
"""Seconds between two reads of `have`, at least. A child of ours answers less often."""
_PASSES = 64
"""Returned upload slots for which the peer may owe a reply."""


class PeerLink(Source):
    """The connections to one peer, from `connect` to `close`."""

    def __init__(self, address: Address, link: Link, control: Link) -> None:
        """Takes over two connections. Raises LinkLost, NinepError."""
        super().__init__(address, link, link.open("data", ANSWER))
        self._control = control
        self._have = control.open("have", ANSWER)
        self._turns = Turns()
        self._turn_files: list[Remote] = []
        """By the numbers of `_turns`. None if the peer has no upload slots: it is a master."""
        self._slots_requested = 0
        """Upload slots that are requested and not granted."""
        self._waited_since: float | None = None
        """For the slot, or for a sign of the peer meanwhile; None until `is_mute` is called."""
        self._probed = False
        """Whether the peer was asked for a sign, and has not answered."""
        self._passes = 0
        """Returned upload slots for which the peer owes a reply."""
        try:
            self._turn_files.append(control.open("turn", ANSWER, ORDWR))
        except NinepError:
            LOGGER.debug("%s has no upload slots", control.name)

    @classmethod
    def connect(
        cls, address: Address, credentials: Credentials | None = None, limit: ReceiveLimit | None = None
    ) -> PeerLink:
        """`limit`: of what is received. Raises LinkLost, NinepError."""
        credentials = credentials or Credentials()
        links: list[Link] = []
        try:
            with gevent.Timeout(_CONNECT, LinkLost(f"{address[0]}:{address[1]}", f"not ready in {_CONNECT:g} s")):
                for limited in (limit, None):
                    links.append(Link.connect(*address, SWARM, _CONNECT, credentials, limit=limited))
                return cls(address, *links)
        except BaseException:
            for link in links:
                link.close()
            raise

    def register(self, registration: bytes) -> None:
        """Tell the peer where this node serves. The master would tell it much later."""
        try:
            self._control.open("peers", ANSWER, ORDWR).write(0, registration, ANSWER)
        except (LinkLost, NinepError) as error:
            LOGGER.debug("cannot register with %s: %s", self._control.name, error)

    def read_have(self, generation: bytes, chunk_count: int) -> Iterator[int]:
        """The chunks that the peer holds, as bits, each time that they have changed. It ends only with an error:
        LinkLost, NinepError or ProtocolViolation."""
        length = GENERATION_SIZE + (chunk_count + 7) // 8
        while True:
            answer = b""
            while len(answer) < length:
                part = self._have.read(0, length - len(answer), None)
                if not part:
                    raise ProtocolViolation("have: the bitmap has the wrong length")
                answer += part
                if answer[:GENERATION_SIZE] != generation[: len(answer)]:
                    # At once: a shorter bitmap would have no more bytes until the peer holds more.
                    raise ProtocolViolation("have: the bitmap is of another generation")
            yield Bitmap.from_bytes(answer[GENERATION_SIZE:], chunk_count).as_int()
            gevent.sleep(_HAVE_PAUSE)

    def request_slot(self, on_granted: Callable[[], None]) -> None:
        """Request an upload slot. A peer without such slots (a master) grants it at once."""
        if not self._turn_files:
            on_granted()
            return
        number = self._turns.request(len(self.reads))

        def answered(reply: messages.Message | LinkLost) -> None:
            self._slots_requested -= 1
            if isinstance(reply, messages.Rread):
                self._turns.granted(number)
                on_granted()
            else:
                self.end()

        self._slots_requested, self._waited_since = self._slots_requested + 1, None
        try:
            while number >= len(self._turn_files):
                self._turn_files.append(self._control.begin_to_open("turn", ORDWR))
            self._control.start(messages.Tread(self._turn_files[number].fid, 0, 32), answered)
        except LinkLost as error:  # `read_have` gets it too
            LOGGER.debug("%s", error)

    def pass_slot(self) -> None:
        """Return an upload slot that is granted."""

        def answered(reply: messages.Message | LinkLost) -> None:
            self._passes -= 1

        if not self._turn_files:
            return
        file = self._turn_files[self._turns.give_back()]
        self._passes += 1
        if self._passes > _PASSES:
            self.end()
        else:
            send(self._control, messages.Twrite(file.fid, 0, b"pass\n"), answered)

    def is_mute(self, now: float) -> bool:
        """Whether the peer owes an upload slot and does not answer anything else either. A busy peer may need long to
        grant a slot, but it answers. To be called every `CHECK_EVERY` seconds, by `node.awake`: it asks the peer."""
        if not self._slots_requested:
            return False
        if self._waited_since is None:
            self._waited_since = now
        if now - self._waited_since > _PROBE_AFTER and not self._probed:
            self._probed = True
            # A walk to where the root is already changes nothing.
            send(self._control, messages.Twalk(0, 0, ()), self._probe_answered)
        return now - self._waited_since > _MUTE

    def _probe_answered(self, reply: messages.Message | LinkLost) -> None:
        self._probed, self._waited_since = False, None

    def end(self) -> None:
        """Something is wrong: make `read_have` raise LinkLost. Its caller then calls `close`."""
        gevent.spawn(self._control.close)

    def close(self) -> None:
        self._control.close()
        self.link.close()

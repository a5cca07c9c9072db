"""The slots of a node at its master: an open `offer` file each, and one connection for the content.

The content has a connection of its own, made when the first chunk is offered; the slots are on the connection for small
messages.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent

from xget_lib.errors import LinkLost, NinepError
from xget_lib.net.link import Link, Remote
from xget_lib.net.receive_limit import ReceiveLimit
from xget_lib.ninep import messages
from xget_lib.ninep.auth import Credentials
from xget_lib.ninep.messages import ORDWR
from xget_lib.node.attempts import first_of
from xget_lib.node.master_link import ANSWER
from xget_lib.node.source import Source, send
from xget_lib.serve.attach import SWARM
from xget_lib.swarm.actions import MASTER
from xget_lib.swarm.messages import Address

Failure = LinkLost | NinepError


class MasterSlots:
    """The slots of one connection to the master, from the first `open` to `close`.

    If they cannot be used any longer, `on_failed` is called once, with the error. It is not called after `close`.
    """

    def __init__(
        self,
        control: Link,
        master: Address,
        on_failed: Callable[[MasterSlots, Failure], None],
        credentials: Credentials | None = None,
        limit: ReceiveLimit | None = None,
    ) -> None:
        """`limit`: of what is received on the connection for content."""
        self._limit = limit
        self._control = control
        self._master = master
        self._credentials = credentials or Credentials()
        self._on_failed = on_failed
        self._closed = False
        self._offers: dict[int, Remote] = {}
        self._asking: dict[int, int] = {}
        """The tag of the read that waits for an offer, by slot."""
        self.content: Source | None = None
        self._connecting = False
        self._waiting: dict[int, Callable[[Source], None]] = {}
        """By chunk: what to do when the connection for content is there."""

    def open(self, slot: int, on_opened: Callable[[], None]) -> None:
        """Open a slot."""
        gevent.spawn(self._open, slot, on_opened)

    def ask(self, slot: int, on_offer: Callable[[bytes], None]) -> None:
        """Ask for the next chunk on an open slot; `on_offer` gets the line that the master answers."""

        def answered(reply: messages.Message | LinkLost) -> None:
            self._asking.pop(slot, None)
            if isinstance(reply, messages.Rread):
                on_offer(bytes(reply.data))
            else:
                self._failed(reply)

        tag = send(self._control, messages.Tread(self._offers[slot].fid, 0, 32), answered)
        if tag is not None:
            self._asking[slot] = tag

    def send_wants(self, bitmap: bytes) -> None:
        """Tell the master which chunks this node wants from it."""

        def answered(reply: messages.Message | LinkLost) -> None:
            if not isinstance(reply, messages.Rwrite):
                self._failed(reply)

        send(self._control, messages.Twrite(next(iter(self._offers.values())).fid, 0, bitmap), answered)

    def use_content(self, chunk: int, use: Callable[[Source], None]) -> None:
        """Call `use` with the connection for content, as soon as it is there."""
        if self.content is not None:
            use(self.content)
            return
        self._waiting[chunk] = use
        if not self._connecting:
            self._connecting = True
            gevent.spawn(self._connect)

    def cancel(self, chunk: int) -> None:
        """Do not wait for the connection for this chunk any more."""
        self._waiting.pop(chunk, None)

    def fail(self, error: Failure) -> None:
        """The slots cannot be used any longer."""
        if not self._closed:
            self._closed = True
            self._on_failed(self, error)

    def close(self) -> None:
        """Close the slots and the connection for content."""
        self._closed = True
        for tag in self._asking.values():
            self._control.flush(tag)
        for offer in self._offers.values():
            send(self._control, messages.Tclunk(offer.fid), lambda reply: None)
        self._offers.clear()
        if self.content is not None:
            gevent.spawn(self.content.link.close)

    def _open(self, slot: int, on_opened: Callable[[], None]) -> None:
        try:
            offer = self._control.open("offer", ANSWER, ORDWR)
        except (LinkLost, NinepError) as error:
            self.fail(error)
            return
        if self._closed:
            offer.close(ANSWER)
        else:
            self._offers[slot] = offer
            on_opened()

    def _connect(self) -> None:
        try:
            content = first_of(self._open_content, ANSWER, lambda content: content.link.close())
        except (LinkLost, NinepError) as error:
            self.fail(error)
            return
        if self._closed:
            content.link.close()
            return
        self.content = content
        waiting, self._waiting = self._waiting, {}
        for use in waiting.values():
            use(content)

    def _open_content(self, seconds: float) -> Source:
        link = Link.connect(*self._master, SWARM, seconds, self._credentials, limit=self._limit)
        try:
            return Source(MASTER, link, link.open("data", ANSWER))
        except BaseException:
            link.close()
            raise

    def _failed(self, reply: messages.Message | LinkLost) -> None:
        if isinstance(reply, LinkLost):
            self.fail(reply)
        else:
            self.fail(NinepError(0, reply.ename if isinstance(reply, messages.Rerror) else "unexpected reply"))

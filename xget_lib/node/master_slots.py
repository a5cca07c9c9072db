"""Taking what the master offers: a few slots, each an open `offer`, and one connection for the content.

That connection and all slots but one are made when the master offers something for the first time: of ten thousand
nodes it gives chunks to some hundred.
"""

from __future__ import annotations

import time

import gevent

from xget_lib.errors import LinkLost, NinepError
from xget_lib.net.link import Link, Remote
from xget_lib.ninep.messages import ORDWR
from xget_lib.node.chunk_receiver import MASTER, ChunkReceiver
from xget_lib.node.fetch import Supplier
from xget_lib.node.master_link import ANSWER
from xget_lib.report.log import LOGGER
from xget_lib.swarm.tuning import TUNING
from xget_lib.swarm.want_report import WantReport


class MasterSlots:
    """Those of one node at one master, for as long as its connection for small messages lasts."""

    def __init__(self, control: Link, master: tuple[str, int], intake: ChunkReceiver) -> None:
        self._control = control
        self._master = master
        self._intake = intake
        self._supplier: Supplier | None = None
        self._offers: list[Remote] = []
        self._holding: list[gevent.Greenlet[..., None]] = []
        self._missed = WantReport(intake.layout.chunk_count, intake.picker.lacking)

    def run(self) -> None:
        """Take chunks until a connection ends. Raises LinkLost, or NinepError where nothing is offered."""
        try:
            self._open()
            while True:
                self._tell_takes()
                if gevent.joinall(self._holding, timeout=TUNING.takes_pause, count=1):
                    return
        finally:
            gevent.killall(self._holding)
            if self._supplier is not None:
                self._intake.part(self._supplier)
            for offer in self._offers:
                if not self._control.lost:
                    offer.close(ANSWER)

    def _open(self) -> None:
        offer = self._control.open("offer", ANSWER, ORDWR)
        self._offers.append(offer)
        self._holding.append(gevent.spawn(self._hold, offer))

    def _hold(self, offer: Remote) -> None:
        """Take the chunks that the master offers to one slot, until a connection ends."""
        try:
            while True:
                chunk = int(offer.read(0, 32, None))
                supplier = self._supplier or self._begin()
                # The buffer first: a chunk that is taken must be on its way, whatever happens while one waits.
                buffer = self._intake.buffers.take(wait=True)
                assert buffer is not None
                if self._intake.picker.take(chunk, MASTER, time.monotonic()):
                    self._intake.fetch(supplier, chunk, buffer).ended.wait()
                else:
                    self._intake.buffers.give_back(buffer)
                if supplier.link.lost:
                    return
                self._missed.asked(chunk)
        except (LinkLost, NinepError, ValueError) as error:
            LOGGER.debug("slot at the master: %s", error)

    def _begin(self) -> Supplier:
        """The first chunk is offered: connect for the content, and hold the other slots."""
        link = Link.connect(*self._master, "swarm", ANSWER)
        try:
            supplier = Supplier(MASTER, link, link.open("data", ANSWER))
        except BaseException:
            link.close()
            raise
        self._supplier = self._intake.suppliers[MASTER] = supplier
        for _ in range(TUNING.slots - 1):
            self._open()
        return supplier

    def _tell_takes(self) -> None:
        """Tell the master what is to be had nowhere else, where it must hear of that."""
        unavailable = self._intake.picker.unavailable
        if self._missed.tells(unavailable):
            bitmap = unavailable.to_bytes((self._intake.layout.chunk_count + 7) // 8, "little")
            self._offers[0].write(0, bitmap, ANSWER)

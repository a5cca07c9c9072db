"""Nodes of the simulated swarm that break the rules: each pretends to hold everything, and harms whoever believes it.

A node that is stopped (SIGSTOP, a pulled cable) is honest until then. The kernel of its machine goes on to accept
connections, so nobody notices by an error.
"""

from __future__ import annotations

from typing import Any

from test.sim.links import Connection, Request
from test.sim.master import TREAD
from test.sim.node import Node

SWALLOWED = 0.01
"""Seconds after which a node says that a chunk has arrived which it does not take."""

STALLED = 20.0
"""Seconds after which a node closes a connection on which requested content does not arrive: `node/source.py`."""

HELD = 0.95
"""Seconds for which a node holds a chunk that it does not take: just not so long that the chunk is stuck."""


class Hostile(Node):
    """Registers with the master as a node that holds everything, and says so to each reader. It gives each of them a
    slot at once and downloads nothing."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.held = (1 << len(self._sizes)) - 1

    def _join(self) -> None:
        super()._join()
        self._master.receive("registrations", 0, self._master.register, self, len(self._sizes))

    def hear(self, peers: list[Node], master_first: bool) -> None:
        """It tells the others of itself, as a node does that downloads from them."""
        for peer in peers:
            self._clock.after(self._network.latency, peer.registered, self)

    def registered(self, peer: Node) -> None:
        pass

    def slot_requested(self, reader: Node, turn: int) -> None:
        self._clock.after(self._network.latency, reader.slot_granted, self, turn)


class Liar(Hostile):
    """Sends wrong content, as fast as it can."""

    sends_right_content = False


class Refusing(Hostile):
    """Refuses each read."""

    def asked(self, reader: Node, connection: Connection, request: Request) -> None:
        self._clock.after(self._network.latency, reader.refused, self, request.chunk)


class Dripping(Hostile):
    """Sends next to nothing."""

    def asked(self, reader: Node, connection: Connection, request: Request) -> None:
        self._clock.after(STALLED, reader.stalled, self, request)


class Crawling(Hostile):
    """Sends just so fast that its connections are not closed."""

    def asked(self, reader: Node, connection: Connection, request: Request) -> None:
        self._clock.after(10 * STALLED, self._network.send, connection, request)


class Punctual(Hostile):
    """Sends the right content so slowly that it is just not overdue."""

    def asked(self, reader: Node, connection: Connection, request: Request) -> None:
        self._clock.after(0.9, self._network.send, connection, request)


class Withholding(Hostile):
    """Never gives a slot."""

    def slot_requested(self, reader: Node, turn: int) -> None:
        pass


class Hesitating(Hostile):
    """Gives each slot late, and then sends nothing."""

    def slot_requested(self, reader: Node, turn: int) -> None:
        self._clock.after(self._random.uniform(0, 20), reader.slot_granted, self, turn)

    def asked(self, reader: Node, connection: Connection, request: Request) -> None:
        self._clock.after(STALLED, reader.stalled, self, request)


class Flapping(Hostile):
    """Ends each connection as soon as something is asked of it, and accepts the next one."""

    def slot_requested(self, reader: Node, turn: int) -> None:
        self._clock.after(self._network.latency, reader.lose, self)


class Silent(Hostile):
    """Accepts connections and never says anything."""

    answers = False


class Holding(Node):
    """Asks its master for chunks, takes none, and says after `HELD` seconds that each has arrived."""

    SLOTS = 2

    def hear(self, peers: list[Node], master_first: bool) -> None:
        if not self.has_manifest:  # only once
            self.has_manifest = True
            self._ask_all()

    def _ask_all(self) -> None:
        for slot in range(self.SLOTS):
            self._ask(slot)

    def _ask(self, slot: int) -> None:
        self._master.receive("offers", TREAD, self._master.ask, self, slot)

    def granted(self, slot: int, chunk: int) -> None:
        self._clock.after(HELD, self._ask, slot)

    def _connect(self, peer: Node) -> None:
        pass

    def learn(self, peer: Node, held: int) -> None:
        pass

    def registered(self, peer: Node) -> None:
        pass


class Leaving(Holding):
    """As Holding, but ends its connection instead, and makes a new one at once."""

    SLOTS = 1

    def granted(self, slot: int, chunk: int) -> None:
        self._clock.after(HELD, self._connect_again)

    def _connect_again(self) -> None:
        self._master.receive("registrations", 0, self._master.leave, self)
        self.has_manifest = False
        self._join()


class Swallowing(Holding):
    """Says at once that each chunk has arrived, and wants them all again."""

    SLOTS = 16

    def granted(self, slot: int, chunk: int) -> None:
        self._clock.after(SWALLOWED, self._ask_again, slot)

    def _ask_again(self, slot: int) -> None:
        self._master.receive("takes", TREAD, self._master.takes, self, (1 << len(self._sizes)) - 1)
        self._ask(slot)


class Finished(Hostile):
    """An honest node that holds everything and stays. Only its link may be slow: `FaultScenario.slow`."""

    asked = Node.asked
    slot_requested = Node.slot_requested
    registered = Node.registered


class Stopped(Node):
    """An honest node that is stopped at some moment and says nothing from then on."""

    def stop(self) -> None:
        self.answers = False
        self.port.alive = False
        for reader in self._readers.values():
            for (address, _), request in reader._requests.items():
                if address == self.address:
                    self._clock.after(STALLED, reader.stalled, self, request)


KINDS = (
    Liar,
    Refusing,
    Dripping,
    Crawling,
    Punctual,
    Withholding,
    Hesitating,
    Flapping,
    Silent,
    Holding,
    Leaving,
    Swallowing,
)

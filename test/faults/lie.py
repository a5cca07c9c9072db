"""What a hostile peer does. `hostile_peer` is the program around it.

A lie says what the peer answers to reads, as a server, and what else it does with master and nodes, as their client.
Where a lie says nothing else, the peer is an honest one that has everything: others believe it until then.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from test.faults.hostile_peer import Peer

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

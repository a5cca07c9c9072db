"""The C clients of a master: where they are sent, and which of them serve.

`classic.redirects` decides. This class tells it what the workers report, and which of our own nodes hold everything.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from xget_lib import ipc
from xget_lib.classic import messages
from xget_lib.classic.files import ME
from xget_lib.classic.redirects import Redirects
from xget_lib.extensions import MasterHost
from xget_lib.report.log import LOGGER
from xget_lib.swarm.addresses import can_reach
from xget_lib.swarm.hosts import host_of
from xget_lib.swarm.named_nodes import NamedNodes


class ClassicTracker:
    """The C clients of a master. Owned by the master's tracker of nodes."""

    def __init__(self, host: MasterHost, max_direct: int) -> None:
        """At most `max_direct` C clients are sent to the master while there is another server."""
        self._host = host
        self._redirects = Redirects(max_direct, random.Random(), self._reachable, self._may_send)
        self._named = NamedNodes()
        self._since: dict[int, float] = {}
        """By connection: when its client began to serve, in monotonic seconds."""

    def handle(self, message: ipc.Message) -> bool:
        """Act on what a worker reports of a connection. Returns False if the message is not one of ours."""
        match message:
            case messages.Redirect(connection, redirect, file):
                found = self._redirects.ask(connection, file)
                text = f"{found[0]}!{found[1]}".encode() if found else ME
                self._host.send(connection, messages.Redirected(connection, redirect, text))
            case messages.Available(connection, avail, file, port, source, source_port):
                self._available(connection, avail, file, port, (source, source_port) if source else None)
            case messages.Unavailable(connection, avail):
                self._redirects.withdraw((connection, avail))
            case messages.Taken(connection, file, True):
                self._taken(connection, self._redirects.whole(connection, file))
            case messages.Taken(connection, file):
                self._redirects.end(connection, file)
            case _:
                return False
        return True

    def _available(self, connection: int, avail: int, file: bytes, port: int, source: tuple[str, int] | None) -> None:
        address = self._host.address_of(connection)
        if not address:
            return
        if connection not in self._since:
            self._since[connection] = time.monotonic()
            LOGGER.debug("C client %s port %d: registered", address, port)
        self._redirects.serve(connection, avail, file, (address, port), source)

    def _taken(self, connection: int, source: int | None) -> None:
        """A client has all of a file, which it has taken from another one: so that one is what it says."""
        if source is not None:
            self._named.reached(source, self._host_of(source), self._host_of(connection), time.monotonic())

    def ended(self, connection: int) -> None:
        """A connection has ended, a C client's or a node's."""
        self._redirects.leave(connection)
        self._named.ended(connection)
        if self._since.pop(connection, None) is not None:
            LOGGER.debug("C client %s: unregistered", self._host.address_of(connection))

    def node(self, connection: int, address: str, port: int, *, whole: bool) -> None:
        """A node of ours serves there. `whole`: it holds everything that is distributed now."""
        if whole:
            self._redirects.add_node(connection, (address, port))
        else:
            self._redirects.remove_node(connection)

    def status(self) -> Mapping[str, list[dict[str, Any]]]:
        """The C clients that serve."""
        now = time.monotonic()
        clients = [
            {"address": address, "port": port, "files": files, "seconds": round(now - self._since[connection], 1)}
            for connection, (address, port), files in self._redirects.relays()
        ]
        return {"c_clients": clients}

    def _may_send(self, asker: int, server: int) -> bool:
        """A client connects each time that it is sent somewhere, for each file."""
        hosts = self._host_of(server), self._host_of(asker)
        return self._named.may_name(server, hosts[0], asker, hosts[1], time.monotonic(), each_time=True)

    def _host_of(self, connection: int) -> str:
        return host_of(self._host.address_of(connection))

    def _reachable(self, asker: int, server: int) -> bool:
        """The C client knows addresses of its own family only."""
        here, there = self._host.address_of(asker), self._host.address_of(server)
        return can_reach(here, there) and (":" in here) == (":" in there)

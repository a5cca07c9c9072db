"""The status page of a client and its child (`--http`): this node alone."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import gevent

from xget_lib.config import Config
from xget_lib.errors import AddressRefused
from xget_lib.net.listen import listen
from xget_lib.report import distribution
from xget_lib.report.distribution import Distribution, NodeStatus
from xget_lib.report.log import LOGGER
from xget_lib.swarm.fetch_rate import FetchRate
from xget_lib.swarm.messages import FAILED, INTERRUPTED, Registration
from xget_lib.swarm.run_totals import RunTotals

if TYPE_CHECKING:
    from xget_lib.node.node import Node
    from xget_lib.page.server import PageServer

_AGAIN = 1.0
"""Seconds to the next try, while the port is in use."""


class NodePage:
    """From begin to end of a client. That it cannot be shown is no reason not to download: the former child server of
    the destination has the port until this run is done."""

    def __init__(self, node: Node, config: Config) -> None:
        """`config.http` says where."""
        self._node = node
        self._config = config
        self._started = time.monotonic()
        self._totals = RunTotals()
        self._former: Registration | None = None
        self._rate = FetchRate()
        self._server: PageServer | None = None
        self._starting = gevent.spawn(self._start)

    def close(self) -> None:
        """Show it no more."""
        self._starting.kill()
        if self._server is not None:
            self._server.close()

    def _start(self) -> None:
        # Imported only where it is wanted: it brings a web server with it.
        from xget_lib.page import server

        assert self._config.http is not None
        host, port = self._config.http
        told = False
        while True:
            try:
                listening = listen(host, port)
                break
            except AddressRefused as error:
                if not told:
                    LOGGER.warning("no status page for now: %s", error.why)
                told = True
                gevent.sleep(_AGAIN)
        self._server = server.start(listening, self._config, self._look)

    def _look(self) -> tuple[dict[str, Any], Distribution]:
        status = dict(self._node.child.status())
        registration = self._node.registration
        self._totals.reported(self._former, registration)
        if registration.ended and (self._former is None or not self._former.ended):
            self._totals.ended[registration.ended] += 1
        self._former = registration
        now = time.monotonic()
        self._rate.reported(registration.fetched, now)
        node = node_status(registration, seconds=round(now - self._started, 1), rate=round(self._rate.rate(now)))
        known = Distribution(status["generation"] or "", status["chunks"] or 0, status["bytes"] or 0, (node,))
        return {**status, "host": os.uname().nodename, "totals": self._totals.as_json()}, known


def node_status(registration: Registration, *, seconds: float, rate: float) -> NodeStatus:
    """A node as it sees itself."""
    downloading = bool(registration.generation) and not registration.ended
    if registration.ended in (FAILED, INTERRUPTED):
        state = registration.ended
    elif registration.in_place:
        state = distribution.COMPLETE
    elif registration.ended and not registration.follows:
        state = distribution.OUTDATED
    else:
        state = distribution.DOWNLOADING if downloading else distribution.WAITING
    return NodeStatus.of("localhost", registration, state, seconds, rate=rate if downloading else 0.0)

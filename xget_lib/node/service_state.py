"""What the service manager is told of a node: how far the download is, that it is done and which process goes on, and
that this process works."""

from __future__ import annotations

import os

import gevent

from xget_lib.node.node import Node
from xget_lib.process.notify import Notifier
from xget_lib.report.events import counted, size

_MORE_SECONDS = 180.0
"""That the start may take, from each moment at which the loop works. A download without progress ends by itself
(`--timeout`, `--stall-timeout`); one whose process hangs is ended by the service manager."""


class ServiceState:
    """Owned by the background half of a client."""

    def __init__(self, notifier: Notifier, node: Node, master: str) -> None:
        """`master`: its name, for people."""
        self._notifier = notifier
        self._node = node
        self._master = master
        self._is_ready = False
        if notifier.is_wanted:
            gevent.spawn(self._tell_regularly)

    def in_place(self, *, serves_on: bool) -> None:
        """Everything that was asked for is in place. `serves_on`: this process is the service from now on."""
        self._is_ready = True
        self._notifier.ready(self._text(), main_pid=os.getpid() if serves_on else None)

    def read_credentials(self) -> None:
        """SIGHUP: the secret or the certificates may have changed."""
        if self._is_ready:
            self._notifier.reloading()
        self._node.read_credentials()
        if self._is_ready:
            self._notifier.ready(self._text())

    def stops(self) -> None:
        if self._is_ready:
            self._notifier.stopping()

    def _tell_regularly(self) -> None:
        while True:
            self._notifier.alive(self._text(), more_seconds=None if self._is_ready else _MORE_SECONDS)
            gevent.sleep(self._notifier.every)

    def _text(self) -> str:
        status = self._node.child.status()
        generation, chunks = status["generation"], status["chunks"]
        if not generation:
            return f"connecting to the master at {self._master}"
        share = 100 * status["held"] // chunks if chunks else 100
        what = f"generation {generation[:16]}: {share} % of {size(status['bytes'])}"
        if not self._is_ready:
            return f"downloading {what}"
        follows = ", follows the master" if status["follows"] else ""
        return f"serving {what}{follows}; {counted(status['connections'], 'connection')}, sent {size(status['sent'])}"

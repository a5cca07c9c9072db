"""What a child server does when its master has a new generation: update, or serve what is the same in that.

With `--follow` it updates: it does what another run of the client would do, in the process that serves. It serves the
former generation until it knows what is right of the new one, and the new one from then on. An update that fails or is
interrupted leaves every file wholly old or wholly new, and keeps its pieces for the next try.
"""

from __future__ import annotations

import random
import time
from typing import Any

import gevent

from xget_lib.errors import Exit, NotServed, UsageError, XGetError
from xget_lib.node.node import Node
from xget_lib.report.events import summary
from xget_lib.report.log import LOGGER
from xget_lib.swarm.backoff import Backoff

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
"""Seconds from a failed update to the next try; a newer generation is tried at once."""
_REBASE_WITHIN = 2.0
"""Seconds within which the children of one master ask it for the manifest; nodes that download ask at once."""
_STOP_WITHIN = 5.0
"""Seconds that an update has to end when the node is stopped."""


class Follower:
    """Follows until `end`. A bug in it ends the node's child server, so that a supervisor notices."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._backoff = Backoff(random.Random(), _FIRST_PAUSE, _LONGEST_PAUSE)
        self._task = gevent.spawn(self._follow)
        self._task.link_exception(lambda _: node.child.stop())

    def end(self) -> Exit:
        """Stop, also during an update. Returns the exit status of the node."""
        self._task.kill(timeout=_STOP_WITHIN)
        return Exit.OK if self._task.exception is None else Exit.FAILED

    def _follow(self) -> None:
        while True:
            self._node.newer.clear()
            pause = self._update() if self._node.outdated else None
            self._node.newer.wait(pause)

    def _update(self) -> float | None:
        """Try to update. Returns after how many seconds to try again where nothing newer comes; None: not at all."""
        begun = time.monotonic()
        try:
            done = self._node.update() | self._node.fetched()
        except (NotServed, UsageError) as error:
            # Only another generation can put that right.
            LOGGER.error("update failed: %s", error)
            return None
        except XGetError as error:
            pause = self._backoff.next()
            LOGGER.error("update failed: %s; trying again in %.1f s", error, pause)
            return pause
        self._backoff.reset()
        _log_update(done | {"seconds": time.monotonic() - begun})
        for failure in self._node.failures:
            for line in failure.lines:
                LOGGER.error("%s", line)
        return None


def _log_update(done: dict[str, Any]) -> None:
    LOGGER.info("updated to generation %s: %s", done["generation"][:16], summary(done).removeprefix("xget: "))
    for note in done["notes"]:
        LOGGER.info("%s", note)


def rebase(node: Node) -> None:
    """Without `--follow`: serve what is the same in each new generation, for ever.

    The files stay as they are, and most of them are in the new generation too. A node that downloads it gets these
    from here as from any peer.
    """
    while True:
        node.newer.wait()
        gevent.sleep(random.uniform(0, _REBASE_WITHIN))
        try:
            node.rebase()
        except XGetError as error:
            LOGGER.info("cannot serve the new generation: %s", error)

"""`--follow`: a node that stays, and gets each new generation as soon as the master names it.

The news come on the connection that a node keeps to its master anyway, so following costs nothing while nothing
changes. An update is what another run of the client would do, in the process that serves: it goes on serving the former
generation until it knows what is right of the new one, and that from then on. An update that fails, or is cut short,
leaves every file wholly old or wholly new and its pieces for the next try.
"""

from __future__ import annotations

import time
from typing import Any

import gevent

from xget_lib.errors import Exit, NotServed, UsageError, XGetError
from xget_lib.node.node import Node
from xget_lib.report.events import summary
from xget_lib.report.log import LOGGER

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
"""Seconds after a failed update; each further pause is twice as long. A newer generation ends it."""
_PARTING = 5.0
"""Seconds that an update has to end when the node is told to."""


class Follower:
    """Follows until `end`. A bug in it ends the node's child server: whoever started it should know."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pause = _FIRST_PAUSE
        self._task = gevent.spawn(self._follow)
        self._task.link_exception(lambda _: node.child.stop())

    def end(self) -> Exit:
        """Stop, also in the midst of an update; the exit status of the node."""
        self._task.kill(timeout=_PARTING)
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
            # Only another generation can mend that.
            LOGGER.error("not updated: %s", error)
            return None
        except XGetError as error:
            pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
            LOGGER.error("not updated: %s; trying again in %.0f s", error, pause)
            return pause
        self._pause = _FIRST_PAUSE
        _say(done | {"seconds": time.monotonic() - begun})
        if self._node.incomplete is not None:
            LOGGER.error("%s", self._node.incomplete)
        return None


def _say(done: dict[str, Any]) -> None:
    LOGGER.info("updated to generation %s: %s", done["generation"][:16], summary(done).removeprefix("xget: "))
    for note in done["notes"]:
        LOGGER.info("%s", note)

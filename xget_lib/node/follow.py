"""What a child server does when its master has a new generation: update, or serve what has not changed.

With `--follow` it updates: it does what another run of the client would do, in the process that serves. It serves the
former generation until it knows what is right of the new one, and the new one from then on. An update that fails or is
interrupted leaves every file wholly old or wholly new, and keeps its pieces for the next try. What the destination
refuses is tried again too, after pauses that grow, and is logged when it changes.
"""

from __future__ import annotations

import random
import time
from typing import Any

import gevent

from xget_lib.errors import Exit, NotServed, NotTrusted, UsageError, XGetError
from xget_lib.node.node import Node
from xget_lib.report.events import summary
from xget_lib.report.log import LOGGER
from xget_lib.swarm.backoff import Backoff

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
"""Seconds from a failed update to the next try; a newer generation is tried at once."""
_LONGEST_PAUSE_REFUSED = 600.0
"""Seconds from an update of which the destination refused a part to the next try, which may fetch that part again."""
_REBASE_WITHIN = 2.0
"""Seconds within which the children of one master ask it for the manifest; nodes that download ask at once."""
_STOP_WITHIN = 5.0
"""Seconds that an update has to end when the node is stopped."""


class Follower:
    """Updates the destination until `end`. If a bug ends it, the child server ends too: a supervisor notices that."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._backoff = Backoff(random.Random(), _FIRST_PAUSE, _LONGEST_PAUSE)
        self._backoff_refused = Backoff(random.Random(), _FIRST_PAUSE, _LONGEST_PAUSE_REFUSED)
        self._told: tuple[str, list[str]] = "", []
        """The generation of the last update, and what could not be done, as it was logged."""
        self._task = gevent.spawn(self._follow)
        self._vital = [each for each in (self._task, node.hearing) if each is not None]
        for each in self._vital:
            each.link_exception(lambda _: node.child.stop())

    def end(self) -> Exit:
        """Stop, also during an update. Returns the exit status of the node."""
        self._task.kill(timeout=_STOP_WITHIN)
        return Exit.FAILED if any(each.exception for each in self._vital) else Exit.OK

    def _follow(self) -> None:
        tries_again, pause = False, self._pause_if_refused()
        while True:
            self._node.newer.clear()
            if self._node.outdated or tries_again:
                pause = self._update()
            self._node.newer.wait(pause)
            tries_again = bool(self._node.refused)

    def _pause_if_refused(self) -> float | None:
        """After how many seconds to try again what the destination refused; None: nothing was refused."""
        if self._node.refused:
            return self._backoff_refused.next()
        self._backoff_refused.reset()
        return None

    def _update(self) -> float | None:
        """Try to update. Returns the seconds until the next try; None: wait for a newer generation."""
        begun = time.monotonic()
        try:
            done = self._node.update() | self._node.fetched()
        except (NotServed, NotTrusted, UsageError) as error:
            # Only another generation, or another signature, can help.
            LOGGER.error("update failed: %s", error)
            return None
        except XGetError as error:
            pause = self._backoff.next()
            LOGGER.error("update failed: %s; trying again in %.1f s", error, pause)
            return pause
        self._backoff.reset()
        told = done["generation"], [line for failure in self._node.failures for line in failure.lines]
        if told != self._told:
            self._told = told
            _log_update(done | {"seconds": time.monotonic() - begun})
            for line in told[1]:
                LOGGER.error("%s", line)
        return self._pause_if_refused()


def _log_update(done: dict[str, Any]) -> None:
    LOGGER.info("updated to generation %s: %s", done["generation"][:16], summary(done).removeprefix("xget: "))
    for note in done["notes"]:
        LOGGER.info("%s", note)


def rebase(node: Node) -> None:
    """Without `--follow`: serve what has not changed in each new generation, forever.

    The files stay as they are, and most of them are in the new generation too. Nodes that download it can get these
    files from here.
    """
    while True:
        node.newer.wait()
        gevent.sleep(random.uniform(0, _REBASE_WITHIN))
        try:
            node.rebase()
        except XGetError as error:
            LOGGER.info("cannot serve the new generation: %s", error)

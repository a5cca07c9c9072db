"""When a node that waits for others gives up.

The master that does not answer ends a run after --timeout. Where it answers, and nevertheless nothing comes, the run
ends after --stall-timeout. Progress is content, or bytes of the manifest at a minimum rate: any byte is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import gevent
from gevent.event import AsyncResult

from xget_lib.dataclass import dataclass
from xget_lib.errors import Stalled
from xget_lib.node.master_link import MasterLink
from xget_lib.node.waits import Waits

CHECK_EVERY = 0.5
"""Seconds between two checks."""
_PROBE_EVERY = 5.0
"""Seconds between two questions whether the master still answers; with a short time-out, a quarter of that."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """All state is in the `MasterLink` and the `Waits`. Times are in seconds."""

    master: MasterLink
    waits: Waits
    timeout: float
    stall_timeout: float

    def check(self, missing: Callable[[], str], asked: Callable[[], str] | None = None) -> None:
        """To be called again and again while something is waited for. `missing` says what, `asked` whom; without
        `asked`, only the master. Raises MasterUnreachable, Stalled, NotAdmitted."""
        master = self.master
        if master.distrusted is not None:
            raise master.distrusted
        pause = min(_PROBE_EVERY, self.timeout / 4, self.stall_timeout / 4)
        master.probe(pause)
        if master.silent > pause:
            master.renew(self.timeout)
        if min(self.waits.seconds, master.silent) > self.timeout:
            raise master.unreachable()
        if master.is_silent:
            self.waits.postpone()  # it has a time of its own, and a new chance when it answers again
        elif self.waits.stalled > self.stall_timeout and not master.silent:  # no question is without an answer
            if master.content_refusal is not None:
                raise master.content_refusal
            raise Stalled(self.waits.stalled, missing(), asked() if asked else master.name_and_trouble)

    def run(self, task: Callable[[], _T], what: str) -> _T:
        """Run a task that waits for the master, and check meanwhile. Returns and raises what the task does. Raises
        MasterUnreachable, Stalled, and ends the task then."""
        outcome: AsyncResult[_T] = AsyncResult()

        def call() -> None:
            try:
                outcome.set(task())
            except Exception as error:
                outcome.set_exception(error)

        running = gevent.spawn(call)
        try:
            while not outcome.ready():
                outcome.wait(CHECK_EVERY)
                if not outcome.ready():
                    self.check(lambda: what)
            return cast(_T, outcome.get())
        finally:
            running.kill()

"""What is waited for, as a line: what, from whom, since when, and what happens next.

After five seconds without progress one line is told, then at most one a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from xget_lib.dataclass import dataclass

FIRST = 5.0
"""Seconds without progress after which the first line is told."""
APART = 60.0
"""Seconds between two lines, at least."""


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that is waited for, as it stands now."""

    what: str
    whom: str
    then: str
    """What happens next."""
    why: str = ""
    """Why it is not there yet, if that is known."""

    def line(self, seconds: float) -> str:
        since = time.strftime("%H:%M:%S", time.localtime(time.time() - seconds))
        why = f": {self.why}" if self.why else ""
        return f"waiting for {self.what} from {self.whom} for {seconds:.0f} s (since {since}){why}; {self.then}"


class WaitLines:
    """The lines of a command that waits for one thing, from now on. `tell` gets each."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._begun = time.monotonic()
        self._next = self._begun + FIRST

    def look(self, wait: Wait) -> None:
        """Tell what is waited for, if it is time to. To be called again and again."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + APART
            self._tell(wait.line(now - self._begun))

"""What a fault is: a row of the table that says what it does, to whom, and which exit statuses it explains."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from test.faults.run import Run

MASTER = "master"


@dataclass(frozen=True)
class Excuse:
    """What a client may say because of a fault, instead of success."""

    statuses: frozenset[int] = frozenset()
    words: str = ""
    """A regular expression that the client's error must contain."""
    everywhere: bool = False
    """Whether all clients have this excuse, or only the client that the fault strikes."""
    longer_than_timeout: bool = False
    """Whether it is an excuse only if the fault lasts for as long as the client's --timeout."""

    def covers(self, status: int, said: str) -> bool:
        return status in self.statuses and re.search(self.words, said, re.IGNORECASE) is not None


NO_EXCUSE = Excuse()


@dataclass(frozen=True)
class Strike:
    """One fault of a case: plain data."""

    fault: str
    """The name of a row of the table."""
    target: str
    """`master`, or the name of a client."""
    at: float
    """When it begins: in parts of the time that the same run takes without faults."""
    seconds: float
    """How long it lasts, if it ends."""

    def __str__(self) -> str:
        return f"{self.fault} ({self.target}, at {self.at:.2f}, {self.seconds:.1f} s)"


Act = Callable[["Run", Strike], bool]
"""Carries out a strike, and returns when it is over. Returns whether there was something to strike."""


@dataclass(frozen=True)
class Fault:
    """A row of the table. A fault with `ends` is over when `act` returns; another lasts until the end of the run."""

    does: str
    act: Act
    target: str
    """`master`, `client`, or `any`."""
    _: KW_ONLY
    ends: bool = False
    needs: str = ""
    """What must be prepared for the client that it strikes, see `members.Node`."""
    from_start: bool = False
    """Whether that is all, so that it is there from the start."""
    weight: float = 1.0
    excuse: Excuse = NO_EXCUSE
    hides_master: bool = False
    """Whether it keeps the target from the master's bytes."""
    exempt: bool = False
    """Whether nothing is asked of the client that it strikes, but that it leaves no wrong byte and no process."""
    spoils_dest: bool = False
    """Whether it takes the destination away."""


class Struck:
    """A strike that is being carried out, or was. Times are seconds since the epoch."""

    def __init__(self, strike: Strike, began: float) -> None:
        self.strike = strike
        self.began = began
        self.over: float | None = None
        """None while it lasts."""
        self.hit = False
        """Whether there was something to strike."""
        self.thread: threading.Thread | None = None

    def overlaps(self, begin: float, end: float) -> bool:
        return self.hit and self.began <= end and (self.over is None or self.over >= begin)

    def lasted(self, until: float) -> float:
        return (min(self.over, until) if self.over is not None else until) - self.began

    def __str__(self) -> str:
        over = "for good" if self.over is None else f"for {self.over - self.began:.1f} s"
        return f"{self.strike.fault} of {self.strike.target} {over}" + ("" if self.hit else " (too late)")

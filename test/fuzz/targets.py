"""The targets, and what part of all messages each gets."""

from __future__ import annotations

import gc
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from typing import Protocol

from test.fuzz.choices import Choices

PARTS = {"server": 0.5, "master": 0.2, "client": 0.12, "codec": 0.1, "texts": 0.06, "connection": 0.02}
_MODULES = {"master": "server"}
_CLOSES = 2.0
"""Seconds in which a thread closes what it has just open. What hangs in a circle is collected before it counts as left
open; it is no leak, only late."""
LONGEST = 60
"""Seconds in which a case must be done."""


class Stuck(BaseException):
    """A case takes too long. No Exception, and so no OSError: nothing that is being tried may take it for its own."""


class Target(Protocol):
    """Something that strangers speak to."""

    @property
    def name(self) -> str: ...

    def run(self, choices: Choices, log: list[str] | None = None) -> int:
        """One case from begin to end; how many messages were said. What is wrong is raised; `log` gets what was said.

        Whatever a case is, is decided by `choices`.
        """

    def rest(self) -> None:
        """Between cases: gives up what is kept for the next one, so that what is still open is seen."""


def target(name: str) -> AbstractContextManager[Target]:
    """The target of that name, made ready for as long as the `with` lasts. Imported now: not all need gevent."""
    make: Callable[[], AbstractContextManager[Target]] = getattr(
        import_module(f"test.fuzz.{_MODULES.get(name, name)}"), name
    )
    return make()


def play(played: Target, choices: Choices, log: list[str] | None = None) -> int:
    """One case; how many messages it had. Raises what is wrong, a descriptor that is left open among it."""
    before = opened()
    with in_time(LONGEST):
        messages = played.run(choices, log)
        played.rest()
    deadline = time.monotonic() + _CLOSES
    while (left := opened() - before) and time.monotonic() < deadline:
        time.sleep(0.001)
        gc.collect()
        played.rest()
    assert not left, f"left open: {dict(left)}"
    return messages


def opened() -> Counter[str]:
    """What this process has open, by what it is; descriptors of one kind of thing are counted."""
    found: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself
            found[re.sub(r"\[\d+\]", "", os.readlink(f"/proc/self/fd/{number}"))] += 1
    return found


@contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """Raises Stuck inside when it takes longer."""

    def late(number: int, frame: object) -> None:
        raise Stuck(f"not done in {seconds} s")

    former = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


@contextmanager
def prepared(names: list[str]) -> Iterator[dict[str, Target]]:
    """Several targets, made ready."""
    if not names:
        yield {}
        return
    with target(names[0]) as first, prepared(names[1:]) as others:
        yield {names[0]: first, **others}

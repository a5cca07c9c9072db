"""Commands to a master from its own machine: each becomes an event, and its answer is sent when the master has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gevent.event import AsyncResult

from xget_lib.dataclass import dataclass, field
from xget_lib.net.local_commands import UNKNOWN, stopping

_SIGN_EVERY = 2.0
"""Seconds between two lines for a client that waits for its answer."""


@dataclass(eq=False)
class Reload:
    """`xget.py reload`: scan now. `force`: publish whatever is there."""

    force: bool
    former: bytes = b""
    """The generation that was served when it came."""
    credentials_problem: str = ""
    """Why the secret or the certificates stay as they were, if their files cannot be used."""
    answer: AsyncResult[dict[str, Any]] = field(default_factory=AsyncResult)


def perform(
    command: Any, act: Callable[[Reload], None], status: Callable[[], dict[str, Any]], stop: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """The lines that answer a command (`net.local_commands`). `act` is called with a reload, and must set its answer
    some time."""
    match command:
        case {"command": "reload", "force": bool(force)}:
            reload = Reload(force)
            act(reload)
            while not reload.answer.ready():
                yield {"working": "the master is scanning"}
                reload.answer.wait(_SIGN_EVERY)
            answer = reload.answer.get()
            assert answer is not None
            yield answer
        case {"command": "status"}:
            yield status()
        case {"command": "stop"}:
            yield from stopping(stop)
        case _:
            yield UNKNOWN

"""Targets: a server's sessions over its real trees, and strangers who speak every dialect to them.

`server` has a backend that only records: so nothing but session and trees takes time, and most messages go here.
`master` has the backends of a real worker and the tracker of a real master behind them, for several strangers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from test.fuzz.choices import Choices
from test.fuzz.conversation import Conversation
from test.fuzz.grounds import Grounds, grounds
from test.fuzz.speech import Speaker
from xget_lib.ninep.dialect import DIALECTS
from xget_lib.ninep.session import Session
from xget_lib.serve.attach import Attach

MESSAGES_LIMIT = 400
"""Messages in a case of one stranger; most have fewer."""


class Guest(Protocol):
    """What a server keeps for one connection beside its session."""

    @property
    def attach(self) -> Attach: ...

    def meet(self, session: Session) -> None:
        """This is the guest's session; it is asked again for what waits when something has happened."""

    def happen(self) -> None:
        """Something for which reads may wait."""

    def end(self) -> None:
        """The session is closed: nothing is kept for it any more."""


class Server:
    """The target. `run` is one case: conversations from begin to end, with at most so many strangers."""

    def __init__(self, name: str, served: Grounds, guest: Callable[[Choices], Guest], strangers: int) -> None:
        self.name = name
        self._grounds = served
        self._guest = guest
        self._strangers = strangers

    def run(self, choices: Choices, log: list[str] | None = None) -> int:
        """How many messages were said. Raises AssertionError, or what the session should not have raised."""
        strangers = [self._come(choices, log) for _ in range(1 + choices.below(self._strangers))]
        limit = len(strangers) * (1 + choices.below(MESSAGES_LIMIT))
        messages = 0
        while strangers and messages < limit and not choices.exhausted:
            guest, conversation = choices.pick(strangers)
            before = conversation.messages
            if not self._go_on(choices, guest, conversation):
                strangers.remove((guest, conversation))
                self._part(guest, conversation, goes_on=False)
            messages += conversation.messages - before
        for guest, conversation in strangers:
            self._part(guest, conversation, goes_on=True)
        return messages

    def _come(self, choices: Choices, log: list[str] | None) -> tuple[Guest, Conversation]:
        surroundings = choices.pick(self._grounds.surroundings)
        anames = [each.aname for each in self._grounds.surroundings]
        speaker = Speaker(choices, choices.pick(tuple(DIALECTS)), surroundings, anames)
        guest = self._guest(choices)
        conversation = Conversation(choices, speaker, guest.attach)
        conversation.log = log
        guest.meet(conversation.session)
        return guest, conversation

    def _go_on(self, choices: Choices, guest: Guest, conversation: Conversation) -> bool:
        if not conversation.messages and choices.chance(0.97):
            return conversation.begin()
        goes_on = conversation.say(choices.pick((1, 1, 1, 1, 2, 3, 8)))
        if choices.chance(0.1):
            guest.happen()
        conversation.hear(1 if choices.chance(0.2) else 1000)
        return goes_on

    def _part(self, guest: Guest, conversation: Conversation, *, goes_on: bool) -> None:
        conversation.end(goes_on)
        guest.end()

    def rest(self) -> None:
        self._grounds.rest()


@contextmanager
def server() -> Iterator[Server]:
    with grounds() as served:
        yield Server("server", served, served.guest, 1)


@contextmanager
def master() -> Iterator[Server]:
    # Brings gevent, which only this target needs.
    from test.fuzz.master import Master

    with grounds() as served:
        yield Server("master", served, Master(served).guest, 4)

"""Holds each new client back until what the master serves is as new as the client's arrival.

So a client never downloads a generation that was outdated when it started. It waits for nothing if nothing happened
since the last scan: a worker that watches the directory answers that within a millisecond, once for all clients that
have arrived by then. Otherwise one scan that begins now is good for all clients that arrived before it began.

Pure: the master carries out what `check_wanted` and `scan_wanted` ask for, and calls a method for each thing that
happens. A client is a connection, or anything else that waits for a scan.
"""

from __future__ import annotations

from typing import Generic, TypeVar

C = TypeVar("C")


class Arrivals(Generic[C]):
    """The clients that wait for the master. Owned by it."""

    def __init__(self) -> None:
        self._begun = 0
        """Scans that have begun,"""
        self._ended = 0
        """and ended."""
        self._changed = True
        """Whether something may have changed since the last scan began."""
        self._unchecked: set[C] = set()
        """Clients that arrived since the last check began."""
        self._checking: set[C] | None = None
        """Clients that the check is for; None while there is none."""
        self._waiting: dict[C, int] = {}
        """Client -> the number of the scan that it waits for."""
        self._wanted = 0
        """The last scan that anybody waits for."""
        self._admitted: list[C] = []

    @property
    def check_wanted(self) -> bool:
        """Whether to ask now if something changed in the directory. `check_begun`, or `changed`, must follow."""
        return bool(self._unchecked) and self._checking is None

    @property
    def scan_wanted(self) -> bool:
        """Whether clients wait for a scan that has not begun."""
        return self._wanted > self._begun

    @property
    def waiting(self) -> list[C]:
        """The clients that wait for a scan."""
        return list(self._waiting)

    # What happens.

    def arrived(self, client: C) -> None:
        """A client needs a generation that is not older than this moment."""
        self._unchecked.add(client)
        if self._changed:
            self._decide(self._unchecked)
            self._unchecked = set()

    def arrived_for_scan(self, client: C) -> None:
        """A client wants a scan that begins now, whether something changed or not."""
        self._wait(client, self._begun + 1)

    def left(self, client: C) -> None:
        """A client is gone."""
        self._unchecked.discard(client)
        if self._checking is not None:
            self._checking.discard(client)
        self._waiting.pop(client, None)

    def changed(self) -> None:
        """Something may have changed in the directory, now or before, or nobody watches it."""
        self._changed = True
        self._decide(self._unchecked)
        self._unchecked = set()

    def check_begun(self) -> None:
        """The master asks if something changed."""
        self._checking, self._unchecked = self._unchecked, set()

    def checked(self, changed: bool) -> None:
        """The answer. Also call it with True if there will be none."""
        clients, self._checking = self._checking or set(), None
        if changed:
            self.changed()
        self._decide(clients)

    def scan_begun(self) -> None:
        self._begun += 1
        self._changed = False

    def scan_ended(self) -> None:
        """The result, if there is one, is published."""
        self._ended = self._begun
        self._admitted += [client for client, number in self._waiting.items() if number <= self._ended]
        self._waiting = {client: number for client, number in self._waiting.items() if number > self._ended}

    def admit(self) -> list[C]:
        """The clients that need not wait any longer. They are forgotten."""
        admitted, self._admitted = self._admitted, []
        return admitted

    def _decide(self, clients: set[C]) -> None:
        """These clients wait for the last scan that began, or for the next one if something changed since."""
        for client in clients:
            self._wait(client, self._begun + self._changed)

    def _wait(self, client: C, number: int) -> None:
        if number <= self._ended:
            self._admitted.append(client)
        else:
            self._waiting[client] = number
            self._wanted = max(self._wanted, number)

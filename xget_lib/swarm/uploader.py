"""What a node decides as a server: which reader gets an upload slot, and when others hear how much the node holds.

It shares no state with the `Downloader` of the node. An event is a method that returns the actions to carry out; times
are monotonic seconds.
"""

from __future__ import annotations

from math import inf

from xget_lib.swarm.actions import Announce, GrantUploadSlot, SendRegistration, UploadAction
from xget_lib.swarm.announcement_pace import AnnouncementPace
from xget_lib.swarm.tuning import Tuning
from xget_lib.swarm.upload_slots import UploadSlots

_CHECK_EVERY = 0.25
"""Seconds between two checks for slots that have expired, while a reader waits."""


class Uploader:
    """One for the whole life of a node, for all generations that it serves. Owned by its child server."""

    def __init__(self, tuning: Tuning, now: float) -> None:
        self._slots: UploadSlots[int] = UploadSlots(tuning.uploads)
        self._announcements = AnnouncementPace(tuning.have_chunks, tuning.have_least, tuning.have_most)
        self._registrations = AnnouncementPace(0.0, tuning.register_pause, tuning.register_pause)
        self._registrations.announced(now)
        self._early_after = tuning.register_early
        self._early = -inf
        """When the master is to know the rate at which the generation is fetched, if that is still to come."""
        self._generation = b""
        self._next_check = inf

    @property
    def next_tick(self) -> float:
        """When `tick` is to be called at the latest."""
        return min(self._next_check, self._announcements.due, self._registrations.due)

    def slot_requested(self, key: int, host: str, now: float) -> list[UploadAction]:
        """A reader on a host requests an upload slot; the one that it had was used."""
        self._slots.request(key, host, now)
        return self.tick(now)

    def slot_ended(self, key: int, now: float) -> list[UploadAction]:
        """A reader passes its upload slot, or is gone."""
        self._slots.end(key, now)
        return self.tick(now)

    def serves(self, generation: bytes, held: int, now: float) -> list[UploadAction]:
        """The node serves `held` chunks of a generation from now on. It registers a new generation at once, except its
        first one while it holds nothing of it."""
        if generation != self._generation and (held or self._generation):
            self._registrations.hurry(now)
        else:
            self._registrations.changed(now)
        if generation != self._generation:
            self._early = now + self._early_after
            self._registrations.by(self._early)
        self._generation = generation
        self._announcements.restart()
        return self.tick(now)

    def held_changed(self, now: float) -> list[UploadAction]:
        """The node holds more chunks than before, or less."""
        self._announcements.changed(now)
        self._registrations.changed(now)
        return self.tick(now)

    def completed(self, now: float) -> list[UploadAction]:
        """The node holds everything that it downloads: it registers at once."""
        self._registrations.hurry(now)
        return self.tick(now)

    def tick(self, now: float) -> list[UploadAction]:
        """Time has passed. To be called at `next_tick`; earlier or later does no harm."""
        actions: list[UploadAction] = [GrantUploadSlot(key) for key in self._slots.grant(now)]
        self._next_check = now + _CHECK_EVERY if self._slots.waiting else inf
        if now >= self._announcements.due:
            self._announcements.announced(now)
            actions.append(Announce())
        if now >= self._registrations.due:
            self._registrations.announced(now)
            if now < self._early:
                self._registrations.by(self._early)
            actions.append(SendRegistration())
        return actions

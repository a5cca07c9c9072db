"""A site with MUNGE in memory: `ninep.auth.Munge` without a daemon. What it decodes waits until the test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from xget_lib.errors import MungeRefused

OnDecoded = Callable[[tuple[int, bytes] | Exception], None]


@dataclass
class Site:
    """What all machines of a site share: the credentials, by their text."""

    made: dict[bytes, tuple[int, int, bytes]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)


@dataclass
class FakeMunge:
    """A process of one user on a machine of the site."""

    site: Site
    uid: int = 1000
    users: tuple[int, ...] = (0, 1000)
    waits: bool = False
    """Whether `answer` is to be called for each credential."""
    waiting: list[Callable[[], None]] = field(default_factory=list)

    def allows(self, uid: int) -> bool:
        return uid in self.users

    def encode(self, payload: bytes, for_uid: int) -> bytes:
        credential = b"MUNGE:%04d:" % next(self.site.numbers)
        self.site.made[credential] = self.uid, for_uid, payload
        return credential

    def decode(self, credential: bytes, on_decoded: OnDecoded) -> None:
        def answer() -> None:
            uid, for_uid, payload = self.site.made.pop(credential, (0, -1, b""))
            on_decoded((uid, payload) if for_uid == self.uid else MungeRefused("Unauthorized credential"))

        if self.waits:
            self.waiting.append(answer)
        else:
            answer()

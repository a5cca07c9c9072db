"""A file and the way to it, as walk(5) needs it: ".." is where the client came from.

Fids that were walked to from another one share the way with it. Each part of a way counts its users, so that the memory
of a client's fids can be counted exactly.
"""

from __future__ import annotations

import errno

from xget_lib.dataclass import dataclass
from xget_lib.errors import NinepError
from xget_lib.ninep.file import File
from xget_lib.ninep.wire import QTDIR

NOT_A_DIRECTORY = (errno.ENOTDIR, "not a directory")
ILLEGAL_NAME = (errno.ENOENT, "illegal path element")


@dataclass(slots=True, eq=False)
class WalkedFile:
    """A file and the way to it, for walks to "..". Fids that were walked to from another share the way with it."""

    file: File
    parent: WalkedFile | None
    users: int = 0
    """How many fids stand for this file, and how many files that have any were walked to from it."""

    @property
    def is_directory(self) -> bool:
        return bool(self.file.qid.type & QTDIR)

    def step(self, name: str) -> WalkedFile:
        """One element of a walk. At the root ".." stays there: walk(5)."""
        if not self.is_directory:
            raise NinepError(*NOT_A_DIRECTORY)
        if name == "..":
            return self.parent or self
        if name in ("", ".") or "/" in name:
            raise NinepError(*ILLEGAL_NAME)
        return WalkedFile(self.file.walk(name), self)

    def unused(self) -> int:
        """How many files of the way have no users yet, this one included."""
        number, walked = 0, self
        while not walked.users:
            number += 1
            if walked.parent is None:
                break
            walked = walked.parent
        return number

    def use(self) -> None:
        """One more fid stands for this."""
        walked: WalkedFile | None = self
        while walked is not None:
            walked.users += 1
            walked = walked.parent if walked.users == 1 else None

    def release(self) -> int:
        """One fid less stands for this. Returns how many files have no users any more."""
        number = 0
        walked: WalkedFile | None = self
        while walked is not None:
            walked.users -= 1
            if walked.users:
                break
            number += 1
            walked = walked.parent
        return number

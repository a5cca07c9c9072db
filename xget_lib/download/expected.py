"""What metadata of the manifest means on this machine."""

from __future__ import annotations

import os

from xget_lib.dataclass import dataclass
from xget_lib.manifest.entry import Xattrs


@dataclass(frozen=True, slots=True)
class Target:
    """What an EntryMetadata of the manifest means on this machine, as far as this process can set it."""

    owner: tuple[int, int]
    mode: int
    xattrs: Xattrs


@dataclass(frozen=True, slots=True)
class Expected:
    """The metadata, except the time, of a regular file that needs no change. None: any value is right."""

    mode: int | None
    """With the file type."""
    owner: tuple[int, int] | None
    xattrs: Xattrs
    trusted: tuple[int, int]
    """The users of which one owns a file whose content may be accepted by size and time."""
    not_preserved: tuple[int, int] | None = None
    """The owner that a file should have, where this process cannot set it."""

    def fits(self, status: os.stat_result) -> bool:
        """Compares mode and owner; a stat does not show extended attributes."""
        if self.mode is not None and status.st_mode != self.mode:
            return False
        if self.owner is None:
            return status.st_uid in self.trusted
        return (status.st_uid, status.st_gid) == self.owner

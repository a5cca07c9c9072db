"""The destination of a download, and what it is to become."""

from __future__ import annotations

import os
from dataclasses import dataclass

from xget_lib.download.last_run import LastRun
from xget_lib.download.metadata import Metadata
from xget_lib.fs.rooted import Root
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection


@dataclass(frozen=True)
class Destination:
    """Shared by all that read or change one destination. Made by a download or a dry run, which closes `root`."""

    root: Root
    manifest: Manifest
    selection: Selection
    metadata: Metadata
    delete: bool
    """Whether to remove what the master does not have, and what is in the way."""
    last_run: LastRun | None = None
    """What the last run left here, if that is known."""

    def is_as_left(self, entry: int, path: bytes, status: os.stat_result | None) -> bool:
        """Whether what is at a path (its stat; None for nothing) is as near to an entry as the last run got."""
        return self.last_run is not None and self.last_run.is_as_left(entry, path, status)

    def has_changed(self, file: int) -> bool:
        """Whether the last run left a file with other content than it is to have now: size and time mean nothing."""
        return self.last_run is not None and self.last_run.has_changed(file)

    def status(self, path: bytes) -> os.stat_result | None:
        """What is at a path; None for nothing, also where its directory is missing or no directory. Raises OSError."""
        try:
            return self.root.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

"""The destination of a download: the directory, and the manifest and selection that it shall match."""

from __future__ import annotations

import os
from dataclasses import dataclass

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
    """Whether --delete is given: see `delete`."""

    def status(self, path: bytes) -> os.stat_result | None:
        """What is at a path; None if nothing is, or if its directory does not exist or is none. Raises OSError."""
        try:
            return self.root.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

"""The destination of a download: the directory, and the manifest and selection that it shall match."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from functools import cached_property

from xget_lib.download.metadata import Metadata
from xget_lib.download.refusal import Refusals
from xget_lib.download.workplaces import Workplaces
from xget_lib.errors import printable
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

    @cached_property
    def refusals(self) -> Refusals:
        """What it refused in this run."""
        return Refusals(self.root.path)

    @cached_property
    def workplaces(self) -> Workplaces:
        """Where parts are made."""
        return Workplaces(self.root.path)

    def refuse_links(self, file: int) -> None:
        """A file was refused, and so its further names are."""
        path = self.selection.file_dest_path(file)
        for link in self.selection.other_dest_paths(file):
            if not self.refusals.covers(link):
                why = f"is another name of {printable(path)}, which was refused"
                self.refusals.add(link, OSError(errno.ENOENT, why))

    def status(self, path: bytes) -> os.stat_result | None:
        """What is at a path; None if nothing is, or if its directory does not exist or is none. Raises OSError."""
        try:
            return self.root.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

"""The destination of a download: the directory, and the manifest and selection that it shall match."""

from __future__ import annotations

import errno
import os
from functools import cached_property

from xget_lib.dataclass import dataclass, replace
from xget_lib.download.access import Access
from xget_lib.download.folding import collisions, same_names
from xget_lib.download.last_run import LastRun
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
    last_run: LastRun | None = None
    """What the last run left here, if that is known."""

    @cached_property
    def refusals(self) -> Refusals:
        """What it refused in this run."""
        return Refusals(self.root.path)

    @cached_property
    def workplaces(self) -> Workplaces:
        """Where parts are made."""
        return Workplaces(self.root.path)

    @cached_property
    def access(self) -> Access:
        """What it would refuse."""
        return Access(self.root, self.workplaces)

    def select(self, selection: Selection) -> Destination:
        """The same destination with another selection. Both share what is learned of it."""
        made = replace(self, selection=selection)
        vars(made).update(refusals=self.refusals, workplaces=self.workplaces, access=self.access)
        return made

    def without_collisions(self, *, may_write: bool, exists: bool = True) -> Destination:
        """Without what cannot be here because another selected entry has its name (`folding`): that is refused.

        `may_write`: the staging directory is there. `exists`: so is the destination. Raises OSError.
        """
        root = self.root if exists else None
        same = same_names(self.root.path, root, self.manifest, self.selection, may_write=may_write)
        if not same:
            return self
        for path, why in collisions(self.selection, same):
            self.refusals.add(path, OSError(errno.ENOTUNIQ, why))
        return self.select(self.selection.without(same))

    def refuse_links(self, file: int) -> None:
        """A file was refused, and so its further names are."""
        path = self.selection.file_dest_path(file)
        for link in self.selection.other_dest_paths(file):
            if not self.refusals.covers(link):
                why = f"is another name of {printable(path)}, which was refused"
                self.refusals.add(link, OSError(errno.ENOENT, why))

    def is_as_left(self, entry: int, path: bytes, status: os.stat_result | None) -> bool:
        """Whether what is at a path (its stat; None for nothing) is as near to an entry as the last run got."""
        return self.last_run is not None and self.last_run.is_as_left(entry, path, status)

    def has_changed(self, file: int) -> bool:
        """Whether an earlier run left a file with other content than it is to have now: size and time mean nothing."""
        return self.last_run is not None and self.last_run.has_changed(file)

    def is_left(self, file: int, status: os.stat_result) -> bool:
        """Whether a file is the one that an earlier run left, as far as is known. Else size and time mean nothing."""
        return self.last_run is None or self.last_run.is_left(file, status)

    def status(self, path: bytes) -> os.stat_result | None:
        """What is at a path; None if nothing is, or if its directory does not exist or is none. Raises OSError."""
        try:
            return self.root.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

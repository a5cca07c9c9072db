"""What a run with `--delete` removes: counted before anything is fetched, removed when everything else is in place."""

from __future__ import annotations

import errno

from xget_lib.config import DeleteLimit
from xget_lib.download.delete import Surplus, cannot_make_way, note_what_stays
from xget_lib.download.destination import Destination
from xget_lib.download.directories import Directories
from xget_lib.download.plan import FileDecision, Planner
from xget_lib.download.progress import Progress
from xget_lib.errors import TooManyRemovals


class Removals:
    """Decides whether a run may remove, and does it. Owned by a download; for one thread, except for `adds`."""

    def __init__(
        self, dest: Destination, planner: Planner, directories: Directories, progress: Progress, limit: DeleteLimit
    ) -> None:
        self.error: TooManyRemovals | None = None
        """Where it would be more than the limit. Then nothing is removed."""
        self._dest = dest
        self._planner = planner
        self._directories = directories
        self._remover = directories.remover
        self._progress = progress
        self._limit = limit
        self._surplus: Surplus | None = None
        self._clearing: list[FileDecision] = []

    def adds(self, decision: FileDecision) -> None:
        """A file will replace a directory. In any thread."""
        self._clearing.append(decision)

    def plan(self) -> None:
        """Counts. To be called when every file has been inspected, and nothing was put in place. Raises OSError.

        Files that would replace a directory are refused where nothing may be removed.
        """
        found = self._surplus = self._planner.surplus()
        there = found.there - self._directories.made
        if self._limit.allows(found.names, there, found.wanted):
            return
        self.error = TooManyRemovals(self._dest.root.path, found.names, there, str(self._limit))
        self._remover.forbidden = forbidden(self._limit)
        for decision in self._clearing:
            self._dest.refusals.add(decision.step.path, OSError(errno.EBUSY, self._remover.forbidden))
            self._progress.refuse((decision.file,))

    def carry_out(self) -> None:
        """Removes what was planned. What cannot be removed is refused; what stays on purpose is noted."""
        if self._surplus is None:
            self.plan()
        assert self._surplus is not None
        if self.error is None:
            for path in self._surplus.paths:
                self._remover.remove(path)
        for path, error in self._remover.refused:
            self._dest.refusals.add(path, OSError(error.errno, f"cannot be removed: {error.strerror}"))
        note_what_stays(self._dest, [*self._surplus.kept, *self._remover.kept])


def forbidden(limit: DeleteLimit) -> str:
    """Why a directory that is in the way stays."""
    return cannot_make_way(f"--max-delete is {limit}")

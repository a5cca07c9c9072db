"""What a run leaves for the next one: first a note of what it replaces, at the end a record of what is in place.

The note is on disk before the first name gets other content, and goes when the record is on disk. So whenever a run
ends, what it left is either known or in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock

from xget_lib.download.destination import Destination
from xget_lib.download.last_run import save_run, shortfalls
from xget_lib.download.metadata import Metadata
from xget_lib.download.progress import Progress
from xget_lib.download.refusal import refusing
from xget_lib.download.staging import Staging


class RunHistory:
    """Owned by a download. It does nothing where the destination has no `last_run`."""

    def __init__(
        self, dest: Destination, staging: Staging, progress: Progress, new_metadata: Callable[[], Metadata]
    ) -> None:
        """`new_metadata` makes one that has not met the limits of the destination."""
        self._dest = dest
        self._staging = staging
        self._progress = progress
        self._new_metadata = new_metadata
        self._last_run = dest.last_run
        self._replaced: list[int] = []  # files that are not noted yet
        self._replaces = False  # whether there are, or were, any
        self._lock = Lock()
        self._noting = Lock()

    def will_replace(self, files: Iterable[int]) -> None:
        """Names of these files are to get other content. In any thread."""
        with self._lock:
            self._replaced += files
            self._replaces = self._replaces or bool(self._replaced)

    def note_replaced(self) -> None:
        """Returns when all that is to be replaced is noted on disk. In any thread. Raises DestinationRefused."""
        with self._noting:  # also if another thread is noting it just now
            with self._lock:
                files, self._replaced = self._replaced, []
            if files and self._last_run is not None:
                with refusing(self._dest.root.path):
                    self._staging.note_replaced(self._last_run.keys_of(files))

    def save(self) -> bool:
        """Saves what is in place, before the note is removed. Returns False where it cannot be, and an older record may
        be read again. The next run tries again what was refused."""
        last, refused, metadata = self._last_run, self._progress.refused, self._dest.metadata
        if last is None or (last.is_current and not self._replaces and not metadata.limited and not refused):
            return True
        return save_run(self._dest.root, metadata, last.next_record(self._progress.stamps, refused))

    def save_shortfalls(self) -> None:
        """Saves what is not as it should be, when nothing changes any more. Raises DestinationRefused."""
        dest, refusals = self._dest, self._dest.refusals
        if self._last_run is None or not dest.metadata.limited:
            return

        def is_refused(path: bytes) -> bool:
            return path in refusals or refusals.covers(path)

        record = self._last_run.next_record(self._progress.stamps, self._progress.refused)
        with refusing(dest.root.path):
            left = shortfalls(dest.root, dest.manifest, dest.selection, self._new_metadata(), is_refused)
            save_run(dest.root, dest.metadata, record, left)

"""`--dry-run`: the steps that a download would carry out (`plan`). It only reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from xget_lib.download.metadata import Metadata
from xget_lib.download.plan import FETCH, REMOVE, UNCHANGED, FileDecision, Planner, Step
from xget_lib.download.refusal import refusing, refusing_dest
from xget_lib.download.reuse import Reuse
from xget_lib.download.small_files import SmallFiles
from xget_lib.download.staging import leftover_parts
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import no_stamps
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection

_FILES_AT_ONCE = 2000


class DryRun:
    """What a download with the same arguments would do. Iterating gives the steps, and changes nothing."""

    def __init__(
        self,
        dest: bytes,
        manifest: Manifest,
        selection: Selection,
        *,
        permissions: bool = True,
        owners: bool = True,
        delete: bool = False,
        checksum: bool = False,
    ) -> None:
        self._dest = dest
        self._manifest = manifest
        self._selection = selection
        self._metadata = Metadata(manifest, permissions=permissions, owners=owners)
        self._delete = delete
        self._checksum = checksum

    def __iter__(self) -> Iterator[Step]:
        with ExitStack() as resources:
            root = self._open_root()
            leftovers: frozenset[bytes] = frozenset()
            small_files = None
            if root is not None:
                resources.enter_context(root)
                with refusing(self._dest):
                    leftovers = leftover_parts(root)
                stamps = no_stamps(self._manifest.layout.file_count)
                small_files = SmallFiles(root, self._manifest, self._metadata, stamps)
            planner = Planner(
                self._dest,
                root,
                self._manifest,
                self._selection,
                self._metadata,
                Reuse(root, self._manifest, leftovers, None),
                small_files,
                delete=self._delete,
            )
            for step in self._steps(planner, root):
                if step.clears:
                    yield Step(REMOVE, step.path)
                if step.action != UNCHANGED:
                    yield step

    def _open_root(self) -> Root | None:
        with refusing_dest(self._dest):
            try:
                return Root(self._dest)
            except FileNotFoundError:
                os.stat(os.path.dirname(self._dest))
                return None

    def _steps(self, planner: Planner, root: Root | None) -> Iterator[Step]:
        if root is not None and self._selection.whole:
            # A run always corrects the destination itself, as it makes and removes `.xget` there.
            with refusing(self._dest):
                step = planner.metadata_step(0, b"", root.lstat(b""))
            yield step._replace(path=b".")
        yield from planner.directories()
        yield from planner.specials()
        files = self._selection.files
        for first in range(0, len(files), _FILES_AT_ONCE):
            plan = planner.files(files[first : first + _FILES_AT_ONCE], lambda file: not self._checksum)
            for decision in sorted([*map(self._fetch_all, plan.new), *plan.others], key=lambda each: each.file):
                yield decision.step
                yield from decision.links
        yield from planner.surplus()

    def _fetch_all(self, file: int) -> FileDecision:
        size = self._manifest.layout.file_range(file)[1]
        return FileDecision(
            file, Step(FETCH, self._selection.file_dest_path(file), size, self._manifest.entries.files[file]), []
        )

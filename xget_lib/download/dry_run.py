"""`--dry-run`: the steps that a download would carry out (`plan`). It only reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

from xget_lib.download.destination import Destination
from xget_lib.download.folding import collisions, same_names
from xget_lib.download.last_run import load_run, path_for
from xget_lib.download.metadata import Metadata
from xget_lib.download.plan import FETCH, REMOVE, UNCHANGED, FileDecision, Planner, Step
from xget_lib.download.refusal import refusing, refusing_dest
from xget_lib.download.reuse import Reuse
from xget_lib.download.small_files import SmallFiles
from xget_lib.download.staging import leftover_parts
from xget_lib.errors import PartlyRefused, XGetError
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import no_stamps
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection

_FILES_AT_ONCE = 2000


class _MissingRoot(Root):
    """A destination that does not exist yet: every operation raises FileNotFoundError."""

    def __init__(self, path: bytes) -> None:
        self.path = path

    def directory(self, path: bytes) -> NoReturn:
        raise FileNotFoundError

    def close(self) -> None:
        pass


def dry_run_steps(
    path: bytes,
    manifest: Manifest,
    selection: Selection,
    *,
    permissions: bool = True,
    owners: bool = True,
    delete: bool = False,
    checksum: bool = False,
    remembers: bool = False,
    failures: list[XGetError] | None = None,
) -> Iterator[Step]:
    """What a Download with the same arguments would do. `checksum`: no file is unchanged by size and time alone.

    `failures` gets what is known to fail, as Download.failures has it.
    """
    metadata = Metadata(manifest, permissions=permissions, owners=owners)
    with _open_root(path) as root:
        there = None if isinstance(root, _MissingRoot) else root
        last_run = load_run(path_for(path, selection, manifest), there, manifest, metadata) if remembers else None
        with refusing(path):
            same = same_names(path, there, manifest, selection, may_write=False)
        selection = selection.without(same)
        dest = Destination(root, manifest, selection, metadata, delete, last_run)
        with refusing(path):
            leftovers = leftover_parts(root)
        small_files = SmallFiles(dest, no_stamps(manifest.layout.file_count))
        planner = Planner(dest, Reuse(dest, leftovers, None), small_files)
        for step in _steps(dest, planner, checksum):
            if step.clears:
                yield Step(REMOVE, step.path)
            if step.action != UNCHANGED:
                yield step
        if same and failures is not None:
            failures.append(PartlyRefused(collisions(path, manifest, selection, same)))


def _open_root(path: bytes) -> Root:
    with refusing_dest(path):
        try:
            return Root(path)
        except FileNotFoundError:
            os.stat(os.path.dirname(path))
            return _MissingRoot(path)


def _steps(dest: Destination, planner: Planner, checksum: bool) -> Iterator[Step]:
    files = dest.selection.files
    if dest.selection.whole and not isinstance(dest.root, _MissingRoot):
        # A run always corrects the destination itself, as it makes and removes `.xget` there.
        with refusing(dest.root.path):
            step = planner.metadata_step(0, b"", dest.root.lstat(b""))
        yield step._replace(path=b".")
    yield from planner.directories()
    yield from planner.specials()
    for first in range(0, len(files), _FILES_AT_ONCE):
        plan = planner.files(files[first : first + _FILES_AT_ONCE], lambda file: not checksum)
        new = [FileDecision(file, _fetch_all(dest, file), []) for file in plan.new]
        for decision in sorted([*new, *plan.others], key=lambda each: each.file):
            yield decision.step
            yield from decision.links
    yield from planner.surplus()


def _fetch_all(dest: Destination, file: int) -> Step:
    size = dest.manifest.layout.file_range(file)[1]
    return Step(FETCH, dest.selection.file_dest_path(file), size, dest.manifest.entries.files[file])

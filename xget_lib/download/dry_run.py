"""`--dry-run`: the steps that a download would carry out (`plan`). It only reads."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NoReturn

from xget_lib.config import NO_LIMIT, DeleteLimit
from xget_lib.download.delete import note_what_stays
from xget_lib.download.destination import Destination
from xget_lib.download.last_run import load_run
from xget_lib.download.metadata import Metadata
from xget_lib.download.plan import FETCH, REMOVE, UNCHANGED, FileDecision, Planner, Step
from xget_lib.download.refusal import refuse_exposed, refusing, refusing_dest
from xget_lib.download.removals import forbidden
from xget_lib.download.reuse import Reuse
from xget_lib.download.small_files import SmallFiles
from xget_lib.download.staging import replaced_paths
from xget_lib.download.workplaces import leftover_parts
from xget_lib.errors import TooManyRemovals, XGetError
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import no_stamps
from xget_lib.manifest.entry import DIRECTORY
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
    devices: bool = True,
    set_id: bool = True,
    delete: bool = False,
    checksum: bool = False,
    max_delete: DeleteLimit = NO_LIMIT,
    remembers: bool = False,
    strict: bool = False,
    failures: list[XGetError] | None = None,
) -> Iterator[Step]:
    """What a Download with the same arguments would do. `checksum`: no file is unchanged by size and time alone.

    `failures` gets what is known to fail, as Download.failures has it.
    """
    metadata = Metadata(manifest, permissions=permissions, owners=owners, devices=devices, set_id=set_id)
    if strict:
        refuse_exposed(path)
    with _open_root(path) as root:
        there = None if isinstance(root, _MissingRoot) else root
        last_run = load_run(there, selection, metadata) if remembers else None
        dest = Destination(root, manifest, selection, metadata, delete, last_run)
        with refusing(path):
            dest = dest.without_collisions(may_write=False, exists=there is not None)
            dest.workplaces.leftovers |= leftover_parts(root)
            if last_run is not None and there is not None:
                last_run.doubts = replaced_paths(root)
        small_files = SmallFiles(dest, no_stamps(manifest.layout.file_count))
        planner = Planner(dest, Reuse(dest, None), small_files)
        steps = _steps(dest, planner, checksum)
        if delete:
            steps = iter(list(steps))  # how much is removed decides about some of them
        with refusing(path):
            surplus = planner.surplus()
        clears = max_delete.allows(surplus.names, surplus.there)
        found = [] if clears else [TooManyRemovals(path, surplus.names, surplus.there, str(max_delete))]
        for step in steps:
            is_directory = manifest.entries.kind(step.entry) == DIRECTORY
            if step.clears and not (clears or is_directory):
                dest.refusals.add(step.path, OSError(errno.EBUSY, forbidden(max_delete)))
                continue
            if step.clears:
                yield Step(REMOVE, step.path)
            if step.action != UNCHANGED:
                yield step
        yield from (Step(REMOVE, path) for path in surplus.paths if clears)
        note_what_stays(dest, surplus.kept)
        refused = dest.refusals.error()
        if failures is not None:
            failures += [*found, *([refused] if refused else [])]


def _open_root(path: bytes) -> Root:
    with refusing_dest(path):
        try:
            return Root(path)
        except FileNotFoundError:
            os.stat(os.path.dirname(path))
            if os.path.islink(path):
                raise
            return _MissingRoot(path)


def _steps(dest: Destination, planner: Planner, checksum: bool) -> Iterator[Step]:
    files = dest.selection.files
    if dest.selection.whole and not isinstance(dest.root, _MissingRoot):
        # A run always corrects the destination itself, as it makes and removes `.xget` there.
        with refusing(dest.root.path):
            step = planner.metadata_step(0, b"", dest.root.lstat(b""))
        yield step._replace(path=b".")
    yield from planner.directories()
    dest.workplaces.find_leftovers(dest.root)
    yield from planner.specials()
    for first in range(0, len(files), _FILES_AT_ONCE):
        plan = planner.files(files[first : first + _FILES_AT_ONCE], lambda file: not checksum)
        new = [FileDecision(file, _fetch_all(dest, file), []) for file in plan.new]
        for decision in sorted([*new, *plan.others], key=lambda each: each.file):
            yield decision.step
            yield from decision.links


def _fetch_all(dest: Destination, file: int) -> Step:
    size = dest.manifest.layout.file_range(file)[1]
    return Step(FETCH, dest.selection.file_dest_path(file), size, dest.manifest.entries.files[file])

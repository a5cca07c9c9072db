"""`--dry-run`: the steps that a download would carry out (`plan`). It only reads."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NoReturn

from xget_lib.config import NO_LIMIT, DeleteLimit
from xget_lib.download.delete import note_what_stays
from xget_lib.download.destination import Destination
from xget_lib.download.free_space import SpaceNeeded
from xget_lib.download.last_run import load_run
from xget_lib.download.metadata import Metadata
from xget_lib.download.plan import CORRECT, FETCH, MAKE, REMOVE, UNCHANGED, FileDecision, Planner, Step
from xget_lib.download.refusal import refuse_exposed, refusing, refusing_dest
from xget_lib.download.removals import forbidden
from xget_lib.download.reuse import Reuse
from xget_lib.download.small_files import SmallFiles
from xget_lib.download.staging import LOCK, replaced_paths
from xget_lib.download.workplaces import PARTS, leftover_parts
from xget_lib.errors import DestinationRefused, TooManyRemovals, XGetError
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import no_stamps
from xget_lib.manifest.entry import DIRECTORY
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import STAGING, Selection

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
            _check_staging(dest, there)
        planner = Planner(dest, Reuse(dest, None), SmallFiles(dest, no_stamps(manifest.layout.file_count)))
        steps = _steps(dest, planner, checksum)
        if delete:
            steps = iter(list(steps))  # how much is removed decides about some of them
        with refusing(path):
            surplus = planner.surplus()
        clears = max_delete.allows(surplus.names, surplus.there, surplus.wanted)
        found: list[XGetError] = []
        if not clears:
            found.append(TooManyRemovals(path, surplus.names, surplus.there, str(max_delete)))
        space = SpaceNeeded(dest)
        corrected: list[tuple[bytes, bool]] = []
        for step in steps:
            is_directory = manifest.entries.kind(step.entry) == DIRECTORY
            if step.clears and not (clears or is_directory):
                dest.refusals.add(step.path, OSError(errno.EBUSY, forbidden(max_delete)))
                continue
            if step.clears:
                yield Step(REMOVE, step.path)
            if step.action in (FETCH, MAKE):
                space.add(step.path, step.size)
            if step.action == CORRECT:
                corrected.append((step.path if step.path != b"." else b"", is_directory))
            if step.action != UNCHANGED:
                yield step
        yield from (Step(REMOVE, path) for path in surplus.paths if clears)
        for at, is_directory in corrected:  # now: a directory that cannot be corrected may still have all its files
            with dest.refusals.at(at):
                dest.access.check_correctable(at, is_directory=is_directory)
        note_what_stays(dest, surplus.kept)
        if failures is not None:
            # Where space lacks, a run ends before it does anything.
            failures += _lack_of_space(dest, space, there) or [*found, *filter(None, [dest.refusals.error()])]


def _check_staging(dest: Destination, there: Root | None) -> None:
    """Raises OSError where a run could not make its staging directory."""
    if there is not None and not there.statvfs().f_flag & os.ST_RDONLY and STAGING not in there.names(b""):
        dest.access.check(STAGING, None)


def _lack_of_space(dest: Destination, space: SpaceNeeded, there: Root | None) -> list[XGetError]:
    """What a run says before it fetches anything, where it cannot write so much."""
    path = dest.root.path
    if there is not None and there.statvfs().f_flag & os.ST_RDONLY:
        names = map(dest.selection.file_dest_path, dest.selection.files)
        is_refused = dest.refusals and any(name in dest.refusals or dest.refusals.covers(name) for name in names)
        return [DestinationRefused(path, os.strerror(errno.EROFS))] if is_refused else []
    for name in (STAGING, PARTS, LOCK):
        space.add(name)
    try:
        with there.again() if there is not None else Root(os.path.dirname(path)) as root:
            space.check(path, root)
    except DestinationRefused as error:
        return [error]
    return []


def _open_root(path: bytes) -> Root:
    with refusing_dest(path):
        try:
            return Root(path)
        except FileNotFoundError:
            if os.path.islink(path):
                raise
            with Root(os.path.dirname(path)) as above:
                above.check_access(b"")
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

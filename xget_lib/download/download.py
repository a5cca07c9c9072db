"""A download into a destination directory: decide what to do, write what arrives, install it.

The order is always the same: verify a piece, write it, mark it; when a file has all its pieces, give it its metadata,
sync it, rename it. So a final name has the old file or all of the new one. However the run ends, the next run finds
the pieces that were written.

    with download       lock the destination, make the directories; a run without `finish` leaves its parts to the next
    inspect_files       each file once, in any threads: what is there already
    check_free_space
    writer              writes the pieces of a chunk that has arrived, in any threads
    plan_removals       with `--delete`: how much it would remove, before anything is removed
    note_replaced       durably, which files are in doubt if the run does not end
    take_complete, install_files    now and then, in one thread
    finish              when every file is in place: links, devices, `--delete`, metadata of directories

What the operating system refuses of one path costs that path: it is in `failures`. Only what concerns all of the
destination, as a full disk, raises DestinationRefused.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable, Sequence, Set
from contextlib import ExitStack, suppress
from threading import Lock

from xget_lib.config import NO_LIMIT, DeleteLimit
from xget_lib.download.destination import Destination
from xget_lib.download.directories import Directories
from xget_lib.download.free_space import SpaceNeeded
from xget_lib.download.install import Installer
from xget_lib.download.last_run import load_run
from xget_lib.download.metadata import Metadata
from xget_lib.download.plan import CORRECT, FETCH, KINDS, LINK_TO, MAKE, UNCHANGED, FileDecision, Planner, Step
from xget_lib.download.progress import Progress
from xget_lib.download.refusal import refuse_exposed, refusing, refusing_dest
from xget_lib.download.removals import Removals
from xget_lib.download.reuse import Reuse
from xget_lib.download.run_history import RunHistory
from xget_lib.download.serial import take_serial
from xget_lib.download.small_files import SmallFiles
from xget_lib.download.staging import Parts, Staging
from xget_lib.download.verified_write import PieceWriter
from xget_lib.errors import DestinationRefused, NoGoodSource, XGetError
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import put_stamp
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection
from xget_lib.manifest.signature import Signed


class Download:
    """The download of a selection of a manifest into the directory `dest`. A node owns one for each generation.

    `permissions`: keep permission bits (not -s). `owners`: keep owners, where we are root (not -o). `devices`: create
    devices. `set_id`: set set-id bits and capabilities. `delete`: remove what the master does not have, and what is in
    the way, unless that is more than `max_delete`. `remembers`: knows what the last run left, and tells the next one
    (`last_run`). `strict`: root refuses a destination that others may change.
    """

    def __init__(
        self,
        dest: bytes,
        manifest: Manifest,
        selection: Selection,
        *,
        permissions: bool = True,
        owners: bool = True,
        devices: bool = True,
        set_id: bool = True,
        delete: bool = False,
        max_delete: DeleteLimit = NO_LIMIT,
        remembers: bool = False,
        strict: bool = False,
    ) -> None:
        self._path = dest
        self.reused = 0  # bytes of content that need not be fetched
        self.unverified: set[int] = set()  # files whose content was accepted by size and time alone
        self._manifest = manifest
        self._layout = manifest.layout
        self._selection = selection
        self._permissions = permissions
        self._devices = devices
        self._set_id = set_id
        self._strict = strict
        self._delete = delete
        self._max_delete = max_delete
        self._remembers = remembers
        self._unverifiable: dict[int, str] = {}  # files that were given up, and who sent wrong content last
        self._owners = owners
        self._metadata = self._new_metadata()
        self._lock = Lock()
        self._to_correct: dict[int, FileDecision] = {}  # files with the right content that are to be changed
        self._specials: list[Step] = []
        self._resources = ExitStack()

    # The run, from its beginning to its end.

    def __enter__(self) -> Download:
        """Makes the destination if it is missing, locks it, makes the directories."""
        try:
            root = self._open_root()
            self._resources.callback(root.close)
            with refusing(self._path):
                self._open_staging(root)
            for step in self._planner.directories():
                self._directories.prepare(step)
            for top in self._workplaces.tops:
                self._directories.add_filesystem(top)
            self._workplaces.take_over_leftovers(root)
            self._resources.callback(self._workplaces.remove_empty, root)
            # Decided now: better refused before everything is fetched.
            self._specials = [step for step in self._planner.specials() if step.action != UNCHANGED]
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Closes everything. Keeps for the next run what is not finished."""
        self._resources.close()

    def _open_root(self) -> Root:
        if self._strict:
            refuse_exposed(self._path)
        with refusing_dest(self._path):
            with suppress(FileExistsError):
                os.mkdir(self._path, 0o700 if self._selection.whole and self._permissions else 0o777)
            return Root(self._path)

    def _open_staging(self, root: Root) -> None:
        """Opens the staging directory, and makes everything that works in the destination."""
        self._root = root
        last_run = load_run(root, self._selection, self._metadata) if self._remembers else None
        dest = Destination(root, self._manifest, self._selection, self._metadata, self._delete, last_run)
        self._refusals, self._workplaces = dest.refusals, dest.workplaces
        directories = self._directories = Directories(dest)
        self._resources.callback(directories.close)
        if dest.selection.whole:
            directories.open_up(b"")
        self._staging = Staging(dest.root)
        self._resources.callback(self._staging.close)
        self._staging.open()
        dest.workplaces.leftovers |= self._staging.leftovers
        if last_run is not None:
            last_run.doubts = self._staging.replaced
        if self._staging.resumed:
            directories.sync_everything()  # names that the earlier run gave may not be on disk
        dest = self._dest = dest.without_collisions(may_write=not self._staging.read_only)
        self._selection = dest.selection
        directories.select(self._selection)
        self._progress = Progress(self._selection, self._layout, dest.workplaces)
        self._history = RunHistory(dest, self._staging, self._progress, self._new_metadata)
        parts = self._parts = Parts(dest)
        self._resources.callback(parts.close_all)
        small_files = SmallFiles(dest, self._progress.stamps)
        self._planner = Planner(dest, Reuse(dest, parts), small_files)
        self.writer = PieceWriter(dest, self._progress, parts, small_files)
        self._removals = Removals(dest, self._planner, directories, self._progress, self._max_delete)
        self._installer = Installer(dest, directories, self._progress, parts, small_files)

    def take_serial(self, signed: Signed, *, allow_rollback: bool) -> None:
        """Notes, on disk, which signed generation this is, before anything of it is put in place. Raises NotTrusted
        (`serial.check_serial`), DestinationRefused."""
        if not self._staging.read_only:  # nothing can be put in place there
            take_serial(self._root, signed, allow_rollback=allow_rollback)

    def inspect_files(self, files: Sequence[int], trusts_times: Callable[[int], bool]) -> None:
        """Finds out what the destination has of selected files (rising), and what to do about them.

        To be called once for each selected file, also for an empty one, before anything of it is written. A file for
        which `trusts_times` is true is unchanged if its size and modification time are right; any other file is read.
        """
        plan = self._planner.files(files, trusts_times)
        self._accept(plan.unchanged, unverified=True)
        self._progress.refuse(plan.refused)
        self._history.will_replace(plan.new)
        self._history.will_replace(
            each.file for each in plan.others if each.step.action in (FETCH, LINK_TO) or each.links
        )
        for decision in plan.others:
            if decision.step.action != FETCH:
                self._keep(decision)
                continue
            if decision.step.clears:
                self._removals.adds(decision)
            with self._lock:
                self.reused += self._layout.file_range(decision.file)[1] - decision.step.size
            self._progress.add(decision.file, decision.pieces)

    def _keep(self, decision: FileDecision) -> None:
        """The content of a file is right at its final path, or at a further path."""
        file, step, links, _, status, unverified, _ = decision
        if step.action == LINK_TO:
            self._staging.worth_keeping = True
            self.note_replaced()
            self._installer.link(step)
            if step.path in self._refusals:
                self._progress.refuse((file,))
                return
        self._accept((file,), unverified=unverified)
        if step.action == UNCHANGED and not links and status is not None:
            put_stamp(self.stamps, file, status)
        else:
            with self._lock:
                self._to_correct[file] = decision
            self._progress.to_install(file)

    def _accept(self, files: Sequence[int], *, unverified: bool) -> None:
        """These files are in place, with all their content."""
        with self._lock:
            self.reused += sum(self._layout.file_range(file)[1] for file in files)
            if unverified:
                self.unverified.update(files)
        self._progress.add_in_place(files)

    def check_free_space(self) -> None:
        """Raises DestinationRefused if a file system has not enough space for what is still to be written to it."""
        with refusing(self._path):
            if self._staging.read_only and not all(map(self._progress.is_in_place, self.files)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        needed = SpaceNeeded(self._dest)
        for file in self.files:
            size = self._size_to_write(file)
            if size is not None:
                needed.add(self._selection.file_dest_path(file), size)
        for step in self._specials:
            if step.action == MAKE:
                needed.add(step.path)
        needed.check(self._path, self._root)

    def _size_to_write(self, file: int) -> int | None:
        """Bytes still to be written of a file; None where it has all its content."""
        pieces = self._layout.file_pieces(file)
        missing = self._progress.missing(file)
        if file in self._progress.refused or self._progress.is_in_place(file):
            return None
        if missing == len(pieces):
            return self._layout.file_range(file)[1]
        if missing:
            return sum(self._layout.piece(n).length for n in pieces if n not in self._progress)
        return None

    def plan_removals(self) -> None:
        """Counts what `finish` is to remove. To be called when all files have been inspected; else `finish` does it.

        Where it is more than `max_delete`, nothing is removed from now on.
        """
        with refusing(self._path):
            self._removals.plan()

    def note_replaced(self) -> None:
        """Notes, on disk, which files get other content at their final names, before any does. To be called when all
        files have been inspected, as later the disk may be full.

        Until the run has ended, nobody knows what these names have: an older record would vouch for what is not there.
        """
        self._history.note_replaced()

    def give_up(self, chunk: int, source: str) -> None:
        """No source has what is missing of a chunk with the right content, `source` included: this costs the files that
        it belongs to. What another thread is writing is right."""
        missing = self._progress.claim(number for run in self.missing(chunk) for number in run)
        files = {self._layout.file_of_piece(number) for number in missing}
        with self._lock:
            self._unverifiable.update(dict.fromkeys(sorted(files), source))
        self._progress.refuse(files)

    def take_complete(self) -> list[int]:
        """The files that became complete since the last call, to be given to `install_files`."""
        return self._progress.take_complete()

    def install_files(self, files: Sequence[int]) -> None:
        """Puts complete files in place, durably. Many at once are much cheaper than one by one.

        Their names are on disk only after `finish`. A file that is not complete raises ValueError. One that the
        destination does not take is `refused` then.
        """
        self._staging.worth_keeping = True
        self._check_place()
        self.note_replaced()
        files = [file for file in files if file not in self._progress.refused]
        incomplete = [file for file in files if self._progress.missing(file)]
        if incomplete:
            raise ValueError(f"file {incomplete[0]} is not complete")
        self._installer.install_files(sorted(file for file in files if not self._progress.is_in_place(file)))
        for file in files:
            if file in self._to_correct:
                self._installer.correct_file(self._to_correct[file])
                del self._to_correct[file]

    def finish(self) -> None:
        """To be called when every selected file is in place: does the rest, removes the staging directory, and syncs.

        When it returns, everything selected is in place and on disk, except what is in `failures`. Raises ValueError if
        a file is neither in place nor refused, and DestinationRefused for a full disk.
        """
        settled = all(self._progress.is_in_place(file) or file in self._progress.refused for file in self.files)
        if self._to_correct or not settled:
            raise ValueError("not every file is in place")
        self._check_place()
        for file in self.refused:
            self._dest.refuse_links(file)
        self._install_specials()
        with refusing(self._path):
            self._removals.carry_out()
            self._parts.close_all()
            self._workplaces.remove(self._root)
        for top in self._workplaces.made:
            self._directories.names_changed(top)
        self._directories.finish()
        self._metadata.check_times(self._manifest.entries.mtimes, self._selection.of_kind(KINDS))
        is_known = self._history.save()
        with refusing(self._path):
            self._staging.remove(is_known=is_known)
        self._directories.finish_root()
        self._check_place()
        self._history.save_shortfalls()

    def _new_metadata(self) -> Metadata:
        return Metadata(
            self._manifest,
            permissions=self._permissions,
            owners=self._owners,
            devices=self._devices,
            set_id=self._set_id,
        )

    def _install_specials(self) -> None:
        impossible: set[int] = set()  # entries: devices that this process may not make, or that are refused
        for step in self._specials:
            if step.action == LINK_TO:
                if step.entry not in impossible:
                    self._installer.link(step)
            elif not self._installer.special(step):
                impossible.add(step.entry)
            elif step.action == CORRECT:
                names = map(self._selection.dest_path, self._selection.link_groups.get(step.entry, ())[1:])
                together = [name for name in names if self._workplaces.are_together(step.path, name)]
                self._installer.keep_together(step.entry, step.path, together)

    def _check_place(self) -> None:
        """Raises DestinationRefused where the files would be, or are, elsewhere than was asked for."""
        if not self._root.is_at_path:
            raise DestinationRefused(self._path, "was renamed, removed or replaced during the download (run again)")

    # What a node reads during the download.

    @property
    def root(self) -> Root:
        """The destination, as long as the download is open."""
        return self._root

    @property
    def selection(self) -> Selection:
        """What is selected, without what the destination cannot have (`failures`)."""
        return self._selection

    @property
    def files(self) -> Sequence[int]:
        """The numbers of the selected files, rising."""
        return self._selection.files

    @property
    def refused(self) -> Set[int]:
        """The files that the destination did not take."""
        return self._progress.refused

    @property
    def failures(self) -> list[XGetError]:
        """What could not be done; the worst comes first. Everything else is in place after `finish`."""
        errors = self._given_up(), self._removals.error, self._refusals.error()
        return [error for error in errors if error is not None]

    def _given_up(self) -> NoGoodSource | None:
        paths = [self._manifest.path_of(file) for file in self._unverifiable]
        source = next(iter(self._unverifiable.values()), "")
        return NoGoodSource(paths[0], source, paths[1:]) if paths else None

    @property
    def stamps(self) -> array[int]:
        """The stamps of the files that are in place; see `fs.stamp`."""
        return self._progress.stamps

    @property
    def notes(self) -> list[str]:
        """What could not be preserved, one line for each kind."""
        return self._metadata.notes

    @property
    def removed(self) -> int:
        """How many names were removed."""
        return self._directories.remover.removed

    def path_of(self, file: int) -> bytes:
        """The current path of a selected file, relative to the destination."""
        return self._progress.path_of(file)

    def chunk_complete(self, chunk: int) -> bool:
        """Whether all of a chunk is on disk and right. It may be served when none of its files is `unverified`."""
        return self._progress.chunk_complete(chunk)

    def missing(self, chunk: int) -> list[range]:
        """The pieces of a chunk that are selected, not refused and not present, as rising ranges that do not touch."""
        runs: list[range] = []
        for number in self._layout.chunk_pieces(chunk):
            file = self._layout.file_of_piece(number)
            if number in self._progress or file in self._progress.refused or not self._selection.has_file(file):
                continue
            if runs and runs[-1].stop == number:
                runs[-1] = range(runs[-1].start, number + 1)
            else:
                runs.append(range(number, number + 1))
        return runs
